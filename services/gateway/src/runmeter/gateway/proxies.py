"""Who the client is, when reverse proxies stand between."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, TypeAlias

from runmeter.gateway.values import Network

IPAddress: TypeAlias = IPv4Address | IPv6Address

_IPV6_SITE_BITS: Final = 64
"""Who has one IPv6 address has all that share these bits."""
# of a Forwarded header (RFC 7239): a comma within quotes separates nothing. The closing quote may
# be missing, so that no text makes this start again and again
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[^",]+|,')
_FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"([^"]*)"|([^;,"\s]*))\s*(?=;|$)', re.IGNORECASE)
_PORT: Final = re.compile(r":(?:[0-9]{1,5}|_[A-Za-z0-9._-]+)")


class Proxies:
    """The proxies that are believed when they say whom they speak for."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def client(
        self, peer: str | None, x_forwarded_for: Sequence[str], forwarded: Sequence[str]
    ) -> str | None:
        """Return the address of the client; None where the connection has none.

        ``peer`` is the other end of the connection, the others are the values of both headers.
        Each proxy adds to the right whom it speaks for: the first address from there that is
        no trusted proxy is the client. An entry that is no address ends the search: the proxy
        that wrote it counts. A client can bring along the header that its proxy does not
        write, so where both headers say something different, neither is believed.
        """
        address = _address(peer or "")
        if address is None or not self._trusts(address):
            return peer if address is None else str(address)
        found = {
            self._behind(address, entries)
            for entries in (_split(x_forwarded_for), list(_for_of(forwarded)))
            if entries
        }
        return str(found.pop() if len(found) == 1 else address)

    def _trusts(self, address: IPAddress) -> bool:
        return any(address in network for network in self._trusted)

    def _behind(self, proxy: IPAddress, entries: list[str]) -> IPAddress:
        """Walk from a trusted proxy to the client."""
        current = proxy
        for entry in reversed(entries):
            address = _address(entry)
            if address is None:
                return current
            current = address
            if not self._trusts(current):
                return current
        return current


def client_key(address: str | None) -> str:
    """Return what to count a client by: its address, of IPv6 the network that it is in."""
    found = _address(address or "")
    if isinstance(found, IPv6Address):
        return str(ip_network((int(found), _IPV6_SITE_BITS), strict=False))
    return str(found)


def _split(values: Iterable[str]) -> list[str]:
    return [entry.strip() for value in values for entry in value.split(",")]


def _for_of(values: Iterable[str]) -> Iterator[str]:
    """Yield what each element is ``for``; an empty text where it does not say."""
    for value in values:
        element = ""
        for token in [*_TOKEN.findall(value), ","]:
            if token != ",":
                element += token
                continue
            match = _FOR.search(element)
            yield (match[1] or match[2] or "") if match else ""
            element = ""


def _address(text: str) -> IPAddress | None:
    """Read ``1.2.3.4``, ``::1`` or ``[::1]``, with a port or without; None: it is something else.

    IPv4 within IPv6 is IPv4; the zone of a link-local address is left out.
    """
    bare = text.strip()
    if bare.startswith("["):
        bare, _, rest = bare[1:].partition("]")
        if rest and not _PORT.fullmatch(rest):
            return None
    elif bare.count(":") == 1:
        bare, _, rest = bare.partition(":")
        if not _PORT.fullmatch(":" + rest):
            return None
    try:
        found = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found
