"""Open folders and files of cgroups so that a job cannot fake one."""

import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BYTES = 65536
_PROCS_BYTES = 4 * 1024 * 1024


class Refused(Exception):
    """The counters of a cgroup exist, but are not readable or not trusted."""


class Crowded(Exception):
    """Too many files are open to keep counters open."""


class Folder(NamedTuple):
    """The open folder of a cgroup; ``mount_id`` if it was found in the job's view, else None."""

    descriptor: int
    mount_id: bytes | None


def holds(folder: Folder, below: str, pid: int) -> bool:
    """Return whether a process is in a cgroup, at the path ``below``; a job cannot fake the answer.

    ``below`` is empty for the cgroup itself.
    """
    try:
        descriptor = open_file(folder, os.path.join(below, "cgroup.procs"))
    except (OSError, Refused):
        return False
    try:
        raw = b""
        while len(raw) < _PROCS_BYTES and (part := os.read(descriptor, _READ_BYTES)):
            raw += part
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return b"%d" % pid in raw.split(b"\n")


def open_file(folder: Folder, name: str) -> int:
    """Open a regular file in or below a folder; refuse one that is mounted over it."""
    descriptor = os.open(name, _FILE, dir_fd=folder.descriptor)
    found = os.fstat(descriptor)
    is_inside = found.st_dev == os.fstat(folder.descriptor).st_dev and (
        folder.mount_id is None or folder.mount_id == mount_id(descriptor)
    )
    if stat.S_ISREG(found.st_mode) and is_inside:
        return descriptor
    os.close(descriptor)
    raise Refused


def mount_id(descriptor: int) -> bytes:
    """Return the mount id of an open file; random if it is not known, so that it equals none."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", "rb", buffering=0) as info:
            lines = info.read(4096).splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith(b"mnt_id:")), os.urandom(16))


def close_all(folders: Iterable[Folder]) -> None:
    """Close the descriptors of folders."""
    for folder in folders:
        os.close(folder.descriptor)
