"""Who calls: the address of a connection, or the one that a trusted gateway forwards; and how
the caller names the call.
"""

import re
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias
from urllib.parse import unquote

FORWARDED = "x-forwarded-for"  # the metadata that a gateway sends, one address
REQUEST_ID = "x-request-id"  # the metadata that a gateway sends
_IPV6_SITE_BITS = 64  # who has one IPv6 address has all that share these bits

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_Address: TypeAlias = IPv4Address | IPv6Address
Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]


def parse_networks(text: str) -> Networks:
    """Parse addresses and networks with commas between, such as ``10.0.0.0/8,::1``.

    Raises:
        ValueError: the text says which one is bad, and what is allowed instead.
    """
    networks = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ip_network(item))
        except ValueError as error:
            raise ValueError(
                f"{item!r} must be an address or a network such as 10.1.2.3, 10.0.0.0/8 or ::1"
            ) from error
    return tuple(networks)


def parse_request_id(sent: Sequence[str | bytes]) -> str | None:
    """Return the name of a call, from the values of the metadata `REQUEST_ID`.

    Anybody may send anything: what is not one sane name is none.
    """
    if len(sent) == 1 and isinstance(sent[0], str) and _SANE_ID.fullmatch(sent[0]):
        return sent[0]
    return None


class Callers:
    """Tells callers apart. A forwarded address is believed from `trusted` peers, or from all."""

    def __init__(self, trusted: Networks, trust_all: bool) -> None:
        self._trusted = trusted
        self._trust_all = trust_all
        self.are_trusted = trust_all or bool(trusted)

    def client(self, peer: str, forwarded: Sequence[str | bytes]) -> str | None:
        """Return the address that a peer, by gRPC's name of it, forwards, if it is believed.

        `forwarded` are the values of the metadata `FORWARDED`. Of several addresses the last one
        counts: the nearest proxy has added it.
        """
        if not forwarded or not self._believes(peer):
            return None
        texts = [text for text in forwarded if isinstance(text, str)]
        found = _address(",".join(texts).rpartition(",")[2].strip())
        return None if found is None else str(found)

    def _believes(self, peer: str) -> bool:
        if self._trust_all:
            return True
        address = _peer_address(peer)
        return address is not None and any(address in network for network in self._trusted)


def caller_key(peer: str, client: str | None) -> str:
    """Return what to count a caller by: its address, of IPv6 the network that it is in."""
    address = _peer_address(peer) if client is None else _address(client)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_SITE_BITS), strict=False))
    return peer if address is None else str(address)


def _peer_address(peer: str) -> _Address | None:
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return _address(unquote(rest).rpartition(":")[0].strip("[]"))


def _address(text: str) -> _Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found
