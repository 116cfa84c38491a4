"""Files of a cgroup v2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import (
    CpuStatV2,
    MemoryEvents,
    MemoryStatV2,
    ParseError,
    parse_cpu_stat_v2,
    parse_memory_current,
    parse_memory_events,
    parse_memory_peak,
    parse_memory_stat_v2,
)

COUNTS = st.integers(0, 2**64 - 1)


@given(COUNTS)
def test_single_values(value: int) -> None:
    """Each file of one number gives that number."""
    raw = b"%d\n" % value
    assert parse_memory_current(raw) == value
    assert parse_memory_peak(raw) == value


@given(st.lists(COUNTS, min_size=6, max_size=6), st.booleans())
def test_cpu_stat(values: list[int], limited: bool) -> None:
    """Without the cpu controller throttling is None, not 0."""
    names = CpuStatV2._fields
    kept = 6 if limited else 3
    lines = [f"{name} {value}" for name, value in zip(names, values, strict=True)][:kept]
    raw = "\n".join([*reversed(lines), "core_sched.force_idle_usec 0", ""]).encode()
    assert parse_cpu_stat_v2(raw) == CpuStatV2(
        *values[:3], *(values[3:] if limited else [None] * 3)
    )


@given(st.lists(COUNTS, min_size=5, max_size=5))
def test_memory_stat(values: list[int]) -> None:
    """Keys come back by name, in any order."""
    names = MemoryStatV2._fields
    lines = [f"{name} {value}" for name, value in zip(names, values, strict=True)]
    raw = "\n".join(["kernel 5", *reversed(lines), ""]).encode()
    assert parse_memory_stat_v2(raw) == MemoryStatV2(*values)


@given(st.lists(COUNTS, min_size=5, max_size=5))
def test_memory_events(values: list[int]) -> None:
    """Counts come back by name; a kernel that does not count kills gives None."""
    names = MemoryEvents._fields
    lines = [f"{name} {value}\n" for name, value in zip(names, values, strict=True)]
    assert parse_memory_events("".join(lines).encode()) == MemoryEvents(*values)
    assert parse_memory_events("".join(lines[:4]).encode()) == MemoryEvents(*values[:4], None)


@pytest.mark.parametrize("parse", [parse_cpu_stat_v2, parse_memory_stat_v2, parse_memory_events])
def test_empty(parse: object) -> None:
    """A file without the keys every kernel writes is refused."""
    with pytest.raises(ParseError, match="missing"):
        parse(b"")  # type: ignore[operator]
