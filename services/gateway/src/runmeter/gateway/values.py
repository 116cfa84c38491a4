"""What settings are written as: text to value. Every parser raises ValueError for the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, NamedTuple, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_PORT: Final = r"(?P<port>[0-9]{1,5})"
_HOST: Final = r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))"
_ADDRESS: Final = re.compile(rf"{_HOST}?:{_PORT}")
_RECEIVER: Final = re.compile(rf"grpc(?P<tls>s?)://(?P<target>{_HOST}:{_PORT})/?")
_DURATION: Final = re.compile(r"(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ms|us|µs|ns|h|m|s))+")
_DURATION_PART: Final = re.compile(r"([0-9.]+)(ms|us|µs|ns|h|m|s)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_BYTES: Final = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>(?:[KM]iB?)?)")
_UNITS: Final = {"": 1, "Ki": 1024, "KiB": 1024, "Mi": 1024**2, "MiB": 1024**2}

_COUNT: Final = re.compile(r"[1-9][0-9]{0,5}")
# as browsers write it: lower case, no default port, no path
_ORIGIN: Final = re.compile(rf"(https?)://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::{_PORT})?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
SHUTDOWN_SECONDS_MAX: Final = 3600.0
WORKERS_MAX: Final = 64


class Address(NamedTuple):
    """Where to listen; no host: on all interfaces, IPv6 and IPv4. Port 0: any free one."""

    host: str | None
    port: int

    def __str__(self) -> str:
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class Receiver(NamedTuple):
    """Where the receiver is: ``host:port``, and whether it is met with TLS."""

    target: str
    has_tls: bool


def parse_address(text: str) -> Address:
    """Parse ``host:port``, ``[v6]:port`` or ``:port``."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(text)
    return Address(match["v6"] or match["host"], int(match["port"]))


def parse_address_or_none(text: str) -> Address | None:
    """Parse as `parse_address` does, or ``none``."""
    return None if text == "none" else parse_address(text)


def parse_receiver(text: str) -> Receiver:
    """Parse ``grpc://host:port`` or ``grpcs://host:port``."""
    match = _RECEIVER.fullmatch(text)
    if match is None or not 0 < int(match["port"]) <= 65535:
        raise ValueError(text)
    return Receiver(match["target"], bool(match["tls"]))


def parse_duration_seconds(text: str) -> float:
    """Parse a duration as Go writes it (``500ms``, ``2s``, ``1m30s``, ``0``), up to an hour."""
    if text != "0" and not _DURATION.fullmatch(text):
        raise ValueError(text)
    total = sum(float(n) * _SECONDS[unit] for n, unit in _DURATION_PART.findall(text))
    if total > SHUTDOWN_SECONDS_MAX:
        raise ValueError(text)
    return float(total)


def parse_bytes(text: str) -> int:
    """Parse a number of bytes, 1 to `BODY_BYTES_MAX`: ``1000``, ``2Ki``, ``1MiB``."""
    match = _BYTES.fullmatch(text)
    size = int(match["number"]) * _UNITS[match["unit"]] if match else 0
    if not 1 <= size <= BODY_BYTES_MAX:
        raise ValueError(text)
    return size


def parse_count(text: str) -> int:
    """Parse a whole number from 1 to 999999."""
    if not _COUNT.fullmatch(text):
        raise ValueError(text)
    return int(text)


def parse_workers(text: str) -> int:
    """Parse a whole number from 1 to `WORKERS_MAX`."""
    count = parse_count(text)
    if count > WORKERS_MAX:
        raise ValueError(text)
    return count


def parse_count_or_none(text: str) -> int | None:
    """Parse as `parse_count` does, or ``none``."""
    return None if text == "none" else parse_count(text)


def parse_networks(text: str) -> tuple[Network, ...]:
    """Parse addresses and networks with commas between, such as ``10.0.0.0/8, ::1``."""
    return tuple(ip_network(item) for item in _items(text))


def parse_origins(text: str) -> frozenset[str]:
    """Parse origins with commas between, such as ``https://dashboard.example.org``."""
    found = _items(text)
    for item in found:
        match = _ORIGIN.fullmatch(item)
        if match is None or match["port"] == _DEFAULT_PORTS[match[1]]:
            raise ValueError(item)
    return frozenset(found)


def one_of(*words: str) -> Callable[[str], str]:
    """Make a parser that takes these words only."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return parse


def _items(text: str) -> list[str]:
    """Split at commas; at least one item, none of them empty."""
    found = [item.strip() for item in text.split(",")]
    if not all(found):
        raise ValueError(text)
    return found
