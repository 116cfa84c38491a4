"""PostgreSQL for Tortoise; connections are closed if the server hangs or has disconnected.

Tortoise's own client keeps the connection of a transaction that could not begin, and rolls back
on a connection that is gone. Here such a connection is closed, and every wait has a limit.

The name of this module must contain "asyncpg": Tortoise's migrations look for that.
"""

import asyncio
import contextlib
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base.client import (
    PoolConnectionWrapper,
    TransactionContext,
    TransactionContextPooled,
)
from tortoise.connection import get_connections
from tortoise.exceptions import BaseORMException

CLOSE_SECONDS = 1.0
# an acknowledged run survives a crash of the server, even if its default is off
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)


class Client(AsyncpgDBClient):
    """A pool of connections."""

    async def create_pool(self, **options: Any) -> Any:
        """Connect, without what asyncpg does after each use: nothing here changes a session."""
        return await asyncpg.create_pool(None, init=_prepare, reset=_leave, **options)

    async def _close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), CLOSE_SECONDS)
        except Exception:
            pool.terminate()

    def acquire_connection(self) -> PoolConnectionWrapper[Any]:
        """Return a context that holds a connection for one statement."""
        return _Held(self, self._pool_init_lock)

    def _in_transaction(self) -> TransactionContext:
        return _Transaction(_TransactionClient(self), self._pool_init_lock)


async def _prepare(connection: Any) -> None:
    await connection.execute(_DURABLE)


async def _leave(connection: Any) -> None:
    pass


class _Held(PoolConnectionWrapper[Any]):
    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self.connection and error and not isinstance(error, asyncpg.PostgresError):
            # releasing it would wait again for a server that did not answer
            self.connection.terminate()
        await super().__aexit__(kind, error, trace)


class _TransactionClient(TransactionWrapper):
    async def begin(self) -> None:
        # even if the server's default is another: the push rules need this one
        self.transaction = self._connection.transaction(isolation="read_committed")
        await self.transaction.start()


class _Transaction(TransactionContextPooled):
    async def __aenter__(self) -> Any:
        await self.ensure_connection()
        pool = self.client._parent._pool
        self.client._connection = await pool.acquire()
        try:
            await self.client.begin()
        except BaseException:
            await self._leave(pool)
            raise
        self.token = get_connections().set(self.connection_name, self.client)
        return self.client

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        pool = self.client._parent._pool
        get_connections().reset(self.token)
        finished = False
        try:
            if error is None:
                await self.client.commit()
            elif isinstance(error, (asyncpg.PostgresError, BaseORMException)):
                await self.client.rollback()
            finished = error is None or self.client._finalized
        finally:
            await self._leave(pool, cut=not finished)

    async def _leave(self, pool: Any, cut: bool = True) -> None:
        """Release the connection, or terminate it, which also ends an unfinished transaction."""
        if cut:
            self.client._connection.terminate()
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await pool.release(self.client._connection)


client_class = Client
