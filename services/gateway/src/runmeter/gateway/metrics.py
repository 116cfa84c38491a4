"""Metrics for Prometheus.

Labels are bounded: routes are templates, never the address of a request; methods and statuses are
of fixed lists.
"""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from runmeter.service.registry import Registry

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
_OTHER = "other"
_UNMATCHED = "unmatched"


class Metrics:
    """Counts of one process, in a registry of its own."""

    def __init__(self, version: str = "") -> None:
        self._registry = registry = Registry("gateway", version)
        self._requests = registry.counter(
            "requests",
            "Finished requests, by method, route and status.",
            *("method", "route", "status"),
        )
        self._request_seconds = registry.histogram(
            "request_duration_seconds",
            "Time from the headers of a request to the end of its answer, by method and route.",
            _SECONDS,
            *("method", "route"),
        )
        self.requests_in_flight = registry.gauge("requests_in_flight", "Requests being answered.")
        self._refused = registry.counter(
            "requests_refused",
            "Requests refused by a limit: rate, client (too many at once) or capacity.",
            "reason",
        )
        self.connections = registry.gauge("connections", "Open connections.")
        self.connections_refused = registry.counter(
            "connections_refused", "Connections refused because the limit was reached."
        )
        self.body_received = registry.counter(
            "request_body_bytes", "Bytes read of request bodies."
        ).inc
        self.body_sent = registry.counter(
            "response_body_bytes", "Bytes sent as response bodies."
        ).inc
        self._calls = registry.counter(
            "receiver_calls", "Calls to the receiver, by method and gRPC code.", "method", "code"
        )
        self.certificate_expires = registry.certificate_expires

    def request_finished(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request."""
        method = method if method in _METHODS else _OTHER
        route = route or _UNMATCHED
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def request_refused(self, reason: str) -> None:
        """Count a request that a limit refused."""
        self._refused.labels(reason).inc()

    def call_finished(self, method: str, code: str) -> None:
        """Count a call to the receiver."""
        self._calls.labels(method, code).inc()

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return self._registry.text()


class WorkersMetrics:
    """Counts of several workers, which keep them in files of this folder, and of the parent.

    A worker's environment has `FOLDER_VARIABLE` before it imports this module.
    """

    def __init__(self, version: str, folder: str) -> None:
        self._folder = folder
        self._workers_registry = CollectorRegistry()
        MultiProcessCollector(  # type: ignore[no-untyped-call]
            self._workers_registry, path=folder
        )
        self._registry = Registry("gateway", version)
        self._died = self._registry.counter(
            "workers_died", "Workers that ended unexpectedly and were replaced."
        )

    def worker_died(self, pid: int) -> None:
        """Count it; keep its counters, remove its gauges."""
        self._died.inc()
        mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._workers_registry) + self._registry.text()
