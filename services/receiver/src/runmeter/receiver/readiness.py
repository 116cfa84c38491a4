"""The state that the pages for operators show: readiness, and the size of the database."""

from runmeter.receiver.errors import StoreUnavailable
from runmeter.receiver.metrics import Metrics
from runmeter.receiver.store import probes
from runmeter.receiver.store.database import Database
from runmeter.receiver.store.probes import Measured
from runmeter.receiver.store.writer import Writer
from runmeter.service.ops import Cached

WRITABLE_FRESH_SECONDS = 1.0
MEASURED_FRESH_SECONDS = 15.0


class Readiness:
    """``reason`` is why no calls should be sent, None while the receiver serves."""

    def __init__(
        self,
        metrics: Metrics,
        database: Database,
        writer: Writer,
    ) -> None:
        self.reason: str | None = "it is starting"
        self._metrics = metrics
        self._database = database
        self._writer = writer
        self._unwritable: Cached[str | None] = Cached(
            self._unwritable_reason, WRITABLE_FRESH_SECONDS, late="it does not answer"
        )
        self._measured = Cached(self._measured_now, MEASURED_FRESH_SECONDS, late=None)

    async def unready_reason(self) -> str | None:
        """Return why no calls should be sent; None while they should."""
        if self.reason is None:
            unwritable = await self._unwritable.get()
            if unwritable is not None:
                return f"the database: {unwritable}"
        return self.reason  # it may be set since a moment ago

    async def metrics_text(self) -> bytes:
        """Return the text of ``/metrics``, with what the database holds now."""
        if self.reason is None:
            found = await self._measured.get()
            if found is None:
                self._metrics.database_unmeasured()
            else:
                self._metrics.database_measured(found.row_count, found.size_bytes)
        return self._metrics.text()

    async def _unwritable_reason(self) -> str | None:
        try:
            await probes.check_writable(self._database, self._writer.refused_bytes)
        except StoreUnavailable as error:
            return error.reason
        return None

    async def _measured_now(self) -> Measured | None:
        try:
            return await probes.measure(self._database)
        except StoreUnavailable:
            return None
