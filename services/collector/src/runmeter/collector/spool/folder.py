"""The folder in which runs wait until the receiver has acknowledged them.

One file per run, ``<push_id>.json``, readable by its owner only, written whole or not at all.
Its JSON is versioned and needs no protobuf to be read. The token is never in it.
Whoever measures or pushes a run holds ``<push_id>.lock``: a lock that dies with its process.
Below ``rejected/`` lie runs the receiver will not take as they are, with its reason.
"""

import os
import stat

from runmeter.collector.errors import ForeignError, GoneError, SpoolError, WriteError
from runmeter.collector.spool.format import is_push_id
from runmeter.collector.spool.locks import LOCK as _LOCK
from runmeter.collector.spool.locks import lock, make_folder, release

MEMORY = "/proc/self/fd/"  # paths of runs that no folder could take
REJECTED_FOLDER = "rejected"
MAX_BYTES = 8 * 1024 * 1024  # more than any receiver takes
_SUFFIX = ".json"
_TEMPORARY = ".json.tmp"


def push_id_of(name: str, suffix: str = _SUFFIX) -> str:
    """Return the push_id in a file's name; empty: not a name of ours."""
    push_id = name.removesuffix(suffix)
    return push_id if name.endswith(suffix) and is_push_id(push_id) else ""


def below_of(folder: str, below: str) -> str:
    """Return a folder in the spool, or without a name the spool itself."""
    return f"{folder}/{below}" if below else folder


def path_of(folder: str, push_id: str) -> str:
    """Return the path of a run's file."""
    return f"{folder}/{push_id}{_SUFFIX}"


def write_file(folder: str, push_id: str, content: bytes) -> str:
    """Write the run's file so that it survives a crash; return its path.

    Raises:
        WriteError: the folder cannot be made or written.
        SpoolError: there is none.
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
    """Open a file that was not there; what a dead writer, or somebody else, left is dropped."""
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
        ForeignError: not a plain file, too large, or of another owner than us and the folder.
        SpoolError: it cannot be read now.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    if not path.startswith(MEMORY):
        flags |= os.O_NOFOLLOW
    try:
        # O_NONBLOCK: what stands there may be a pipe that nobody writes
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            _check(os.fstat(file.fileno()), path)
            raw: bytes = file.read(MAX_BYTES + 1)
    except IsADirectoryError as error:
        raise ForeignError("is a folder") from error
    except FileNotFoundError as error:
        raise GoneError("is not there any more") from error
    except OSError as error:
        if os.path.islink(path) and not path.startswith(MEMORY):
            raise ForeignError("is a symbolic link") from error
        raise SpoolError(f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise ForeignError("is too large for a run")
    return raw


def _check(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ForeignError("is not a plain file")
    if path.startswith(MEMORY):
        return
    if found.st_size > MAX_BYTES:
        raise ForeignError("is too large for a run")
    if found.st_uid not in (os.geteuid(), os.stat(os.path.dirname(path) or ".").st_uid):
        raise ForeignError("belongs to another user")


def remove_file(path: str) -> None:
    """Drop an acknowledged run, and its lock file; only its owner may."""
    os.unlink(path)
    _sync_folder(os.path.dirname(path))
    _discard(f"{path.removesuffix(_SUFFIX)}{_LOCK}")


def trim(folder: str, max_runs: int, max_bytes: int, keep: str) -> list[str]:
    """Drop runs until the spool is within its limits; return their push_ids.

    Rejected runs go first, then the oldest; never one that a process owns, nor ``keep``.
    """
    sweep(folder)
    found = sorted([*_files(folder, REJECTED_FOLDER), *_files(folder, "")])
    count, total_bytes = len(found), sum(size for _, _, size, _ in found)
    dropped = []
    for is_waiting, _, size_bytes, push_id in found:
        if count <= max_runs and total_bytes <= max_bytes:
            break
        if push_id != keep and _drop(folder, "" if is_waiting else REJECTED_FOLDER, push_id):
            count, total_bytes = count - 1, total_bytes - size_bytes
            dropped.append(push_id)
    return dropped


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
    """Return the push_ids of a folder's files, sorted; none if it cannot be listed."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(filter(None, (push_id_of(name, suffix) for name in names)))


def _drop(folder: str, below: str, push_id: str) -> bool:
    try:
        descriptor = lock(folder, push_id)
    except SpoolError:
        return False
    dropped = _discard(path_of(below_of(folder, below), push_id))
    release(folder, push_id, descriptor)
    return dropped


def sweep(folder: str) -> None:
    """Drop what dead writers left: temporary files, and locks of runs that are gone."""
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
