"""Limits for clients: requests by rate and number, connections by number, time of each step."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import structlog

from runmeter.gateway import events
from runmeter.gateway.errors import GatewayError, Overloaded, TooManyAtOnce, TooManyRequests
from runmeter.gateway.metrics import Metrics
from runmeter.gateway.web.clients import Proxies, client_key
from runmeter.gateway.web.request import GatewayRequest

CLIENTS_MAX = 50_000
"""About 10 MiB. Beyond it the clients whose last request is oldest are forgotten."""
BURST = 2
"""A client may send the requests of this many seconds at once."""
_ROUNDING_SECONDS = 1e-6

OPEN_PATH = "/health"
"""Always answered: it is cheap, and a health check must not fail because of load."""
_LOG_INTERVAL_SECONDS = 60.0

_log = structlog.get_logger()


class Rates:
    """Limits the requests per second of each client (generic cell rate algorithm).

    For each client it keeps the time at which its requests so far are used up, at
    ``1 / per_second`` each. That may be up to `BURST` seconds ahead.
    """

    def __init__(self, per_second: int, clients_max: int = CLIENTS_MAX) -> None:
        self.per_second = per_second
        self._clients_max = clients_max
        self._paid_until: OrderedDict[str, float] = OrderedDict()  # seconds, oldest request first

    def wait_seconds(self, client: str, now_seconds: float) -> float:
        """Count a request of this client; return 0 if it may be answered, else how long to wait.

        A request that is refused does not make the wait longer.
        """
        paid_until = max(self._paid_until.pop(client, now_seconds), now_seconds)
        fresh = paid_until + 1 / self.per_second
        wait = fresh - now_seconds - BURST
        is_refused = wait > _ROUNDING_SECONDS
        self._paid_until[client] = paid_until if is_refused else fresh
        if len(self._paid_until) > self._clients_max:
            self._paid_until.popitem(last=False)
        return wait if is_refused else 0.0


class Timeouts(NamedTuple):
    """Time limits for clients."""

    head_seconds: float = 10.0
    """From the first byte of a request to the end of its headers."""
    idle_seconds: float = 75.0
    """Between requests."""
    drain_seconds: float = 10.0
    """To send the rest of a body after the answer."""
    write_seconds: float = 30.0
    """To take each 64 KiB of an answer."""
    refusal_seconds: float = 0.5
    """Delay of an answer 429 or 503."""


class Capacity(NamedTuple):
    """Limits of requests and connections at the same time."""

    connections: int = 1000
    requests: int = 128
    """Being answered; one client may have half of them."""


class Edge(NamedTuple):
    """Settings that limit and identify clients."""

    proxies: Proxies = Proxies()
    cors_origins: frozenset[str] = frozenset()
    """Origins whose pages may read answers."""
    has_tls: bool = False
    rates: Rates | None = None
    """None: no limit."""
    capacity: Capacity = Capacity()
    timeouts: Timeouts = Timeouts()


class Gate:
    """Admits or refuses requests, and counts both."""

    def __init__(self, edge: Edge, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._edge = edge
        self._metrics = metrics
        self._clock = clock
        self._requests_by_client: Counter[str] = Counter()  # requests being answered
        self._refusal_logged_seconds: float | None = None

    @asynccontextmanager
    async def admitted(self, request: GatewayRequest) -> AsyncIterator[None]:
        """Admit a request until it is answered.

        Raises:
            TooManyRequests, TooManyAtOnce, Overloaded: after a pause, so that clients that retry
                at once do not slow down others.
        """
        if request.path == OPEN_PATH:
            yield
            return
        client = client_key(request.client_address)
        try:
            self._check(client)
        except GatewayError:
            await asyncio.sleep(self._edge.timeouts.refusal_seconds)
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
        if rates is not None and (wait_seconds := rates.wait_seconds(client, self._clock())):
            self._metrics.request_refused("rate")
            raise TooManyRequests(rates.per_second, wait_seconds)
        if self._requests_by_client[client] >= (limit + 1) // 2:
            self._metrics.request_refused("client")
            raise TooManyAtOnce
        if self._requests_by_client.total() >= limit:
            self._metrics.request_refused("capacity")
            raise Overloaded

    def connection_refused(self) -> None:
        """Count a refused connection; log the first in a minute."""
        self._metrics.connections_refused.inc()
        now, last = self._clock(), self._refusal_logged_seconds
        if last is None or now - last >= _LOG_INTERVAL_SECONDS:
            self._refusal_logged_seconds = now
            _log.warning(events.CONNECTION_REFUSED, limit=self._edge.capacity.connections)
