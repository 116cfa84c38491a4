"""Addresses of clients, and the networks whose proxies are trusted.

::

    trusted = networks("10.0.0.0/8, ::1")
    address = ip("[2001:db8::1]:4711")
    is_in(address, trusted)  # False
    site(address)  # "2001:db8::/64"
"""

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address
Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]

_IPV6_SITE_BITS = 64  # one IPv6 client has all addresses that share these bits
_PORT = re.compile(r":(?:[0-9]{1,5}|_[A-Za-z0-9._-]+)")


def networks(text: str) -> Networks:
    """Parse addresses and networks separated by commas, such as ``10.0.0.0/8, ::1``."""
    found = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ip_network(item))
        except ValueError as error:
            raise ValueError(
                "must be addresses or networks separated by commas, such as 10.1.2.3, 10.0.0.0/8 "
                f"or ::1{'' if item == text else f'; {item!r} is neither'}"
            ) from error
    return tuple(found)


def ip(text: str) -> IPAddress | None:
    """Parse ``1.2.3.4``, ``::1`` or ``[::1]``, with or without a port; None: another text.

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


def is_in(address: IPAddress, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Return whether one of the networks holds an address."""
    return any(address in network for network in networks)


def site(address: IPAddress) -> str:
    """Return the key to count a client by: its address, or for IPv6 its network."""
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), _IPV6_SITE_BITS), strict=False))
    return str(address)
