"""Files of a cgroup v2 (unified hierarchy).

Source: kernel Documentation/admin-guide/cgroup-v2.rst. Every parser raises ParseError on
anything else.
"""

from typing import NamedTuple

from runmeter.procfs.fields import keyed, present, single


class CpuStatV2(NamedTuple):
    """``cpu.stat``: CPU time of the cgroup and all below it, microseconds."""

    usage_usec: int
    user_usec: int
    system_usec: int
    nr_periods: int | None  # None: the cpu controller is not enabled here
    nr_throttled: int | None  # periods in which the limit was reached
    throttled_usec: int | None


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


def parse_memory_current(raw: bytes) -> int:
    """Parse ``memory.current``: charged to the cgroup and all below it, bytes."""
    return single(raw, "memory.current")


def parse_memory_peak(raw: bytes) -> int:
    """Parse ``memory.peak``: highest memory.current since the cgroup was made, bytes."""
    return single(raw, "memory.peak")


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
