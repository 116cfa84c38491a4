"""What is counted, for Prometheus. Names and meanings are those of the package's README.

Nothing here reads the database: `ops` hands over what it has measured before it asks for the text.
"""

import sys
from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "runmeter_receiver"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PUSHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_OTHER = "other"  # methods that callers made up: they must not make series


class Metrics:
    """Counts of one receiver, in a registry of its own. `methods` are those it serves."""

    def __init__(self, version: str, methods: Iterable[str]) -> None:
        self._registry = CollectorRegistry()
        self._methods = frozenset(methods)
        self._calls = Counter(
            f"{_PREFIX}_calls",
            "Calls that have ended, but of health and reflection, by method and gRPC code.",
            ("method", "code"),
            registry=self._registry,
        )
        self._call_seconds = self._histogram(
            "call_duration_seconds", "Duration of calls, by method.", _SECONDS, ("method",)
        )
        self._refused = Counter(
            f"{_PREFIX}_authentications_refused",
            "Calls whose bearer was refused, by reason.",
            ("reason",),
            registry=self._registry,
        )
        self._limited = Counter(
            f"{_PREFIX}_authentications_limited",
            "Those of them that were answered RESOURCE_EXHAUSTED, after too many.",
            registry=self._registry,
        )
        self._batch_pushes = self._histogram(
            "commit_batch_pushes", "Pushes that were committed as one transaction.", _PUSHES
        )
        self._commit_seconds = self._histogram(
            "commit_duration_seconds", "Duration of such a transaction.", _SECONDS
        )
        self._database_up = self._gauge(
            "database_up", "1 if the database was measured at this scrape, 0 if it did not answer."
        )
        self._rows = self._gauge(
            "database_rows",
            "Runs stored, an estimate: SQLite the span of the ids, so too many once runs in "
            "between were deleted; PostgreSQL what its statistics say.",
        )
        self._size = self._gauge(
            "database_size_bytes",
            "Size of the database: SQLite its files, PostgreSQL pg_database_size.",
        )
        self._expiry: Gauge | None = None
        info = Info(f"{_PREFIX}_build", "Versions of this receiver.", registry=self._registry)
        python = ".".join(map(str, sys.version_info[:3]))
        info.info({"version": version, "python": python})
        ProcessCollector(registry=self._registry)
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
        """Count one that was refused after too many."""
        self._limited.inc()

    def committed(self, push_count: int, seconds: float) -> None:
        """Count a transaction of the writer."""
        self._batch_pushes.observe(push_count)
        self._commit_seconds.observe(seconds)

    def watch_queue(self, push_count: Callable[[], int], size_bytes: Callable[[], int]) -> None:
        """Read the queue of the writer at each scrape."""
        count = self._gauge("queue_pushes", "Pushes that wait to be written.")
        count.set_function(push_count)
        size = self._gauge("queue_bytes", "Size of the pushes that wait to be written.")
        size.set_function(size_bytes)

    def database_measured(self, row_count: int, size_bytes: int) -> None:
        """Note what the database holds."""
        self._database_up.set(1)
        self._rows.set(row_count)
        self._size.set(size_bytes)

    def database_unmeasured(self) -> None:
        """Note that the database did not answer; what it held stays."""
        self._database_up.set(0)

    def certificate_expires(self, at_unix: float) -> None:
        """Note until when the server's certificate is valid."""
        if self._expiry is None:  # without TLS there is none
            self._expiry = self._gauge(
                "tls_certificate_expiry_timestamp_seconds",
                "Unix time until which the certificate of --tls-cert is valid.",
            )
        self._expiry.set(at_unix)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it (content type `CONTENT_TYPE`)."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", meaning, registry=self._registry)

    def _histogram(
        self, name: str, meaning: str, bounds: Iterable[float], labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(
            f"{_PREFIX}_{name}", meaning, labels, buckets=tuple(bounds), registry=self._registry
        )
