"""Locks on runs of the spool: a lock ends with its process.

The process that measures or pushes a run locks ``<push_id>.lock``. The file is removed with the
run. Only the lock counts, so a file that a dead process left does no harm.
"""

import fcntl
import os

from runmeter.collector.errors import HeldError, SpoolError, WriteError

LOCK = ".lock"
_TRIES = 100  # if the lock file is removed each time just before it is locked


def make_folder(folder: str) -> None:
    """Make the spool, accessible to its owner only.

    Raises:
        SpoolError: it cannot be made.
    """
    if not folder:
        raise SpoolError("there is no home folder; give --spool-dir")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise WriteError(folder, error.errno) from error


def lock(folder: str, push_id: str) -> int:
    """Lock a run until the descriptor is closed, at the latest at the end of the process.

    Raises:
        HeldError: another process owns it.
        SpoolError: the folder cannot be made or written.
    """
    path = f"{folder}/{push_id}{LOCK}"
    make_folder(folder)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for _ in range(_TRIES):
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise WriteError(path, error.errno) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise HeldError("another process measures or pushes it") from error
        except OSError as error:
            os.close(descriptor)
            raise SpoolError(f"{path!r} cannot be locked: {error.strerror}") from error
        if _is_named(path, descriptor):
            return descriptor
        os.close(descriptor)  # removed with its run between our two calls: no longer the lock
    raise HeldError("other processes lock it again and again")


def _is_named(path: str, descriptor: int) -> bool:
    try:
        named, locked = os.lstat(path), os.fstat(descriptor)
    except OSError:
        return False
    return (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino)


def is_held(folder: str, push_id: str) -> bool:
    """Return whether a process owns a run now."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(f"{folder}/{push_id}{LOCK}", flags)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def release(folder: str, push_id: str, descriptor: int) -> None:
    """Release a run that is locked; its lock file is removed, the run stays."""
    path = f"{folder}/{push_id}{LOCK}"
    try:
        if _is_named(path, descriptor):  # else it was removed, and may be another process's now
            os.unlink(path)
    except OSError:
        pass
    os.close(descriptor)
