"""Values of a cgroup v2 (unified hierarchy).

One parser per value, so that a bad value does not affect the others. The values count the cgroup
and all below it. The parsers raise ParseError if the value is malformed, or missing where every
kernel writes it. Source: kernel Documentation/admin-guide/cgroup-v2.rst.
"""

from runmeter.procfs.fields import keyed, present, single


def parse_usage_usec(raw: bytes) -> int:
    """Parse ``cpu.stat``: CPU time, microseconds."""
    return present(keyed(raw, "cpu.stat", b"usage_usec"), "cpu.stat", "usage_usec")


def parse_throttled_usec(raw: bytes) -> int | None:
    """Parse ``cpu.stat``: time throttled by the CPU limit, microseconds.

    None: the cpu controller is not enabled here.
    """
    return keyed(raw, "cpu.stat", b"throttled_usec")


def parse_memory_current(raw: bytes) -> int:
    """Parse ``memory.current``: bytes charged."""
    return single(raw, "memory.current")


def parse_memory_peak(raw: bytes) -> int:
    """Parse ``memory.peak``: highest memory.current since the cgroup was made, bytes."""
    return single(raw, "memory.peak")


def parse_inactive_file(raw: bytes) -> int:
    """Parse ``memory.stat``: inactive page cache, bytes; usage less this is the working set."""
    return present(keyed(raw, "memory.stat", b"inactive_file"), "memory.stat", "inactive_file")


def parse_events_oom_kill(raw: bytes) -> int | None:
    """Parse ``memory.events``: processes killed since the cgroup was made.

    None before Linux 4.13.
    """
    return keyed(raw, "memory.events", b"oom_kill")
