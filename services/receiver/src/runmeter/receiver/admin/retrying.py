"""Retry work with the database: a command, unlike a call, has no caller that retries."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runmeter.receiver.admin.streams import Stop, wait_or_stop
from runmeter.receiver.errors import StoreUnavailable

RETRY_SECONDS = 60.0
REST_SECONDS = 1.0

_T = TypeVar("_T")


async def retry_while_unavailable(
    work: Callable[[], Awaitable[_T]], stop: Stop, monotonic: Callable[[], float]
) -> _T:
    """Do work with the database; while that is unavailable, try again each second for a minute.

    The work is never cancelled.

    Raises:
        StoreUnavailable: it was unavailable for the whole minute.
        Interrupted: a signal came.
    """
    started_seconds = monotonic()
    while True:
        try:
            return await work()
        except StoreUnavailable:
            if monotonic() - started_seconds >= RETRY_SECONDS:
                raise
            await wait_or_stop(stop, asyncio.sleep(REST_SECONDS))
