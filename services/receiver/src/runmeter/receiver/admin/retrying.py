"""Retry work with the database: a command, unlike a call, has no caller that retries."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runmeter.receiver.admin.streams import wait_or_stop
from runmeter.receiver.ending import Stop
from runmeter.receiver.errors import StoreUnavailable

RETRY_SECONDS = 60.0
REST_SECONDS = 1.0

_T = TypeVar("_T")


async def retry_while_unavailable(work: Callable[[], Awaitable[_T]], stop: Stop) -> _T:
    """Do work with the database; while that is unavailable, try again each second for a minute.

    The work is never cancelled.

    Raises:
        StoreUnavailable: it was unavailable for the whole minute.
        Interrupted: a signal came.
    """
    started_seconds = time.monotonic()
    while True:
        try:
            return await work()
        except StoreUnavailable:
            if time.monotonic() - started_seconds >= RETRY_SECONDS:
                raise
            await wait_or_stop(stop, asyncio.sleep(REST_SECONDS))
