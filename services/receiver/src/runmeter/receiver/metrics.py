"""Metrics for Prometheus.

Nothing here reads the database: ``Readiness`` measures it before it asks for the text.
"""

from collections.abc import Callable, Iterable

from runmeter.service.registry import Registry

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PUSHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_OTHER = "other"  # methods that callers made up: they must not make series


class Metrics:
    """Counts of one receiver, in a registry of its own. ``methods`` are those it serves."""

    def __init__(self, version: str, methods: Iterable[str]) -> None:
        self._registry = Registry("receiver", version)
        self._methods = frozenset(methods)
        self._calls = self._registry.counter(
            "calls",
            "Finished calls, health and reflection excluded, by method and gRPC code.",
            "method",
            "code",
        )
        self._call_seconds = self._registry.histogram(
            "call_duration_seconds", "Duration of calls, by method.", _SECONDS, "method"
        )
        self._refused = self._registry.counter(
            "authentications_refused",
            "Calls whose bearer was refused, by reason.",
            "reason",
        )
        self._limited = self._registry.counter(
            "authentications_limited",
            "Refused calls that were answered with RESOURCE_EXHAUSTED, because too many were "
            "refused before.",
        )
        self._batch_pushes = self._registry.histogram(
            "commit_batch_pushes", "Pushes per transaction.", _PUSHES
        )
        self._commit_seconds = self._registry.histogram(
            "commit_duration_seconds", "Duration of a transaction of pushes.", _SECONDS
        )
        self._database_up = self._registry.gauge(
            "database_up", "1 if the database was measured at this scrape, 0 if it did not answer."
        )
        self._rows = self._registry.gauge(
            "database_rows",
            "Stored runs, estimated: SQLite by the span of ids, too high after deletions; "
            "PostgreSQL by its statistics.",
        )
        self._size = self._registry.gauge(
            "database_size_bytes",
            "Size of the database: the files of SQLite, pg_database_size of PostgreSQL.",
        )
        for method in sorted(self._methods):
            self._call_seconds.labels(method)

    def call_finished(self, method: str, code: str, seconds: float) -> None:
        """Count a call."""
        method = method if method in self._methods else _OTHER
        self._calls.labels(method, code).inc()
        self._call_seconds.labels(method).observe(seconds)

    def authentication_refused(self, reason: str) -> None:
        """Count a refused bearer."""
        self._refused.labels(reason).inc()

    def authentication_limited(self) -> None:
        """Count a refused bearer whose caller is over the limit of refused calls."""
        self._limited.inc()

    def committed(self, push_count: int, seconds: float) -> None:
        """Count a transaction of the writer."""
        self._batch_pushes.observe(push_count)
        self._commit_seconds.observe(seconds)

    def watch_queue(self, push_count: Callable[[], int], size_bytes: Callable[[], int]) -> None:
        """Read the queue of the writer at each scrape."""
        count = self._registry.gauge("queue_pushes", "Pushes waiting to be written.")
        count.set_function(push_count)
        size = self._registry.gauge("queue_bytes", "Size of the pushes waiting to be written.")
        size.set_function(size_bytes)

    def database_measured(self, row_count: int, size_bytes: int) -> None:
        """Set the number of runs and the size of the database."""
        self._database_up.set(1)
        self._rows.set(row_count)
        self._size.set(size_bytes)

    def database_unmeasured(self) -> None:
        """Set that the database did not answer; the last figures stay."""
        self._database_up.set(0)

    def certificate_expires(self, at_unix: float) -> None:
        """Set until when the server's certificate is valid."""
        self._registry.certificate_expires(at_unix)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return self._registry.text()
