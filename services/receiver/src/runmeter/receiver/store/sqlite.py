"""SQLite for Tortoise, such that a failure does not lock the connection for ever.

Tortoise's own client takes its lock and then opens the connection or begins the transaction; if
that fails the lock is never given back, and every later statement waits for it. A connection
whose pragmas failed counts as open there, too. Here what failed leaves nothing behind.

The name of this module has to hold "sqlite": Tortoise's migrations go by it.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from tortoise.backends.base.client import (
    ConnectionWrapper,
    NestedTransactionContext,
    TransactionContext,
)
from tortoise.backends.sqlite.client import (
    SqliteClient,
    SqliteTransactionContext,
    SqliteTransactionWrapper,
)
from tortoise.connection import get_connections
from tortoise.exceptions import OperationalError


class Client(SqliteClient):
    """One connection, used by one statement or transaction at a time."""

    async def create_connection(self, with_db: bool) -> None:
        """Open the file and set the pragmas, or leave the client closed."""
        if self._connection is None:
            # a failed open inside aiosqlite leaves a thread that outlives the event loop
            await asyncio.to_thread(_try_open, self.filename)
        try:
            await super().create_connection(with_db)
            self._file = _identity(self.filename)
        except BaseException:
            await self.close()
            raise

    def check_file(self) -> None:
        """Raise if the open file is not the one of that name any more.

        SQLite would go on writing to it, and what is acknowledged would be gone with it.
        """
        if _identity(self.filename) != self._file:
            error = sqlite3.OperationalError("the file was moved, removed or replaced")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
            raise OperationalError(error) from error

    def acquire_connection(self) -> ConnectionWrapper[Any]:
        """Return what holds the connection for one statement."""
        return _Held(self._lock, self)

    def _in_transaction(self) -> TransactionContext:
        return _Transaction(_TransactionClient(self), self._lock, self.check_file)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _try_open(path: str) -> None:
    sqlite3.connect(path).close()


class _Held(ConnectionWrapper[Any]):
    async def __aenter__(self) -> Any:
        await self._lock.acquire()
        try:
            await self.ensure_connection()
        except BaseException:
            self._lock.release()
            raise
        return self.connection


class _TransactionClient(SqliteTransactionWrapper):
    async def begin(self) -> None:
        # IMMEDIATE: a transaction that reads first cannot wait for the lock when it writes
        try:
            await self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise OperationalError(error) from error

    async def execute_script(self, query: str) -> None:
        """Run statements one by one: `executescript` would commit the transaction first."""
        for statement in _statements(query):
            await self.execute_query(statement)

    def _in_transaction(self) -> TransactionContext:
        return NestedTransactionContext(_TransactionClient(self))


def _statements(script: str) -> Iterator[str]:
    """Split a script where SQLite says that a statement is complete; the last needs no end."""
    found = ""
    for part in script.split(";"):
        found += f"{part};"
        if sqlite3.complete_statement(found):
            if found.strip(" \n;"):
                yield found
            found = ""
    if found.strip(" \n;"):
        yield found


class _Transaction(SqliteTransactionContext):
    def __init__(self, connection: Any, lock: asyncio.Lock, check_file: Callable[[], None]) -> None:
        super().__init__(connection, lock)
        self._check_file = check_file

    async def __aenter__(self) -> Any:
        await self._trxlock.acquire()
        try:
            await self.ensure_connection()
            self._check_file()
            await self.connection.begin()
        except BaseException:
            self._trxlock.release()
            raise
        self.token = get_connections().set(self.connection_name, self.connection)
        return self.connection


client_class = Client
