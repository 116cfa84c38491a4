"""Values of a cgroup v2."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import (
    ParseError,
    parse_events_oom_kill,
    parse_inactive_file,
    parse_memory_current,
    parse_memory_peak,
    parse_throttled_usec,
    parse_usage_usec,
)

COUNTS = st.integers(0, 2**64 - 1)


@given(COUNTS)
def test_single_values(value: int) -> None:
    """Each file of one number gives that number."""
    raw = b"%d\n" % value
    assert parse_memory_current(raw) == value
    assert parse_memory_peak(raw) == value


@given(COUNTS, COUNTS)
def test_cpu_stat(usage: int, throttled: int) -> None:
    """Each value by itself; without the cpu controller throttling is None, not 0."""
    raw = b"user_usec x\nusage_usec %d\nsystem_usec\n" % usage
    assert (parse_usage_usec(raw), parse_throttled_usec(raw)) == (usage, None)
    raw = b"usage_usec %d\nnr_periods -1\nthrottled_usec %d\n" % (usage, throttled)
    assert (parse_usage_usec(raw), parse_throttled_usec(raw)) == (usage, throttled)
    raw = b"usage_usec %d\nthrottled_usec -1\n" % usage
    assert parse_usage_usec(raw) == usage
    with pytest.raises(ParseError, match="throttled_usec is not"):
        parse_throttled_usec(raw)


@given(COUNTS)
def test_memory_files(value: int) -> None:
    """A key is found by its name, whatever other lines hold."""
    assert parse_inactive_file(b"anon x\ninactive_file %d\nactive_file 4\n" % value) == value
    assert parse_events_oom_kill(b"low x\noom 1\noom_kill %d\noom_group_kill 3\n" % value) == value
    assert parse_events_oom_kill(b"low 0\noom 1\n") is None


@pytest.mark.parametrize("parse", [parse_usage_usec, parse_inactive_file])
def test_empty(parse: Callable[[bytes], int]) -> None:
    """A file without the key that every kernel writes is refused."""
    with pytest.raises(ParseError, match="missing"):
        parse(b"")
