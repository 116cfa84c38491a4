"""Who gets in: requests by rate and number, connections by number."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from runmeter.gateway import events
from runmeter.gateway.api.edge import Edge
from runmeter.gateway.api.request import GatewayRequest
from runmeter.gateway.errors import GatewayError, Overloaded, TooManyAtOnce, TooManyRequests
from runmeter.gateway.metrics import Metrics
from runmeter.gateway.proxies import client_key

OPEN_PATH: Final = "/health"
"""Always answered: it costs nothing, and who asks wants to know whether we live."""
_QUIET_SECONDS: Final = 60.0

_log = structlog.get_logger()


class Gate:
    """Counts what is let in and what is not."""

    def __init__(self, edge: Edge, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._edge = edge
        self._metrics = metrics
        self._clock = clock
        self._requests_by_client: Counter[str] = Counter()  # of those that are answered now
        self._refusal_logged_seconds: float | None = None

    @asynccontextmanager
    async def admitted(self, request: GatewayRequest) -> AsyncIterator[None]:
        """Let a request in while it is answered.

        Raises:
            TooManyRequests, TooManyAtOnce, Overloaded: after a pause. Clients that ask again at
                once would otherwise take the time that the others' answers need.
        """
        if request.path == OPEN_PATH:
            yield
            return
        client = client_key(request.client_address)
        try:
            self._check(client)
        except GatewayError:
            await asyncio.sleep(self._edge.patience.refusal_seconds)
            raise
        self._requests_by_client[client] += 1
        self._metrics.requests_in_flight.inc()
        try:
            yield
        finally:
            self._metrics.requests_in_flight.dec()
            self._requests_by_client[client] -= 1
            if not self._requests_by_client[client]:
                del self._requests_by_client[client]

    def _check(self, client: str) -> None:
        rates, limit = self._edge.rates, self._edge.capacity.requests
        if rates is not None and (wait_seconds := rates.wait_seconds(client)):
            self._metrics.request_refused("rate")
            raise TooManyRequests(rates.per_second, wait_seconds)
        if self._requests_by_client[client] >= (limit + 1) // 2:
            self._metrics.request_refused("client")
            raise TooManyAtOnce
        if self._requests_by_client.total() >= limit:
            self._metrics.request_refused("capacity")
            raise Overloaded

    def connection_refused(self) -> None:
        """Count a connection for which there is no room; log the first of a minute."""
        self._metrics.connections_refused.inc()
        now, last = self._clock(), self._refusal_logged_seconds
        if last is None or now - last >= _QUIET_SECONDS:
            self._refusal_logged_seconds = now
            _log.warning(events.CONNECTION_REFUSED, limit=self._edge.capacity.connections)
