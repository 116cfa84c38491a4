"""The folder in which runs wait until the receiver has acknowledged them.

One file per run, ``<push_id>.json``, readable by its owner only, written completely or not.
Its JSON is versioned and needs no protobuf to be read. The token is never in it.
The process that measures or pushes a run holds ``<push_id>.lock``; the lock ends with the process.
Runs that the receiver rejected are in ``rejected/``, with its reason.
"""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from runmeter.collector.errors import ForeignError, GoneError, SpoolError, WriteError
from runmeter.collector.spool.format import is_push_id
from runmeter.collector.spool.locks import LOCK as _LOCK
from runmeter.collector.spool.locks import lock, make_folder, release

REJECTED_FOLDER = "rejected"
MAX_BYTES = 8 * 1024 * 1024  # more than any receiver accepts
_SUFFIX = ".json"
_TEMPORARY = ".json.tmp"


class StoredRun(NamedTuple):
    """Where a run is stored: in the spool or, if it could not be written there, in memory.

    ``folder``: the spool, empty if there is none. ``memory_fd``: descriptor of a file in memory.
    """

    folder: str
    push_id: str
    memory_fd: int | None = None

    @property
    def is_in_memory(self) -> bool:
        """Whether the run is in memory."""
        return self.memory_fd is not None

    @property
    def path(self) -> str:
        """Return its path in the spool; of a run in memory, that of its last checkpoint."""
        return path_of(self.folder, self.push_id) if self.folder else ""

    def read(self) -> bytes:
        """Return its content.

        Raises:
            SpoolError: as `read_file`.
        """
        if self.memory_fd is None:
            return read_file(self.path)
        with open(self.memory_fd, "rb", closefd=False) as file:
            return _limited(file.read(MAX_BYTES + 1))


def push_id_of(name: str, suffix: str = _SUFFIX) -> str:
    """Return the push_id in the name of a run's file; empty if it is no such name."""
    push_id = name.removesuffix(suffix)
    return push_id if name.endswith(suffix) and is_push_id(push_id) else ""


def below_of(folder: str, below: str) -> str:
    """Return the path of a folder in the spool, or of the spool itself."""
    return f"{folder}/{below}" if below else folder


def path_of(folder: str, push_id: str) -> str:
    """Return the path of a run's file."""
    return f"{folder}/{push_id}{_SUFFIX}"


def write_file(folder: str, push_id: str, content: bytes) -> str:
    """Write the run's file so that it survives a crash; return its path.

    Raises:
        WriteError: the folder cannot be made or written.
        SpoolError: there is no folder.
    """
    path = path_of(folder, push_id)
    temporary = f"{folder}/{push_id}{_TEMPORARY}"
    make_folder(folder)
    try:
        descriptor = _create(temporary)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
        _sync_folder(folder)
    except OSError as error:
        _discard(temporary)
        raise WriteError(folder, error.errno) from error
    return path


def _create(path: str) -> int:
    """Create a file; one of that name, as a dead writer leaves it, is removed first."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, flags, 0o600)


def _discard(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def read_file(path: str) -> bytes:
    """Return the content of a run's file.

    Raises:
        GoneError: it is not there.
        ForeignError: not a plain file, too large, or owned by another user than ours and the
            folder's.
        SpoolError: it cannot be read now.
    """
    # O_NONBLOCK: it may be a pipe without a writer
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            _check(os.fstat(file.fileno()), path)
            raw: bytes = file.read(MAX_BYTES + 1)
    except IsADirectoryError as error:
        raise ForeignError("is a folder") from error
    except FileNotFoundError as error:
        raise GoneError("no longer exists") from error
    except OSError as error:
        if os.path.islink(path):
            raise ForeignError("is a symbolic link") from error
        raise SpoolError(f"cannot be read: {error.strerror}") from error
    return _limited(raw)


def _limited(raw: bytes) -> bytes:
    if len(raw) > MAX_BYTES:
        raise ForeignError("is too large for a run")
    return raw


def _check(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ForeignError("is not a plain file")
    if found.st_size > MAX_BYTES:
        raise ForeignError("is too large for a run")
    if found.st_uid not in (os.geteuid(), os.stat(os.path.dirname(path) or ".").st_uid):
        raise ForeignError("belongs to another user")


def remove_file(path: str) -> None:
    """Remove an acknowledged run, and its lock file; only its owner may.

    Raises:
        SpoolError: it cannot be removed.
    """
    try:
        os.unlink(path)
        _sync_folder(os.path.dirname(path))
    except OSError as error:
        raise SpoolError(f"{path!r} cannot be removed: {error.strerror}") from error
    _discard(f"{path.removesuffix(_SUFFIX)}{_LOCK}")


def trim(folder: str, max_runs: int, max_bytes: int, keep: str) -> Iterator[str]:
    """Remove runs until the spool is within its limits; yield the push_id of each before that.

    Rejected runs are removed first, then the oldest; never one that a process owns, nor ``keep``.
    A checkpoint process may be killed at any moment: a run that it logs first is never removed
    without a line in the log.
    """
    sweep(folder)
    found = sorted([*_files(folder, REJECTED_FOLDER), *_files(folder, "")])
    count, total_bytes = len(found), sum(size for _, _, size, _ in found)
    for is_waiting, _, size_bytes, push_id in found:
        if count <= max_runs and total_bytes <= max_bytes:
            break
        if push_id == keep:
            continue
        try:
            descriptor = lock(folder, push_id)
        except SpoolError:
            continue
        yield push_id
        _discard(path_of(below_of(folder, "" if is_waiting else REJECTED_FOLDER), push_id))
        release(folder, push_id, descriptor)
        count, total_bytes = count - 1, total_bytes - size_bytes


def _files(folder: str, below: str) -> list[tuple[bool, int, int, str]]:
    """Return (is waiting, time of writing, size, push_id) of every run in a folder."""
    entries = []
    place = below_of(folder, below)
    for push_id in push_ids(place):
        try:
            found = os.lstat(path_of(place, push_id))
        except OSError:
            continue
        entries.append((not below, found.st_mtime_ns, found.st_size, push_id))
    return entries


def push_ids(folder: str, suffix: str = _SUFFIX) -> list[str]:
    """Return the push_ids of a folder's files, sorted; empty if it cannot be listed."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(filter(None, (push_id_of(name, suffix) for name in names)))


def sweep(folder: str) -> None:
    """Remove what dead writers left: temporary files, and lock files without a run."""
    waiting = set(push_ids(folder))
    for suffix in (_TEMPORARY, _LOCK):
        for push_id in push_ids(folder, suffix):
            if suffix == _LOCK and push_id in waiting:
                continue
            try:
                descriptor = lock(folder, push_id)
            except SpoolError:
                continue
            _discard(f"{folder}/{push_id}{_TEMPORARY}")
            release(folder, push_id, descriptor)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
