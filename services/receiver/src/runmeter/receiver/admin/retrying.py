"""Trying again where nobody else does: a command has no caller that would."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runmeter.receiver.admin.streams import Stop, wait_or_stop
from runmeter.receiver.errors import StoreUnavailable

PATIENCE_SECONDS = 60.0
REST_SECONDS = 1.0

_T = TypeVar("_T")


async def retry_while_unavailable(
    work: Callable[[], Awaitable[_T]], stop: Stop, monotonic: Callable[[], float]
) -> _T:
    """Do something with the database, again after a second if it is unavailable.

    For a minute: a server that is started anew is back by then.

    The work is never cancelled.

    Raises:
        StoreUnavailable: for all of that time.
        Interrupted: a signal came between.
    """
    started_seconds = monotonic()
    while True:
        try:
            return await work()
        except StoreUnavailable:
            if monotonic() - started_seconds >= PATIENCE_SECONDS:
                raise
            await wait_or_stop(stop, asyncio.sleep(REST_SECONDS))
