"""Texts of settings, checked: each function takes one text and returns its value.

All raise ValueError, which says what would have been allowed.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence

import durationpy

_DAYS = re.compile(r"(?:(\d{1,6})d)?(.*)", re.ASCII)
_DAY_SECONDS = 86400.0
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+|0", re.ASCII)
_SIZE = re.compile(r"(\d{1,15})(Ki|KiB|Mi|MiB)?", re.ASCII)
_SIZE_FACTORS = {"": 1, "Ki": 2**10, "Mi": 2**20}
_MESSAGE_BYTES_MIN, _MESSAGE_BYTES_MAX = 2**10, 64 * 2**20
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:\s]*):(\d{1,5})", re.ASCII)
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    """Return a parser that takes one of a few words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def yes(text: str) -> bool:
    """Return whether a word means yes: 1, true, yes, on; 0, false, no, off mean no."""
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError("must be true or false")


def address(text: str) -> str:
    """Return ``host:port`` or ``:port`` as it is."""
    found = _ADDRESS.fullmatch(text)
    if not found or int(found[2]) > 65535 or not _is_host(found[1]):
        raise ValueError(
            "must be host:port or :port with a port of 0 to 65535 (IPv6 as [::1]:50051)"
        )
    return text


def _is_host(text: str) -> bool:
    """Tell whether a name of a host may be one; none is all interfaces."""
    if re.fullmatch(r"[\d.]+", text):
        return _is_ip(text)
    return not text or text.startswith("[") or is_host_name(text)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def is_host_name(text: str) -> bool:
    """Tell whether a name can be looked up at all."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return "*" not in text


def ops_address(text: str) -> str | None:
    """Return an address, or None for the word none."""
    return None if text == "none" else address(text)


def _duration_seconds(text: str) -> float:
    if not _DURATION.fullmatch(text):
        raise ValueError("must be a duration such as 500ms, 25s or 1m30s")
    seconds: float = durationpy.from_str(text).total_seconds()
    return seconds


def _seconds_of(text: str, least: float, most: float, said: str) -> float:
    seconds = _duration_seconds(text)
    if not least <= seconds <= most:
        raise ValueError(f"must be a duration of {said}")
    return seconds


def age_seconds(text: str) -> float:
    """Return an age of 1 second to 36500 days, in seconds; days may stand in front: 1d12h."""
    found = _DAYS.fullmatch(text)
    days, rest = (found[1], found[2]) if found else (None, text)
    seconds = int(days or 0) * _DAY_SECONDS
    try:
        seconds += _duration_seconds(rest) if rest or days is None else 0.0
    except ValueError as error:
        raise ValueError("must be a duration such as 90d, 36h or 1d12h") from error
    if not 1 <= seconds <= 36500 * _DAY_SECONDS:
        raise ValueError("must be a duration of 1s to 36500d")
    return seconds


def shutdown_seconds(text: str) -> float:
    """Return how long calls have to end: 0 to 3600 seconds."""
    return _seconds_of(text, 0, 3600, "0s to 1h")


def call_seconds(text: str) -> float:
    """Return how long a call may take: 1 to 3600 seconds."""
    return _seconds_of(text, 1, 3600, "1s to 1h")


def count(text: str) -> int:
    """Return a number of 1 to 999999."""
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise ValueError("must be a number of 1 to 999999")
    return int(text)


def ttl_seconds(text: str) -> float:
    """Return the life of a push token: 1 second to 876000 hours, in seconds."""
    return _seconds_of(text, 1, 3153600000, "1s to 876000h")


def size_bytes(text: str) -> int:
    """Return the size of a message in bytes, 1 KiB to 64 MiB; it may be written in Ki or Mi."""
    found = _SIZE.fullmatch(text)
    size = int(found[1]) * _SIZE_FACTORS[(found[2] or "").removesuffix("B")] if found else 0
    if not _MESSAGE_BYTES_MIN <= size <= _MESSAGE_BYTES_MAX:
        raise ValueError("must be 1KiB to 64MiB, in bytes or with Ki, KiB, Mi, MiB")
    return size
