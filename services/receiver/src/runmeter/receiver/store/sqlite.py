"""SQLite for Tortoise, such that a failure does not lock the connection for ever.

Tortoise's own client takes its lock and then opens the connection or begins the transaction; if
that fails the lock is never given back, and every later statement waits for it. A connection
whose pragmas failed counts as open there, too. Here what failed leaves nothing behind.

The name of this module has to hold "sqlite": Tortoise's migrations go by it.
"""

import asyncio
import sqlite3
from typing import Any

from tortoise.backends.base.client import ConnectionWrapper, TransactionContext
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
        except BaseException:
            await self.close()
            raise

    def acquire_connection(self) -> ConnectionWrapper[Any]:
        """Return what holds the connection for one statement."""
        return _Held(self._lock, self)

    def _in_transaction(self) -> TransactionContext:
        return _Transaction(_TransactionClient(self), self._lock)


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


class _Transaction(SqliteTransactionContext):
    async def __aenter__(self) -> Any:
        await self._trxlock.acquire()
        try:
            await self.ensure_connection()
            await self.connection.begin()
        except BaseException:
            self._trxlock.release()
            raise
        self.token = get_connections().set(self.connection_name, self.connection)
        return self.connection


client_class = Client
