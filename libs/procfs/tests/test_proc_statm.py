"""/proc/<pid>/statm."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import ParseError, ProcFS, ProcStatm, parse_proc_statm


@given(st.lists(st.integers(0, 2**64 - 1), min_size=7, max_size=7))
def test_round_trip(pages: list[int]) -> None:
    """The second and third count come back, whatever the others hold."""
    raw = " ".join(map(str, pages)).encode() + b"\n"
    assert parse_proc_statm(raw) == ProcStatm(pages[1], pages[2])
    assert parse_proc_statm(b"x %d %d -1 y\n" % (pages[1], pages[2])) == (pages[1], pages[2])


@pytest.mark.parametrize("raw", [b"", b"\n", b"1 2\n", b"1 -2 3 4 5 6 7", b"1  3 4 5 6 7"])
def test_malformed(raw: bytes) -> None:
    """A count that is used must be there."""
    with pytest.raises(ParseError):
        parse_proc_statm(raw)


def test_live() -> None:
    """The test process has resident pages, some of them shared."""
    page_size = os.sysconf("SC_PAGE_SIZE")
    parsed = ProcFS("/proc", page_size, 100).proc_statm(os.getpid())
    assert 0 < parsed.shared < parsed.resident
