"""One migrator at a time: Tortoise's migrations have no lock of their own.

Any number of receivers may start on one database at once; the first migrates, the others wait for
it and have nothing left to do.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

from tortoise.backends.base.client import BaseDBAsyncClient

_ADVISORY_KEY = 0x72756E6D65746572  # "runmeter"
_POLL_SECONDS = 0.05


async def lock_migrations(connection: BaseDBAsyncClient) -> None:
    """Lock migrations of a PostgreSQL database until the transaction ends.

    A lock of the session would stay behind a connection pooler.
    """
    if connection.capabilities.dialect == "postgres":
        await connection.execute_script(f"SELECT pg_advisory_xact_lock({_ADVISORY_KEY})")


@contextlib.asynccontextmanager
async def folder_lock(path: str) -> AsyncIterator[None]:
    """Hold the lock of the folder that a SQLite file is or will be in.

    Not of the file: closing it here would drop the locks SQLite has on it. A folder that cannot
    be locked (the user may not list it, the file system has no locks) is left unlocked.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder = os.open(Path(path).resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            while not _try_lock(folder):
                await asyncio.sleep(_POLL_SECONDS)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
