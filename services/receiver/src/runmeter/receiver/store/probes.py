"""Checks of the database for operators: whether it can be written, and its size."""

import asyncio
import contextlib
import os
import sqlite3
import uuid
from typing import Any, NamedTuple

from tortoise.connection import get_connection
from tortoise.exceptions import BaseORMException
from tortoise.transactions import in_transaction

from runmeter.receiver.store.connections import READING
from runmeter.receiver.store.database import Database
from runmeter.receiver.store.reasons import database_errors, reason_of
from runmeter.receiver.store.sqlite import files
from runmeter.receiver.store.statements import insert_runs

PUSH_BYTES = 2**16  # SQLite writes less than that to the disk, if anything, only when it commits
PUSH_BYTES_MAX = 2**22
_LOCK_SECONDS = 1.0
# both ends of an index: a count would read all of it
_ID_SPAN = "coalesce((SELECT max(id) FROM run) - (SELECT min(id) FROM run) + 1, 0)"
_SQLITE_ROWS = f"SELECT {_ID_SPAN} AS row_count"
_POSTGRES = (
    f"SELECT CASE WHEN reltuples < 0 THEN {_ID_SPAN} ELSE reltuples::bigint END AS row_count, "
    "pg_database_size(current_database()) AS size_bytes "
    "FROM pg_class WHERE oid = 'run'::regclass"
)
# fails as a statement that writes would, which also ends the use of such connections
_POSTGRES_WRITES = (
    "DO $$ BEGIN IF current_setting('transaction_read_only') = 'on' THEN "
    "RAISE 'read-only' USING ERRCODE = 'read_only_sql_transaction'; END IF; END $$"
)


class Measured(NamedTuple):
    """The count of runs, estimated, and the size of a database."""

    row_count: int
    size_bytes: int


async def unwritable_reason(database: Database, refused_bytes: int) -> str | None:
    """Return why the database does not accept writes now; None: it does.

    ``refused_bytes``: size of what it has just refused to store, 0 if nothing. To SQLite as much,
    and at least the size of a usual push, is written and rolled back, which shows a lock, a full
    disk, a read-only one, missing tables and a file that is gone. PostgreSQL is asked, and written
    to only if it has just refused something.
    """
    size_bytes = min(max(refused_bytes, PUSH_BYTES), PUSH_BYTES_MAX)
    try:
        if database.kind == "sqlite":
            if not files.is_newest(database.location, files.identity(database.location)):
                await _row(_SQLITE_ROWS)  # raises if it is gone, opens the one that replaced it
            await asyncio.to_thread(_write_sqlite, database.location, size_bytes)
            return None
        await get_connection(READING).execute_script(_POSTGRES_WRITES)
        if refused_bytes:
            await _write_postgres(size_bytes)
    except database_errors() as error:
        return reason_of(error) or "a statement failed"
    return None


async def measure(database: Database) -> Measured | None:
    """Measure the database, in a time that does not depend on its size; None: it cannot be read."""
    try:
        if database.kind == "postgres":
            return Measured(**await _row(_POSTGRES))
        row_count = (await _row(_SQLITE_ROWS))["row_count"]
        suffixes = ("", "-wal", "-shm")
        return Measured(
            row_count, sum(files.size_bytes(database.location + suffix) for suffix in suffixes)
        )
    except database_errors():
        return None


async def _row(query: str) -> dict[str, int]:
    _, rows = await get_connection(READING).execute_query(query)
    return dict(rows[0])


def _write_sqlite(path: str, size_bytes: int) -> None:
    """Write a run and roll it back, on a connection of its own: the writer's stays untouched.

    Without a sync: nothing has to last, and the lock is held only briefly.
    """
    connection = sqlite3.connect(
        files.address(path, "rw"), uri=True, timeout=_LOCK_SECONDS, isolation_level=None
    )
    row = _run_of(size_bytes)
    statement = f"INSERT INTO run ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
    with contextlib.closing(connection):
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = 1")  # what does not fit is written at once
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(statement, list(row.values()))
        finally:
            connection.rollback()
            # the last connection to close moves the log into the file: that has to last
            connection.execute("PRAGMA synchronous = FULL")


async def _write_postgres(size_bytes: int) -> None:
    """Write a run and roll it back."""
    with contextlib.suppress(_RolledBack):
        async with in_transaction(READING) as connection:
            await insert_runs(connection, [_run_of(size_bytes)])
            raise _RolledBack


class _RolledBack(BaseORMException):
    pass


def _run_of(size_bytes: int) -> dict[str, Any]:
    """Return the columns of a run with a payload of this size, which cannot be compressed."""
    numbers = ("state", "revision", "received_at_ms", "updated_at_ms", "started_at_ms")
    return {
        **dict.fromkeys(("organization", "repository", "workflow", "job", "run_id"), ""),
        **dict.fromkeys(numbers, 0),
        "push_id": str(uuid.uuid4()),
        "duration_seconds": 0.0,
        "payload_size_bytes": size_bytes,
        "payload": os.urandom(size_bytes),
    }
