"""Use cases: delete what is old, once or for as long as the receiver serves."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

import structlog

from runmeter.receiver import events
from runmeter.receiver.errors import ShuttingDown, StoreUnavailable
from runmeter.receiver.patience import patiently
from runmeter.receiver.progress import Progress
from runmeter.receiver.streams import Stop, unless

SWEEP_SECONDS = 300.0
_REST_SECONDS = 0.01
_REST_MAX_SECONDS = 1.0  # the database may have been locked for long

Delete = Callable[[int, int], Awaitable[int]]


class DoesChores(Protocol):
    """What `writer.Writer` does."""

    async def between_pushes(self, work: Callable[[], Awaitable[int]]) -> int:
        """Do another transaction when pushes leave room for it."""
        ...


class Deleted(NamedTuple):
    """What was deleted."""

    run_count: int = 0
    transaction_count: int = 0


class Clocks(NamedTuple):
    """`wall` returns unix seconds, `monotonic` seconds since some moment."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]


class Pruning:
    """Deletes beside a receiver that may serve the database: it gets the time between."""

    def __init__(self, delete: Delete, clocks: Clocks, progress: Progress) -> None:
        self._delete = delete
        self._clocks = clocks
        self._progress = progress
        self.deleted = Deleted()

    async def run(self, older_than_seconds: float, stop: Stop) -> None:
        """Delete everything older, as of now; `deleted` says how far it came.

        Raises:
            StoreUnavailable: the database cannot be written, tried for a minute.
            Interrupted: a signal came; the transaction it came in is finished.
        """
        before_ms, now_ms = bounds(older_than_seconds, self._clocks.wall())
        delete = functools.partial(self._delete, before_ms, now_ms)
        while True:
            started = self._clocks.monotonic()
            run_count = await patiently(delete, stop, self._clocks.monotonic)
            if not run_count:
                return
            self.deleted = Deleted(
                self.deleted.run_count + run_count, self.deleted.transaction_count + 1
            )
            self._progress.show(self.deleted.run_count)
            # as long a rest as the transaction was: others get half of the time at least
            took_seconds = self._clocks.monotonic() - started
            rest_seconds = min(max(took_seconds, _REST_SECONDS), _REST_MAX_SECONDS)
            await unless(stop, asyncio.sleep(rest_seconds))


async def keep_retention(
    older_than_seconds: float, delete: Delete, writer: DoesChores, clocks: Clocks
) -> None:
    """Delete what is older, now and every few minutes, until cancelled."""
    while True:
        try:
            await _sweep(older_than_seconds, delete, writer, clocks)
        except StoreUnavailable:
            pass  # the log has it; the next sweep tries again
        except ShuttingDown:
            return
        await asyncio.sleep(min(max(older_than_seconds / 10, 1.0), SWEEP_SECONDS))


async def _sweep(
    older_than_seconds: float, delete: Delete, writer: DoesChores, clocks: Clocks
) -> None:
    started = clocks.monotonic()
    deleted = Deleted()
    work = functools.partial(delete, *bounds(older_than_seconds, clocks.wall()))
    try:
        while run_count := await writer.between_pushes(work):
            deleted = Deleted(deleted.run_count + run_count, deleted.transaction_count + 1)
    finally:
        if deleted.run_count:
            structlog.get_logger().info(
                events.RUNS_DELETED,
                **deleted._asdict(),
                older_than_seconds=older_than_seconds,
                duration_seconds=round(clocks.monotonic() - started, 3),
            )


def bounds(older_than_seconds: float, now_seconds: float) -> tuple[int, int]:
    """Return before when the last push must have come for a run to go, and now; milliseconds."""
    return int((now_seconds - older_than_seconds) * 1000), int(now_seconds * 1000)
