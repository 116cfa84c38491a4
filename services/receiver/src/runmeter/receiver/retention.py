"""Use case: delete old runs for as long as the receiver serves."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from runmeter.receiver import events
from runmeter.receiver.errors import ShuttingDown, StoreUnavailable
from runmeter.receiver.store.writer import Writer

SWEEP_SECONDS = 300.0

Delete = Callable[[int, int], Awaitable[int]]


class Counts(NamedTuple):
    """Runs that were deleted or renamed, and the transactions that took."""

    run_count: int = 0
    transaction_count: int = 0

    def plus(self, run_count: int) -> "Counts":
        """Add a transaction."""
        return Counts(self.run_count + run_count, self.transaction_count + 1)


class Clocks(NamedTuple):
    """``wall`` returns unix seconds, ``monotonic`` seconds since some moment."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]


async def keep_retention(
    older_than_seconds: float, delete: Delete, writer: Writer, clocks: Clocks
) -> None:
    """Delete runs that are too old, now and every few minutes, until cancelled."""
    while True:
        try:
            await _sweep(older_than_seconds, delete, writer, clocks)
        except StoreUnavailable:
            pass  # it is logged; the next sweep tries again
        except ShuttingDown:
            return
        await asyncio.sleep(min(max(older_than_seconds / 10, 1.0), SWEEP_SECONDS))


async def _sweep(older_than_seconds: float, delete: Delete, writer: Writer, clocks: Clocks) -> None:
    started = clocks.monotonic()
    deleted = Counts()
    work = functools.partial(delete, *bounds(older_than_seconds, clocks.wall()))
    try:
        while run_count := await writer.between_pushes(work):
            deleted = deleted.plus(run_count)
    finally:
        if deleted.run_count:
            structlog.get_logger().info(
                events.RUNS_DELETED,
                **deleted._asdict(),
                older_than_seconds=older_than_seconds,
                duration_seconds=round(clocks.monotonic() - started, 3),
            )


def bounds(older_than_seconds: float, now_seconds: float) -> tuple[int, int]:
    """Return the time of the last push before which a run is deleted, and now, in ms."""
    return int((now_seconds - older_than_seconds) * 1000), int(now_seconds * 1000)
