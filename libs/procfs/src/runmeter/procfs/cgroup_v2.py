"""Files of a cgroup v2 (unified hierarchy).

Source of all: kernel Documentation/admin-guide/cgroup-v2.rst; of pressure also
Documentation/accounting/psi.rst. Every parser raises ParseError on anything else.
"""

from typing import NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import decimal, keyed, present, single, single_or_max, unsigned


class CpuStatV2(NamedTuple):
    """``cpu.stat``: CPU time of the cgroup and all below it, microseconds."""

    usage_usec: int
    user_usec: int
    system_usec: int
    nr_periods: int | None  # None: the cpu controller is not enabled here
    nr_throttled: int | None  # periods in which the limit was reached
    throttled_usec: int | None


class CpuMax(NamedTuple):
    """``cpu.max``: quota per period, microseconds."""

    quota_usec: int | None  # None: no limit
    period_usec: int


class MemoryStatV2(NamedTuple):
    """``memory.stat`` of the cgroup and all below it, bytes."""

    anon: int
    file: int  # page cache, tmpfs and shared memory included
    shmem: int
    active_file: int
    inactive_file: int  # usage less this is the working set


class MemoryEvents(NamedTuple):
    """``memory.events`` of the cgroup and all below it: counts since it was made."""

    low: int
    high: int
    max: int
    oom: int  # the limit was reached and reclaim failed
    oom_kill: int | None  # processes killed; None before Linux 4.13


class PressureLine(NamedTuple):
    """Share of time that tasks were stalled, percent, and the sum."""

    avg10: float  # over ten seconds
    avg60: float
    avg300: float
    total: int  # microseconds


class Pressure(NamedTuple):
    """A ``*.pressure`` file; it has at least one of the lines."""

    some: PressureLine | None  # at least one task; absent in irq.pressure
    full: PressureLine | None  # all tasks at once; absent in cpu.pressure before Linux 5.13


def parse_cpu_stat_v2(raw: bytes) -> CpuStatV2:
    """Parse ``cpu.stat``."""
    file = "cpu.stat"
    names = CpuStatV2._fields
    usage, user, system, *throttling = keyed(raw, file, (name.encode() for name in names))
    return CpuStatV2(
        present(usage, file, "usage_usec"),
        present(user, file, "user_usec"),
        present(system, file, "system_usec"),
        *throttling,
    )


def parse_cpu_max(raw: bytes) -> CpuMax:
    """Parse ``cpu.max``: ``max 100000`` or ``50000 100000``."""
    file = "cpu.max"
    quota, _, period = raw.removesuffix(b"\n").partition(b" ")
    return CpuMax(single_or_max(quota, file), unsigned(period, file, "the period"))


def parse_memory_current(raw: bytes) -> int:
    """Parse ``memory.current``: charged to the cgroup and all below it, bytes."""
    return single(raw, "memory.current")


def parse_memory_peak(raw: bytes) -> int:
    """Parse ``memory.peak``: highest memory.current since the cgroup was made, bytes."""
    return single(raw, "memory.peak")


def parse_memory_max(raw: bytes) -> int | None:
    """Parse ``memory.max``: the limit, bytes. None: no limit."""
    return single_or_max(raw, "memory.max")


def parse_memory_stat_v2(raw: bytes) -> MemoryStatV2:
    """Parse ``memory.stat``."""
    file = "memory.stat"
    names = MemoryStatV2._fields
    values = keyed(raw, file, (name.encode() for name in names))
    return MemoryStatV2(
        *(present(value, file, name) for name, value in zip(names, values, strict=True))
    )


def parse_memory_events(raw: bytes) -> MemoryEvents:
    """Parse ``memory.events``."""
    file = "memory.events"
    names = MemoryEvents._fields
    low, high, most, oom, oom_kill = keyed(raw, file, (name.encode() for name in names))
    return MemoryEvents(
        present(low, file, "low"),
        present(high, file, "high"),
        present(most, file, "max"),
        present(oom, file, "oom"),
        oom_kill,
    )


def parse_pressure(raw: bytes) -> Pressure:
    """Parse ``cpu.pressure``, ``memory.pressure``, ``io.pressure`` or ``irq.pressure``."""
    lines: dict[bytes, PressureLine] = {}
    for line in raw.removesuffix(b"\n").split(b"\n"):
        kind, _, values = line.partition(b" ")
        if kind in (b"some", b"full"):
            lines[kind] = _pressure_line(values)
    if not lines:
        raise ParseError("*.pressure", "neither some nor full")
    return Pressure(lines.get(b"some"), lines.get(b"full"))


def _pressure_line(values: bytes) -> PressureLine:
    file = "*.pressure"
    pairs = [text.partition(b"=") for text in values.split(b" ")]
    if [name for name, _, _ in pairs] != [b"avg10", b"avg60", b"avg300", b"total"]:
        raise ParseError(file, "not avg10, avg60, avg300, total")
    avg10, avg60, avg300, total = (value for _, _, value in pairs)
    return PressureLine(
        decimal(avg10, file, "avg10"),
        decimal(avg60, file, "avg60"),
        decimal(avg300, file, "avg300"),
        unsigned(total, file, "total"),
    )
