"""PostgreSQL for Tortoise, with a pool that outlives the errors of its connections.

A statement that fails gives up its own connection at most; those of other callers stay. Every
wait has a limit.

Behind a connection pooler such as PgBouncer a session may be another one after each transaction.
There, settings are made and statements are prepared inside a transaction, also around one
statement. A pooler is noticed because it gives its clients another process id than the server.

The name of this module must contain "asyncpg": Tortoise's migrations look for that.
"""

import asyncio
import contextlib
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base.client import PoolConnectionWrapper, TransactionContext
from tortoise.connection import get_connections
from tortoise.exceptions import BaseORMException

CLOSE_SECONDS = 1.0
_RETRY_SECONDS = 0.05
_FATAL = ("FATAL", "PANIC")  # the server ends the connection
_BROKEN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# of the server, of PgBouncer
_NO_CONNECTION_LEFT = (asyncpg.TooManyConnectionsError, asyncpg.ProtocolViolationError)
_NONE_SET = "SELECT 0"


class Pool:
    """Connections to the database of a URL, made when they are needed.

    ``statement_seconds``: how long a statement may take; None: without a limit.
    """

    def __init__(
        self, url: str, most: int, connect_seconds: float, statement_seconds: float | None
    ) -> None:
        self._url = url
        self._most = most
        self._connect_seconds = connect_seconds
        self._statement_seconds = statement_seconds
        self._pool: Any = None
        self._is_behind_pooler = False

    async def take(self, permits: asyncio.Semaphore) -> "Held":
        """Take a connection, with one of the permits; wait if all are in use."""
        async with asyncio.timeout(self._connect_seconds) as limit:
            await permits.acquire()
            try:
                connection = await self._acquire(limit.when() or 0.0)
            except BaseException:
                permits.release()
                raise
        return Held(connection, self._pool, permits)

    async def _acquire(self, until_seconds: float) -> Any:
        if self._pool is None:
            pool = asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._most,
                connect=self._connect,
                reset=_leave,
                timeout=self._connect_seconds,
                # the server's limit ends the work, this one the wait for a server that hangs
                command_timeout=self._statement_seconds and self._statement_seconds + 1,
            )
            self._pool = await pool  # at once: it has no connection yet
        while True:
            try:
                return await self._pool.acquire()
            except _NO_CONNECTION_LEFT:
                late = asyncio.get_running_loop().time() + _RETRY_SECONDS > until_seconds
                if late or not self._pool.get_size():
                    raise
                await asyncio.sleep(_RETRY_SECONDS)  # one of ours may be free then

    async def _connect(self, *arguments: Any, **options: Any) -> Any:
        while True:
            if self._is_behind_pooler:
                return await asyncpg.connect(*arguments, **options, statement_cache_size=0)
            connection = await asyncpg.connect(*arguments, **options)
            own = f" AND pg_backend_pid() = {connection.get_server_pid()}"
            try:
                done = await connection.execute(self._setting(local=False) + own)
                if done != _NONE_SET:
                    return connection
                self._is_behind_pooler = True
                await connection.close(timeout=CLOSE_SECONDS)
            except BaseException:
                connection.terminate()
                raise

    def _setting(self, local: bool) -> str:
        """Return SQL that sets limits for the session, or for the transaction alone."""
        limit = f"{1000 * (self._statement_seconds or 0):.0f}"
        # an acknowledged run survives a crash of the server, even if its default is off
        return (
            f"SELECT set_config(name, value, {str(local).lower()}) FROM (VALUES "
            f"('statement_timeout', '{limit}'), "
            f"('idle_in_transaction_session_timeout', '{limit}'), "
            "('synchronous_commit', 'on')) AS wanted (name, value) "
            "WHERE (name <> 'synchronous_commit' OR current_setting(name) = 'off')"
        )

    async def begin(self, held: "Held", wanted: bool) -> None:
        """Begin a transaction if one is wanted, or always behind a pooler."""
        if not (wanted or self._is_behind_pooler):
            return
        # even if the server's default is another: the push rules need this isolation
        transaction = held.connection.transaction(isolation="read_committed")
        await transaction.start()
        held.transaction = transaction
        if self._is_behind_pooler:
            await held.connection.execute(self._setting(local=True))

    async def close(self) -> None:
        """Close the connections."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()
        except Exception:
            pool.terminate()


class Held:
    """A connection of the pool, perhaps in a transaction.

    It goes back to the pool if it can be used further, and is closed otherwise; that also ends its
    transaction.
    """

    def __init__(self, connection: Any, pool: Any, permits: asyncio.Semaphore) -> None:
        self.connection = connection
        self.transaction: Any = None
        self._pool = pool
        self._permits = permits

    async def leave(self, error: BaseException | None) -> None:
        """End the transaction, and the use of the connection, after an error or without one."""
        usable = False
        try:
            usable = await self._end_transaction(error)
        finally:
            if not usable:
                self.give_up()
        if usable:
            self._permits.release()
            with contextlib.suppress(*_BROKEN):
                await self._pool.release(self.connection)

    def give_up(self) -> None:
        """Close the connection, without waiting for the server."""
        self._permits.release()
        # an InterfaceError: the server has closed it, and the pool has taken it back
        with contextlib.suppress(asyncpg.InterfaceError):
            self.connection.terminate()

    async def _end_transaction(self, error: BaseException | None) -> bool:
        """Return whether the connection can be used further."""
        if error is None:
            if self.transaction:
                await self.transaction.commit()
            return True
        if isinstance(error, BaseORMException):
            error = error.__cause__ or error
        elif not isinstance(error, asyncpg.PostgresError):
            return False  # the server may not have answered: a rollback could wait again
        if isinstance(error, asyncpg.PostgresError) and error.severity in _FATAL:
            return False
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            # of a session, or of a server that is no primary now; a new connection may write
            await self._pool.expire_connections()
            return False
        if self.transaction:
            try:
                await self.transaction.rollback()
            except _BROKEN:
                return False
        return True


class Client(AsyncpgDBClient):
    """Uses at most so many connections of the pool at a time."""

    def __init__(self, connection_name: str, pool: Pool, most: int) -> None:
        super().__init__(connection_name=connection_name)
        self.connections = pool
        self.permits = asyncio.Semaphore(most)

    async def create_connection(self, with_db: bool) -> None:
        """Do nothing: connections are made when they are needed."""

    async def close(self) -> None:
        """Close the pool, which other clients may share."""
        await self.connections.close()

    def acquire_connection(self) -> PoolConnectionWrapper[Any]:
        """Return a context that holds a connection for one statement."""
        return _Statement(self, self._pool_init_lock)

    def _in_transaction(self) -> TransactionContext:
        return _Transaction(self)

    async def hold(self, in_transaction: bool) -> Held:
        """Return a connection, in a transaction if one is wanted or needed."""
        held = await self.connections.take(self.permits)
        try:
            await self.connections.begin(held, in_transaction)
        except BaseException:
            held.give_up()
            raise
        return held


async def _leave(connection: Any) -> None:
    """Reset nothing: no session is changed here."""


class _Statement(PoolConnectionWrapper[Any]):
    client: Client

    async def __aenter__(self) -> Any:
        self._held = await self.client.hold(in_transaction=False)
        return self._held.connection

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        await self._held.leave(error)


class _Transaction(TransactionContext):
    def __init__(self, client: Client) -> None:
        self._parent = client

    async def __aenter__(self) -> Any:
        self._held = await self._parent.hold(in_transaction=True)
        self.client = TransactionWrapper(self._parent)
        self.client._connection = self._held.connection
        self._token = get_connections().set(self._parent.connection_name, self.client)
        return self.client

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        get_connections().reset(self._token)
        await self._held.leave(error)


client_class = Client
