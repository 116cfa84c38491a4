"""Change many runs in small transactions."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from runmeter.receiver.admin.progress import Progress
from runmeter.receiver.admin.retrying import retry_while_unavailable
from runmeter.receiver.admin.streams import wait_or_stop
from runmeter.receiver.ending import Stop
from runmeter.receiver.retention import Counts

_REST_SECONDS = 0.01
_REST_MAX_SECONDS = 1.0  # the database may have been locked for long


class Batches:
    """Does transactions, with pauses for a receiver that serves the database."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.done = Counts()

    async def run(self, change_some: Callable[[], Awaitable[int]], stop: Stop) -> None:
        """Do one transaction after the other until it changes no run; ``done`` counts them.

        Raises:
            StoreUnavailable: the database cannot be written, for a minute.
            Interrupted: a signal came; the transaction it came in is finished.
        """
        while True:
            started = time.monotonic()
            run_count = await retry_while_unavailable(change_some, stop)
            if not run_count:
                return
            self.done = self.done.plus(run_count)
            self._progress.show(self.done.run_count)
            # pause as long as the transaction took: others get at least half of the time
            took_seconds = time.monotonic() - started
            rest_seconds = min(max(took_seconds, _REST_SECONDS), _REST_MAX_SECONDS)
            await wait_or_stop(stop, asyncio.sleep(rest_seconds))
