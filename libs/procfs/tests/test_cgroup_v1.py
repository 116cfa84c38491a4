"""Files of a cgroup v1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import (
    CpuStatV1,
    MemoryOomControl,
    MemoryStatV1,
    ParseError,
    parse_cpu_stat_v1,
    parse_cpuacct_usage,
    parse_memory_max_usage_in_bytes,
    parse_memory_oom_control,
    parse_memory_stat_v1,
    parse_memory_usage_in_bytes,
)

COUNTS = st.integers(0, 2**64 - 1)


@given(COUNTS)
def test_single_values(value: int) -> None:
    """Each file of one number gives that number."""
    raw = b"%d\n" % value
    assert parse_cpuacct_usage(raw) == value
    assert parse_memory_usage_in_bytes(raw) == value
    assert parse_memory_max_usage_in_bytes(raw) == value


@given(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS))
def test_keyed_files(values: tuple[int, int, int, int]) -> None:
    """Keys come back by name, in any order and among other keys."""
    a, b, c, d = values
    raw = b"current_bw 9\nthrottled_time %d\nnr_periods %d\nnr_throttled %d\n" % (a, b, c)
    assert parse_cpu_stat_v1(raw) == CpuStatV1(b, c, a)
    raw = (
        b"cache 1\nrss 2\ninactive_file 3\ntotal_rss %d\ntotal_cache %d\n"
        b"total_inactive_file %d\ntotal_active_file %d\n" % values
    )
    assert parse_memory_stat_v1(raw) == MemoryStatV1(b, a, d, c)
    raw = b"oom_kill_disable %d\nunder_oom %d\noom_kill %d\n" % (a, b, c)
    assert parse_memory_oom_control(raw) == MemoryOomControl(a, b, c)


def test_oom_kill_of_old_kernels() -> None:
    """A kernel that does not count kills gives None, not 0."""
    assert parse_memory_oom_control(b"oom_kill_disable 0\nunder_oom 0\n").oom_kill is None


def test_own_lines_are_not_those_of_the_tree() -> None:
    """The figures without total_ leave out child cgroups, so they do not stand in for them."""
    with pytest.raises(ParseError, match="total_cache"):
        parse_memory_stat_v1(b"cache 1\nrss 2\nactive_file 3\ninactive_file 4\n")


@pytest.mark.parametrize("missing", ["nr_periods", "nr_throttled", "throttled_time"])
def test_missing_key(missing: str) -> None:
    """A key every kernel writes must be there."""
    raw = b"nr_periods 1\nnr_throttled 2\nthrottled_time 3\n".replace(missing.encode(), b"x")
    with pytest.raises(ParseError, match=missing):
        parse_cpu_stat_v1(raw)
