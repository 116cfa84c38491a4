"""Who calls: the address of a connection, or the one that a trusted gateway forwards."""

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

FORWARDED = "x-forwarded-for"  # the metadata that a gateway sends, one address
_IPV6_SITE_BITS = 64  # who has one IPv6 address has all that share these bits

_Address: TypeAlias = IPv4Address | IPv6Address
Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]


class Caller(NamedTuple):
    """`client` is the address that was forwarded and is believed, `key` what to count by."""

    client: str | None
    key: str


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


class Callers:
    """Tells callers apart. A forwarded address is believed from `trusted` peers, or from all."""

    def __init__(self, trusted: Networks, trust_all: bool) -> None:
        self._trusted = trusted
        self._trust_all = trust_all

    def caller(self, peer: str, forwarded: Sequence[str | bytes]) -> Caller:
        """Return who calls, from gRPC's name of the peer and the metadata `FORWARDED`.

        Of several addresses the last one counts: the nearest proxy has added it.
        """
        address = _peer_address(peer)
        if self._believes(address):
            texts = [text for text in forwarded if isinstance(text, str)]
            client = _address(",".join(texts).rpartition(",")[2].strip())
            if client is not None:
                return Caller(str(client), _key(client))
        return Caller(None, peer if address is None else _key(address))

    def _believes(self, address: _Address | None) -> bool:
        if self._trust_all:
            return True
        return address is not None and any(address in network for network in self._trusted)


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


def _key(address: _Address) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address) >> (128 - _IPV6_SITE_BITS) << (128 - _IPV6_SITE_BITS),
                               _IPV6_SITE_BITS)))  # fmt: skip
    return str(address)
