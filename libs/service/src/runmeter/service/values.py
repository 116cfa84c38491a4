"""Parsers of settings: each takes a text and returns its value.

All raise ``ValueError`` with a text that follows the flag and the value: ``must be …``.
Parsers with bounds are made by a function::

    parse = duration(0, 3600, "0s to 1h")
    parse("1m30s")  # 90.0
"""

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:\s]*)):(?P<port>\d{1,5})", re.ASCII)
_NUMBER_AND_UNIT = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(rf"(?:{_NUMBER_AND_UNIT})+|0", re.ASCII)
_PART = re.compile(_NUMBER_AND_UNIT, re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d{1,15})(?:(Ki|Mi)B?)?", re.ASCII)
_FACTORS = {None: 1, "Ki": 2**10, "Mi": 2**20}
_COUNT = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Address(NamedTuple):
    """Where to listen. Without a host: on all interfaces, IPv6 and IPv4; port 0: any free one."""

    host: str | None
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, ``[IPv6 address]:port`` or ``:port``."""
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def address(text: str) -> Address:
    """Parse ``host:port``, ``[IPv6 address]:port`` or ``:port``; ``[::]`` is no host."""
    found = _ADDRESS.fullmatch(text)
    if not found or int(found["port"]) > 65535 or not _is_host(found["v6"], found["host"]):
        raise ValueError(
            "must be host:port, [IPv6 address]:port or :port, with a port of 0 to 65535"
        )
    v6 = found["v6"]
    is_everywhere = v6 is not None and IPv6Address(v6) == IPv6Address("::")
    return Address(None if is_everywhere else v6 or found["host"] or None, int(found["port"]))


def _is_host(v6: str | None, host: str | None) -> bool:
    try:
        if v6 is not None:
            IPv6Address(v6)
        elif host and re.fullmatch(r"[\d.]+", host):
            IPv4Address(host)
        elif host:
            return is_host_name(host)
    except ValueError:
        return False
    return True


def is_host_name(text: str) -> bool:
    """Return whether a name can be looked up at all."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return "*" not in text


def or_none(parse: Callable[[str], _T]) -> Callable[[str], _T | None]:
    """Make a parser that also takes the word ``none``."""

    def parse_or_none(text: str) -> _T | None:
        if text == "none":
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or none") from error

    return parse_or_none


def duration_seconds(text: str) -> float | None:
    """Parse a duration as Go writes it: ``500ms``, ``1m30s``, ``0``; None: another text."""
    if not _DURATION.fullmatch(text):
        return None
    return sum((float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)), 0.0)


def duration(least_seconds: float, most_seconds: float, bounds: str) -> Callable[[str], float]:
    """Make a parser of durations; ``bounds`` is the range as users write it, ``0s to 1h``."""

    def parse(text: str) -> float:
        seconds = duration_seconds(text)
        if seconds is None or not least_seconds <= seconds <= most_seconds:
            raise ValueError(f"must be a duration of {bounds}, such as 25s or 1m30s")
        return seconds

    return parse


def size(least_bytes: int, most_bytes: int, bounds: str) -> Callable[[str], int]:
    """Make a parser of sizes, in bytes or with a unit: ``1000``, ``2Ki``, ``1MiB``."""

    def parse(text: str) -> int:
        found = _SIZE.fullmatch(text)
        size_bytes = int(found[1]) * _FACTORS[found[2]] if found else -1
        if not least_bytes <= size_bytes <= most_bytes:
            raise ValueError(f"must be {bounds}, in bytes or with Ki, KiB, Mi, MiB")
        return size_bytes

    return parse


def count(most: int = 999_999) -> Callable[[str], int]:
    """Make a parser of whole numbers from 1 on."""

    def parse(text: str) -> int:
        if not _COUNT.fullmatch(text) or int(text) > most:
            raise ValueError(f"must be a whole number of 1 to {most}")
        return int(text)

    return parse


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """Make a parser that takes one of a few words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def yes(text: str) -> bool:
    """Return whether a word means yes (1, true, yes, on) or no (0, false, no, off)."""
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError("must be true or false")
