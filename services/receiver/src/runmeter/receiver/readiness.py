"""The state that the pages for operators show: readiness, and the size of the database."""

from runmeter.receiver.metrics import Metrics
from runmeter.receiver.store import probes
from runmeter.receiver.store.database import Database
from runmeter.receiver.store.writer import Writer
from runmeter.service.ops import Cached

WRITABLE_FRESH_SECONDS = 1.0
MEASURED_FRESH_SECONDS = 15.0


class Readiness:
    """``reason`` is why no calls should be sent, None while the receiver serves."""

    def __init__(self, metrics: Metrics, database: Database, writer: Writer) -> None:
        self.reason: str | None = "it is starting"
        self._metrics = metrics
        self._unwritable: Cached[str | None] = Cached(
            lambda: probes.unwritable_reason(database, writer.refused_bytes),
            WRITABLE_FRESH_SECONDS,
            late="it does not answer",
        )
        self._measured = Cached(lambda: probes.measure(database), MEASURED_FRESH_SECONDS, late=None)

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
