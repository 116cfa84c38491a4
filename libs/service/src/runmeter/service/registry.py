"""Metrics of one process, for Prometheus.

::

    registry = Registry("gateway", version)
    requests = registry.counter("requests", "Requests, by status.", "status")
    requests.labels("200").inc()  # runmeter_gateway_requests_total{status="200"}
    registry.text()
"""

import sys
from collections.abc import Iterable
from typing import Literal

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


class Registry:
    """Makes metrics named ``runmeter_<service>_…``; has the versions and the process's own."""

    def __init__(self, service: str, version: str) -> None:
        self._prefix = f"runmeter_{service}"
        self._registry = CollectorRegistry()
        self._expiry: Gauge | None = None
        info = Info(
            f"{self._prefix}_build", f"Versions of this {service}.", registry=self._registry
        )
        python = ".".join(map(str, sys.version_info[:3]))
        info.info({"version": version, "python": python})
        ProcessCollector(registry=self._registry)

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """Make a counter; its name gets ``_total`` added."""
        return Counter(f"{self._prefix}_{name}", meaning, labels, registry=self._registry)

    def gauge(
        self, name: str, meaning: str, of_workers: Literal["livesum", "livemax"] = "livesum"
    ) -> Gauge:
        """Make a gauge; ``of_workers``: how the values of several processes are combined."""
        return Gauge(
            f"{self._prefix}_{name}", meaning, registry=self._registry, multiprocess_mode=of_workers
        )

    def histogram(
        self, name: str, meaning: str, bounds: Iterable[float], *labels: str
    ) -> Histogram:
        """Make a histogram with these bounds of its buckets."""
        return Histogram(
            f"{self._prefix}_{name}",
            meaning,
            labels,
            buckets=tuple(bounds),
            registry=self._registry,
        )

    def certificate_expires(self, at_unix: float) -> None:
        """Set until when the server's certificate is valid; without TLS there is no such metric."""
        if self._expiry is None:
            self._expiry = self.gauge(
                "tls_certificate_expiry_timestamp_seconds",
                "Unix time until which the certificate of --tls-cert is valid.",
                "livemax",
            )
        self._expiry.set(at_unix)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus (`CONTENT_TYPE`)."""
        return generate_latest(self._registry)
