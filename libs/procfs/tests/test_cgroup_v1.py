"""Values of a cgroup v1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import (
    ParseError,
    parse_cpuacct_usage,
    parse_memory_max_usage_in_bytes,
    parse_memory_usage_in_bytes,
    parse_oom_control_kills,
    parse_throttled_time,
    parse_total_inactive_file,
)

COUNTS = st.integers(0, 2**64 - 1)


@given(COUNTS)
def test_single_values(value: int) -> None:
    """Each file of one number gives that number."""
    raw = b"%d\n" % value
    assert parse_cpuacct_usage(raw) == value
    assert parse_memory_usage_in_bytes(raw) == value
    assert parse_memory_max_usage_in_bytes(raw) == value


@given(COUNTS)
def test_keyed_files(value: int) -> None:
    """A key is found by its name, whatever other lines hold."""
    assert parse_throttled_time(b"nr_periods -1\nthrottled_time %d\nnr_throttled" % value) == value
    raw = b"cache 1\ninactive_file 3\ntotal_inactive_file %d\ntotal_rss x\n" % value
    assert parse_total_inactive_file(raw) == value
    assert parse_oom_control_kills(b"oom_kill_disable x\noom_kill %d\n" % value) == value


def test_oom_kill_of_old_kernels() -> None:
    """A kernel that does not count kills gives None, not 0."""
    assert parse_oom_control_kills(b"oom_kill_disable 0\nunder_oom 0\n") is None


def test_own_lines_are_not_those_of_the_tree() -> None:
    """The figures without total_ leave out child cgroups, so they do not stand in for them."""
    with pytest.raises(ParseError, match="total_inactive_file is missing"):
        parse_total_inactive_file(b"cache 1\nrss 2\nactive_file 3\ninactive_file 4\n")


def test_missing_key() -> None:
    """A key every kernel writes must be there."""
    with pytest.raises(ParseError, match="throttled_time is missing"):
        parse_throttled_time(b"nr_periods 1\nnr_throttled 2\n")
