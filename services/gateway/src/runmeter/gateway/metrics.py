"""What is counted, for Prometheus. Names and meanings are those of the package's README.

Labels are bounded: routes are templates, never what was asked for, and methods and statuses come
from fixed lists.
"""

from __future__ import annotations

import sys
from typing import Final, Literal

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
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_OfWorkers = Literal["livesum", "livemax"]
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PREFIX: Final = "runmeter_gateway"
_SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
_OTHER: Final = "other"
_UNMATCHED: Final = "unmatched"


class Metrics:
    """Counts of one process, in a registry of its own."""

    def __init__(self, version: str = "") -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter(
            "requests",
            "Requests, by method, route and status.",
            "method route status",
        )
        self._request_seconds = Histogram(
            f"{_PREFIX}_request_duration_seconds",
            "From a request's headers to the end of its answer, by method and route.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.requests_in_flight = self._gauge("requests_in_flight", "Requests being answered.")
        self._refused = self._counter(
            "requests_refused",
            "Requests that were not let in: rate, client (too many at once) or capacity.",
            "reason",
        )
        self.connections = self._gauge("connections", "Open connections.")
        self.connections_refused = self._counter(
            "connections_refused", "Connections for which there was no room."
        )
        self._received = self._counter("request_body_bytes", "Bytes of bodies that were read.")
        self._sent = self._counter("response_body_bytes", "Bytes of bodies of answers.")
        self._calls = self._counter(
            "receiver_calls", "Calls to the receiver, by method and gRPC code.", "method code"
        )
        self._expiry: Gauge | None = None
        _describe_process(self._registry, version)

    def request_finished(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request."""
        method = method if method in _METHODS else _OTHER
        route = route or _UNMATCHED
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def request_refused(self, reason: str) -> None:
        """Count one that was not let in."""
        self._refused.labels(reason).inc()

    def body_received(self, size_bytes: int) -> None:
        """Count a part of a request's body."""
        self._received.inc(size_bytes)

    def body_sent(self, size_bytes: int) -> None:
        """Count a part of an answer's body."""
        self._sent.inc(size_bytes)

    def call_finished(self, method: str, code: str) -> None:
        """Count a call to the receiver."""
        self._calls.labels(method, code).inc()

    def certificate_expires(self, at_unix: float) -> None:
        """Note until when the certificate that clients are shown is valid."""
        if self._expiry is None:  # without TLS there is none
            self._expiry = self._gauge(
                "tls_certificate_expiry_timestamp_seconds",
                "Unix time until which the certificate of --tls-cert is valid.",
                "livemax",
            )
        self._expiry.set(at_unix)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it (content type `CONTENT_TYPE`)."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str, labels: str = "") -> Counter:
        return Counter(f"{_PREFIX}_{name}", meaning, labels.split(), registry=self._registry)

    def _gauge(self, name: str, meaning: str, of_workers: _OfWorkers = "livesum") -> Gauge:
        """Make a gauge; ``of_workers`` says which value of several workers counts."""
        return Gauge(
            f"{_PREFIX}_{name}", meaning, registry=self._registry, multiprocess_mode=of_workers
        )


class WorkersMetrics:
    """Counts of several workers, which keep theirs in files of this folder, and of the parent.

    A worker's environment has `FOLDER_VARIABLE`, from before it imports this module.
    """

    def __init__(self, version: str, folder: str) -> None:
        self._folder = folder
        self._workers_registry = CollectorRegistry()
        MultiProcessCollector(  # type: ignore[no-untyped-call]
            self._workers_registry, path=folder
        )
        self._registry = CollectorRegistry()
        self._died = Counter(
            f"{_PREFIX}_workers_died", "Workers that were replaced.", registry=self._registry
        )
        _describe_process(self._registry, version)

    def worker_died(self, pid: int) -> None:
        """Count it; what it counted stays, what it had open does not."""
        self._died.inc()
        mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self._workers_registry) + generate_latest(self._registry)


def _describe_process(registry: CollectorRegistry, version: str) -> None:
    info = Info(f"{_PREFIX}_build", "Versions of this gateway.", registry=registry)
    python = ".".join(map(str, sys.version_info[:3]))
    info.info({"version": version, "python": python})
    ProcessCollector(registry=registry)
