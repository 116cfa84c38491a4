"""What stands between the network and the routes, as one value."""

from __future__ import annotations

from typing import NamedTuple

from runmeter.gateway.proxies import Proxies


class Edge(NamedTuple):
    """How requests are taken from strangers."""

    proxies: Proxies = Proxies()
    cors_origins: frozenset[str] = frozenset()
    """Origins whose pages may read answers."""
    has_tls: bool = False
