"""Callers: the address of a connection or one that a trusted gateway forwards, and the id of the
request.
"""

import re
from collections.abc import Sequence
from urllib.parse import unquote

from runmeter.service.clients import IPAddress, Networks, ip, is_in, site

FORWARDED = "x-forwarded-for"  # the metadata that a gateway sends, one address
REQUEST_ID = "x-request-id"  # the metadata that a gateway sends

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def parse_request_id(sent: Sequence[str | bytes]) -> str | None:
    """Return the request id from the values of the metadata ``REQUEST_ID``.

    None unless there is exactly one value, of up to 64 letters, digits, ``.``, ``_`` and ``-``.
    """
    if len(sent) == 1 and isinstance(sent[0], str) and _REQUEST_ID.fullmatch(sent[0]):
        return sent[0]
    return None


class Callers:
    """Finds the address of a caller; a forwarded one counts from ``trusted`` peers, or all."""

    def __init__(self, trusted: Networks, trust_all: bool) -> None:
        self._trusted = trusted
        self._trust_all = trust_all
        self.are_trusted = trust_all or bool(trusted)

    def client(self, peer: str, forwarded: Sequence[str | bytes]) -> str | None:
        """Return the address that a trusted peer forwards; ``peer`` is gRPC's name of it.

        ``forwarded`` are the values of the metadata ``FORWARDED``. The last address counts: the
        nearest proxy has added it.
        """
        if not forwarded or not self._trusts(peer):
            return None
        texts = [text for text in forwarded if isinstance(text, str)]
        found = ip(",".join(texts).rpartition(",")[2])
        return None if found is None else str(found)

    def _trusts(self, peer: str) -> bool:
        if self._trust_all:
            return True
        address = _peer_address(peer)
        return address is not None and is_in(address, self._trusted)


def caller_key(peer: str, client: str | None) -> str:
    """Return the key to count a caller by: its address, or for IPv6 its /64 network."""
    address = _peer_address(peer) if client is None else ip(client)
    return peer if address is None else site(address)


def _peer_address(peer: str) -> IPAddress | None:
    kind, _, rest = peer.partition(":")
    return ip(unquote(rest)) if kind in ("ipv4", "ipv6") else None
