"""Values of a cgroup v1: one hierarchy per controller.

One parser per value, so that a bad value does not affect the others. The values count the cgroup
and all below it. The parsers raise ParseError if the value is missing or malformed. Source: kernel
Documentation/admin-guide/cgroup-v1/{cpuacct,memory}.rst and Documentation/scheduler/sched-bwc.rst.
"""

from runmeter.procfs.fields import keyed, present, single


def parse_cpuacct_usage(raw: bytes) -> int:
    """Parse ``cpuacct.usage``: CPU time, nanoseconds."""
    return single(raw, "cpuacct.usage")


def parse_throttled_time(raw: bytes) -> int:
    """Parse ``cpu.stat``: time throttled by the CPU limit, nanoseconds."""
    return present(keyed(raw, "cpu.stat", b"throttled_time"), "cpu.stat", "throttled_time")


def parse_memory_usage_in_bytes(raw: bytes) -> int:
    """Parse ``memory.usage_in_bytes``: bytes charged."""
    return single(raw, "memory.usage_in_bytes")


def parse_memory_max_usage_in_bytes(raw: bytes) -> int:
    """Parse ``memory.max_usage_in_bytes``: highest usage since made or reset, bytes."""
    return single(raw, "memory.max_usage_in_bytes")


def parse_total_inactive_file(raw: bytes) -> int:
    """Parse ``memory.stat``: inactive page cache, bytes; usage less this is the working set."""
    key = "total_inactive_file"
    return present(keyed(raw, "memory.stat", key.encode()), "memory.stat", key)


def parse_oom_control_kills(raw: bytes) -> int | None:
    """Parse ``memory.oom_control``: processes killed since the cgroup was made.

    None before Linux 4.13.
    """
    return keyed(raw, "memory.oom_control", b"oom_kill")
