"""Delete old runs once."""

import asyncio
import functools

from runmeter.receiver.admin.progress import Progress
from runmeter.receiver.admin.retrying import retry_while_unavailable
from runmeter.receiver.admin.streams import Stop, wait_or_stop
from runmeter.receiver.retention import Clocks, Delete, Deleted, bounds

_REST_SECONDS = 0.01
_REST_MAX_SECONDS = 1.0  # the database may have been locked for long


class Pruning:
    """Deletes in small transactions, with pauses for a receiver that serves the database."""

    def __init__(self, delete: Delete, clocks: Clocks, progress: Progress) -> None:
        self._delete = delete
        self._clocks = clocks
        self._progress = progress
        self.deleted = Deleted()

    async def run(self, older_than_seconds: float, stop: Stop) -> None:
        """Delete all runs that are too old now; ``deleted`` counts them.

        Raises:
            StoreUnavailable: the database cannot be written, for a minute.
            Interrupted: a signal came; the transaction it came in is finished.
        """
        before_ms, now_ms = bounds(older_than_seconds, self._clocks.wall())
        delete = functools.partial(self._delete, before_ms, now_ms)
        while True:
            started = self._clocks.monotonic()
            run_count = await retry_while_unavailable(delete, stop, self._clocks.monotonic)
            if not run_count:
                return
            self.deleted = Deleted(
                self.deleted.run_count + run_count, self.deleted.transaction_count + 1
            )
            self._progress.show(self.deleted.run_count)
            # pause as long as the transaction took: others get at least half of the time
            took_seconds = self._clocks.monotonic() - started
            rest_seconds = min(max(took_seconds, _REST_SECONDS), _REST_MAX_SECONDS)
            await wait_or_stop(stop, asyncio.sleep(rest_seconds))
