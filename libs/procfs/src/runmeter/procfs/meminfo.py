"""/proc/meminfo."""

from typing import NamedTuple

from runmeter.procfs.fields import readable, unsigned

FILE = "/proc/meminfo"


class Meminfo(NamedTuple):
    """Memory of the machine, kB (units of 1024 bytes); what cannot be read is None."""

    total_kb: int | None
    available_kb: int | None  # can be had without swapping; None before Linux 3.14


_KEYS = (b"MemTotal", b"MemAvailable")


def parse_meminfo(raw: bytes) -> Meminfo:
    """Parse ``/proc/meminfo``: one ``Key:   value kB`` line each.

    Source: proc_meminfo(5); kernel fs/proc/meminfo.c.
    """
    values: dict[bytes, int | None] = dict.fromkeys(_KEYS)
    for line in raw.split(b"\n"):
        key, _, value = line.partition(b":")
        if key in values:
            values[key] = kilobytes(value)
    return Meminfo(*values.values())


def kilobytes(value: bytes) -> int | None:
    """Return a size written as ``    1700 kB``; None if it is written otherwise."""
    number, _, unit = value.lstrip(b" ").partition(b" ")
    return readable(unsigned, number) if unit == b"kB" else None
