"""Trying again where nobody else does: a command has no caller that would."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runmeter.receiver.errors import StoreUnavailable
from runmeter.receiver.streams import Stop, unless

TRIES = 12  # on SQLite each waits for the lock, 5 s, by itself
REST_SECONDS = 1.0

_T = TypeVar("_T")


async def patiently(work: Callable[[], Awaitable[_T]], stop: Stop) -> _T:
    """Do something with the database, again after a second if it is unavailable.

    The work is never cancelled.

    Raises:
        StoreUnavailable: twelve times.
        Interrupted: a signal came between.
    """
    for _ in range(TRIES - 1):
        try:
            return await work()
        except StoreUnavailable:
            await unless(stop, asyncio.sleep(REST_SECONDS))
    return await work()
