"""The files of a SQLite database: check that they are still those that were opened.

SQLite holds a database by its descriptor and finds the write-ahead log beside it by name. A
database that is removed while it is open is still written to, and lost; one that replaces it would
be read with the log of the old one, and damaged. So every opening goes through here, in the thread
of the event loop only.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

import structlog
from tortoise.exceptions import OperationalError

from runmeter.receiver import events


class Identity(NamedTuple):
    """Device and inode of a file: they stay when it is renamed, and differ between files."""

    device: int
    number: int


class _Pinned:
    """Holds a file open, so that its inode number is not used again.

    With O_PATH: closing any other descriptor would drop the locks that SQLite has on the file.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_PATH)
        found = os.fstat(self._descriptor)
        self.identity = Identity(found.st_dev, found.st_ino)

    def release(self) -> None:
        os.close(self._descriptor)


class _Opened(NamedTuple):
    database: _Pinned
    log: _Pinned | None
    successor: Identity | None = None  # the file found in its place, already logged


_opened: dict[str, _Opened] = {}


def identity(path: str) -> Identity | None:
    """Return the identity of the file that has this name now; None: no file has it."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Identity(found.st_dev, found.st_ino)


def address(path: str, mode: str) -> str:
    """Return the URI by which SQLite opens a path; the mode ``rwc`` makes a missing file."""
    return f"{Path(path).absolute().as_uri()}?mode={mode}"


def moved() -> OperationalError:
    """Return the error for a database whose file was removed or replaced."""
    error = sqlite3.OperationalError("the file was moved, removed or replaced")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
    wrapped = OperationalError(error)
    wrapped.__cause__ = error
    return wrapped


def prepare(path: str) -> None:
    """Prepare to open the file of this name: set the log of another one aside.

    Raises:
        OperationalError: it was open before and was removed.
    """
    former, found = _opened.get(path), identity(path)
    if former is None or found == former.database.identity:
        return
    if found is None:
        raise moved()
    kept = _set_log_aside(path, former)
    if found != former.successor:
        structlog.get_logger().warning(events.DATABASE_REPLACED, kept=kept)
        _opened[path] = former._replace(successor=found)


def _set_log_aside(path: str, former: _Opened) -> str | None:
    """Rename the log of the former file, if it is there; return its new name."""
    base = os.path.realpath(path)
    log = f"{base}-wal"
    if former.log is None or identity(log) != former.log.identity:
        return None
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{base}-shm")
    # an empty one as well: another connection may still write to it
    kept = f"{log}.{former.log.identity.number}"  # no existing file has that number
    os.rename(log, kept)
    return kept


def note(path: str, wanted: Identity | None) -> Identity:
    """Remember the files of a database that was just opened and read.

    Raises:
        OperationalError: the file is no longer the one wanted; which one is open is unknown.
    """
    database, log = _Pinned(path), None
    if wanted not in (None, database.identity):
        database.release()
        raise moved()
    with contextlib.suppress(FileNotFoundError):
        log = _Pinned(f"{os.path.realpath(path)}-wal")
    forget(path)
    _opened[path] = _Opened(database, log)
    return database.identity


def has_log_alone(path: str) -> bool:
    """Return whether there is a log with content, but no database."""
    base = os.path.realpath(path)
    return size_bytes(base) == 0 and size_bytes(f"{base}-wal") > 0


def size_bytes(path: str) -> int:
    """Return the size of a file; 0 if there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def is_lost(path: str) -> bool:
    """Return whether the file that was opened under the name is no longer there."""
    return path in _opened and identity(path) is None


def is_newest(path: str, file: Identity | None) -> bool:
    """Return whether this is the file that was opened last under the name."""
    return path in _opened and _opened[path].database.identity == file


def forget(path: str) -> None:
    """Forget what ``note`` has remembered."""
    former = _opened.pop(path, None)
    if former is not None:
        former.database.release()
        if former.log is not None:
            former.log.release()
