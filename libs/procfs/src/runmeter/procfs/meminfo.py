"""/proc/meminfo."""

from typing import NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import present, unsigned

FILE = "/proc/meminfo"


class Meminfo(NamedTuple):
    """Memory of the machine, kB (units of 1024 bytes)."""

    total_kb: int
    free_kb: int
    available_kb: int | None  # can be had without swapping; None before Linux 3.14
    buffers_kb: int | None
    cached_kb: int | None
    swap_total_kb: int | None
    swap_free_kb: int | None


_KEYS = (
    b"MemTotal",
    b"MemFree",
    b"MemAvailable",
    b"Buffers",
    b"Cached",
    b"SwapTotal",
    b"SwapFree",
)


def parse_meminfo(raw: bytes) -> Meminfo:
    """Parse ``/proc/meminfo``: one ``Key:   value kB`` line each.

    Raises:
        ParseError: MemTotal or MemFree is missing, or a value is malformed.

    Source: proc_meminfo(5); kernel fs/proc/meminfo.c.
    """
    values: dict[bytes, int | None] = dict.fromkeys(_KEYS)
    for line in raw.split(b"\n"):
        key, _, value = line.partition(b":")
        if key in values:
            values[key] = _kilobytes(value, key.decode())
    total, free, *others = values.values()
    return Meminfo(present(total, FILE, "MemTotal"), present(free, FILE, "MemFree"), *others)


def _kilobytes(value: bytes, field: str) -> int:
    number, _, unit = value.lstrip(b" ").partition(b" ")
    if unit != b"kB":
        raise ParseError(FILE, f"{field} is not in kB")
    return unsigned(number, FILE, field)
