"""What stands between the network and the routes, as one value."""

from __future__ import annotations

from typing import NamedTuple

from runmeter.gateway.config import Settings
from runmeter.gateway.proxies import Proxies
from runmeter.gateway.rates import Rates


class Patience(NamedTuple):
    """How long clients may take."""

    head_seconds: float = 10.0
    """From the first byte of a request to the end of its headers."""
    idle_seconds: float = 75.0
    """Between requests."""
    drain_seconds: float = 10.0
    """To send the rest of a body that is answered already."""
    write_seconds: float = 30.0
    """To take each 64 KiB of an answer."""
    refusal_seconds: float = 0.5
    """What a client waits for its 429 or 503."""


class Capacity(NamedTuple):
    """How many may come at once."""

    connections: int = 1000
    requests: int = 128
    """Being answered; half of them of one client."""


class Edge(NamedTuple):
    """How requests are taken from strangers."""

    proxies: Proxies = Proxies()
    cors_origins: frozenset[str] = frozenset()
    """Origins whose pages may read answers."""
    has_tls: bool = False
    rates: Rates | None = None
    """None: clients may ask as often as they like."""
    capacity: Capacity = Capacity()
    patience: Patience = Patience()


def edge_of(settings: Settings) -> Edge:
    """Make of the settings what concerns clients."""
    return Edge(
        Proxies(settings.trusted_proxies),
        settings.cors_origins,
        settings.tls is not None,
        None if settings.rate_limit is None else Rates(settings.rate_limit),
        Capacity(settings.max_connections, settings.max_requests),
    )
