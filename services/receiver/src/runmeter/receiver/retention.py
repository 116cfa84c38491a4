"""Use case: delete old runs for as long as the receiver serves."""

import asyncio
import functools
import time
from typing import NamedTuple

import structlog

from runmeter.receiver import events
from runmeter.receiver.errors import ShuttingDown, StoreUnavailable
from runmeter.receiver.store.expiry import delete_expired
from runmeter.receiver.store.writer import Writer

SWEEP_SECONDS = 300.0


class Counts(NamedTuple):
    """Runs that were deleted or renamed, and the transactions that took."""

    run_count: int = 0
    transaction_count: int = 0

    def plus(self, run_count: int) -> "Counts":
        """Add a transaction."""
        return Counts(self.run_count + run_count, self.transaction_count + 1)


async def keep_retention(older_than_seconds: float, writer: Writer) -> None:
    """Delete runs that are too old, now and every few minutes, until cancelled."""
    while True:
        try:
            await _sweep(older_than_seconds, writer)
        except StoreUnavailable:
            pass  # it is logged; the next sweep tries again
        except ShuttingDown:
            return
        await asyncio.sleep(min(max(older_than_seconds / 10, 1.0), SWEEP_SECONDS))


async def _sweep(older_than_seconds: float, writer: Writer) -> None:
    started = time.monotonic()
    deleted = Counts()
    work = functools.partial(delete_expired, *bounds(older_than_seconds))
    try:
        while run_count := await writer.between_pushes(work):
            deleted = deleted.plus(run_count)
    finally:
        if deleted.run_count:
            structlog.get_logger().info(
                events.RUNS_DELETED,
                **deleted._asdict(),
                older_than_seconds=older_than_seconds,
                duration_seconds=round(time.monotonic() - started, 3),
            )


def bounds(older_than_seconds: float) -> tuple[int, int]:
    """Return the time of the last push before which a run is deleted, and now, in ms."""
    now_seconds = time.time()
    return int((now_seconds - older_than_seconds) * 1000), int(now_seconds * 1000)
