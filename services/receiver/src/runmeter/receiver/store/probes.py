"""Look at the database for operators: can it be written, how much does it hold."""

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from tortoise.connection import get_connection

from runmeter.receiver.databases import Database
from runmeter.receiver.errors import StoreUnavailable
from runmeter.receiver.store import READING, reopen
from runmeter.receiver.store.reasons import DATABASE_ERRORS, reason_of

_LOCK_SECONDS = 1.0
# both ends of an index: a count would read all of it
_ID_SPAN = "coalesce((SELECT max(id) FROM run) - (SELECT min(id) FROM run) + 1, 0)"
_SQLITE_ROWS = f"SELECT {_ID_SPAN} AS row_count"
_POSTGRES = (
    f"SELECT CASE WHEN reltuples < 0 THEN {_ID_SPAN} ELSE reltuples::bigint END AS row_count, "
    "pg_database_size(current_database()) AS size_bytes "
    "FROM pg_class WHERE oid = 'run'::regclass"
)
_POSTGRES_WRITABLE = "SELECT current_setting('transaction_read_only') = 'off' AS writable"


class Measured(NamedTuple):
    """What a database holds; the count is an estimate."""

    row_count: int
    size_bytes: int


async def check_writable(database: Database) -> None:
    """Return if the database takes writes now.

    SQLite: writes a page, which shows a lock, a full disk and a read-only one. PostgreSQL: asks.

    Raises:
        StoreUnavailable: it does not.
    """
    try:
        if database.kind == "sqlite":
            await asyncio.to_thread(_write_sqlite, database.location)
        elif not (await _asked(_POSTGRES_WRITABLE))["writable"]:
            raise StoreUnavailable("it is read-only")
    except DATABASE_ERRORS as error:
        raise StoreUnavailable(reason_of(error) or "a statement failed") from error


async def measure(database: Database) -> Measured:
    """Measure the database, in a time that does not depend on its size.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    try:
        if database.kind == "postgres":
            return Measured(**await _asked(_POSTGRES))
        row_count = (await _asked(_SQLITE_ROWS))["row_count"]
        return Measured(row_count, _files_size_bytes(database.location))
    except DATABASE_ERRORS as error:
        raise StoreUnavailable(reason_of(error) or "a statement failed") from error


async def _asked(query: str) -> dict[str, int]:
    try:
        _, rows = await get_connection(READING).execute_query(query)
    except DATABASE_ERRORS:
        await reopen(READING)
        raise
    return dict(rows[0])


def _write_sqlite(path: str) -> None:
    """Write what is there already, on a connection of its own: the writer's is never in doubt.

    Without a sync: nothing is to last, and the lock is held for a moment only.
    """
    address = f"{Path(path).absolute().as_uri()}?mode=rw"  # never makes a file
    connection = sqlite3.connect(address, uri=True, timeout=_LOCK_SECONDS, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")


def _files_size_bytes(path: str) -> int:
    size_bytes = 0
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            size_bytes += os.stat(path + suffix).st_size
    return size_bytes
