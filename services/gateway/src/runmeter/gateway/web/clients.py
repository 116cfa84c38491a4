"""The address of a client behind reverse proxies."""

import re
from collections.abc import Iterable, Iterator, Sequence

from runmeter.service.clients import IPAddress, Networks, ip, is_in, site

# of a Forwarded header (RFC 7239): a comma within quotes is no separator. The closing quote may be
# missing: otherwise some texts would take quadratic time
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[^",]+|,')
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"([^"]*)"|([^;,"\s]*))\s*(?=;|$)', re.IGNORECASE)


class Proxies:
    """The proxies whose headers give the address of the client."""

    def __init__(self, trusted: Networks = ()) -> None:
        self._trusted = trusted

    def client(
        self, peer: str | None, x_forwarded_for: Sequence[str], forwarded: Sequence[str]
    ) -> str | None:
        """Return the address of the client; None where the connection has none.

        ``peer`` is the other end of the connection, the others are the values of both headers.
        Each proxy adds the address of its own client to the right: the first address from there
        that is no trusted proxy is the client. An entry that is no address ends the search, and
        the proxy that wrote it counts as the client. A client can send the header that its proxy
        does not write, so where both headers differ neither is used.
        """
        address = ip(peer or "")
        if address is None or not is_in(address, self._trusted):
            return peer if address is None else str(address)
        found = {
            self._client_of(address, entries)
            for entries in (_split(x_forwarded_for), list(_for_of(forwarded)))
            if entries
        }
        return str(found.pop() if len(found) == 1 else address)

    def _client_of(self, proxy: IPAddress, entries: list[str]) -> IPAddress:
        """Walk from a trusted proxy to the client."""
        current = proxy
        for entry in reversed(entries):
            address = ip(entry)
            if address is None:
                return current
            current = address
            if not is_in(current, self._trusted):
                return current
        return current


def client_key(address: str | None) -> str:
    """Return the key to count a client by: its address, or for IPv6 its network."""
    found = ip(address or "")
    return "None" if found is None else site(found)


def _split(values: Iterable[str]) -> list[str]:
    return [entry.strip() for value in values for entry in value.split(",")]


def _for_of(values: Iterable[str]) -> Iterator[str]:
    """Yield the ``for`` of each element; an empty text where it has none."""
    for value in values:
        element = ""
        for token in [*_TOKEN.findall(value), ","]:
            if token != ",":
                element += token
                continue
            match = _FOR.search(element)
            yield (match[1] or match[2] or "") if match else ""
            element = ""
