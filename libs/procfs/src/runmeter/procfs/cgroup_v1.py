"""Files of a cgroup v1: one hierarchy per controller.

Source: kernel Documentation/admin-guide/cgroup-v1/{cpuacct,memory}.rst and
Documentation/scheduler/sched-bwc.rst. Every parser raises ParseError on anything else.
"""

from typing import NamedTuple

from runmeter.procfs.fields import keyed, present, single


class CpuStatV1(NamedTuple):
    """``cpu.stat``: throttling by the CPU limit."""

    nr_periods: int
    nr_throttled: int  # periods in which the limit was reached
    throttled_time: int  # nanoseconds


class MemoryStatV1(NamedTuple):
    """``memory.stat`` of the cgroup and all below it (the ``total_`` lines), bytes."""

    total_cache: int  # page cache, tmpfs and shared memory included
    total_rss: int  # anonymous memory and swap cache: not the rss of processes
    total_active_file: int
    total_inactive_file: int  # usage less this is the working set


class MemoryOomControl(NamedTuple):
    """``memory.oom_control``."""

    oom_kill_disable: int  # 1: tasks wait instead of being killed
    under_oom: int  # 1: tasks are waiting
    oom_kill: int | None  # processes killed since the cgroup was made; None before Linux 4.13


def parse_cpuacct_usage(raw: bytes) -> int:
    """Parse ``cpuacct.usage``: CPU time of the cgroup and all below it, nanoseconds."""
    return single(raw, "cpuacct.usage")


def parse_cpu_stat_v1(raw: bytes) -> CpuStatV1:
    """Parse ``cpu.stat``."""
    file = "cpu.stat"
    names = CpuStatV1._fields
    values = keyed(raw, file, (name.encode() for name in names))
    return CpuStatV1(
        *(present(value, file, name) for name, value in zip(names, values, strict=True))
    )


def parse_memory_usage_in_bytes(raw: bytes) -> int:
    """Parse ``memory.usage_in_bytes``: charged to the cgroup and all below it, bytes."""
    return single(raw, "memory.usage_in_bytes")


def parse_memory_max_usage_in_bytes(raw: bytes) -> int:
    """Parse ``memory.max_usage_in_bytes``: highest usage since made or reset, bytes."""
    return single(raw, "memory.max_usage_in_bytes")


def parse_memory_stat_v1(raw: bytes) -> MemoryStatV1:
    """Parse ``memory.stat``."""
    file = "memory.stat"
    names = MemoryStatV1._fields
    values = keyed(raw, file, (name.encode() for name in names))
    return MemoryStatV1(
        *(present(value, file, name) for name, value in zip(names, values, strict=True))
    )


def parse_memory_oom_control(raw: bytes) -> MemoryOomControl:
    """Parse ``memory.oom_control``."""
    file = "memory.oom_control"
    names = MemoryOomControl._fields
    disable, under, kill = keyed(raw, file, (name.encode() for name in names))
    return MemoryOomControl(
        present(disable, file, "oom_kill_disable"), present(under, file, "under_oom"), kill
    )
