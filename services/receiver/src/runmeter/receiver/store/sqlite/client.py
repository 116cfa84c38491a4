"""SQLite for Tortoise, with lock and connection given up after a failure.

Tortoise's own client takes its lock and then opens the connection or begins the transaction; if
that fails the lock is never released, and every later statement waits for it. A connection
whose pragmas failed counts as open there, too. Here a failure releases the lock and closes the
connection, because a COMMIT that failed may leave its transaction open; the next statement opens
a new one.

The name of this module must contain "sqlite": Tortoise's migrations look for that.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import aiosqlite
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

from runmeter.receiver.store.sqlite import files


class Client(SqliteClient):
    """One connection, used by one statement or transaction at a time.

    ``makes_file``: a missing file is made; otherwise it is an error.
    """

    def __init__(self, file_path: str, makes_file: bool = False, **pragmas: Any) -> None:
        super().__init__(file_path, **pragmas)
        self._address = files.address(file_path, "rwc" if makes_file else "rw")
        self._file: files.Identity | None = None

    async def create_connection(self, with_db: bool) -> None:
        """Open the file and set the pragmas, or leave the client closed."""
        if self._connection is not None:
            return
        files.prepare(self.filename)
        found = files.identity(self.filename)
        # a failed open inside aiosqlite leaves a thread that outlives the event loop
        await asyncio.to_thread(_try_open, self._address)
        try:
            self._connection = await aiosqlite.connect(
                self._address, uri=True, isolation_level=None
            )
            self._connection._conn.row_factory = sqlite3.Row
            for pragma, value in self.pragmas.items():
                await self._connection.execute_fetchall(f"PRAGMA {pragma}={value}")
            await self._post_connect()
            # only a statement that reads opens the log
            await self._connection.execute_fetchall("SELECT 1 FROM sqlite_master LIMIT 1")
            self._file = files.note(self.filename, found)
        except BaseException:
            await self.close()
            raise

    async def current(self) -> aiosqlite.Connection:
        """Return the connection, to the file that has the name now; open it if need be.

        Raises:
            OperationalError: the file was removed or replaced: SQLite would continue with the old
            one, and acknowledged runs would be lost with it.
        """
        found = self._file if self._connection is None else files.identity(self.filename)
        if found != self._file:
            if found is None:
                await self.empty_log()
            if found is None or not files.is_newest(self.filename, found):
                raise files.moved()
            await self.close()
        await self.create_connection(with_db=True)
        assert self._connection is not None
        return self._connection

    async def give_up(self) -> None:
        """Close the connection, for the holder of the lock; the next statement opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error, ValueError):
                await connection.close()

    async def empty_log(self) -> None:
        """Move the content of the log into the file, which may have been moved away."""
        if self._connection is not None and files.is_newest(self.filename, self._file):
            with contextlib.suppress(sqlite3.Error):
                await self._connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")

    def acquire_connection(self) -> ConnectionWrapper[Any]:
        """Return a context that holds the connection for one statement."""
        return _Held(self)

    def _in_transaction(self) -> TransactionContext:
        return _Transaction(_TransactionClient(self), self._lock)


def _try_open(address: str) -> None:
    sqlite3.connect(address, uri=True).close()


class _Held(ConnectionWrapper[Any]):
    def __init__(self, client: Client) -> None:
        super().__init__(client._lock, client)
        self._client = client

    async def __aenter__(self) -> Any:
        await self._lock.acquire()
        try:
            self.connection = await self._client.current()
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self.connection

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if isinstance(error, Exception):
                await self._client.give_up()
        finally:
            self._lock.release()


class _TransactionClient(SqliteTransactionWrapper):
    async def begin(self) -> None:
        # IMMEDIATE: a transaction that reads first cannot wait for the lock when it writes
        try:
            await self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise OperationalError(error) from error

    async def execute_script(self, query: str) -> None:
        """Run statements one by one: ``executescript`` would commit the transaction first."""
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
    async def __aenter__(self) -> Any:
        await self._trxlock.acquire()
        try:
            self.connection._connection = await self.connection._parent.current()
            await self.connection.begin()
        except BaseException:
            await self._leave(failed=True)
            raise
        self.token = get_connections().set(self.connection_name, self.connection)
        return self.connection

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        get_connections().reset(self.token)
        failed = True
        try:
            if error is None:
                await self.connection.commit()
                failed = False
        finally:
            await self._leave(failed)

    async def _leave(self, failed: bool) -> None:
        """Release the lock; close the connection if something failed, which is a rollback."""
        try:
            if failed:
                await self.connection._parent.give_up()
        finally:
            self._trxlock.release()


client_class = Client
