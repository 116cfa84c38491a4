"""/proc/<pid>/statm."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import ParseError, ProcFS, ProcStatm, parse_proc_statm


@given(st.lists(st.integers(0, 2**64 - 1), min_size=7, max_size=7))
def test_round_trip(pages: list[int]) -> None:
    """Seven counts come back in their order."""
    raw = " ".join(map(str, pages)).encode() + b"\n"
    assert parse_proc_statm(raw) == ProcStatm(*pages)


@pytest.mark.parametrize("raw", [b"", b"\n", b"1 2 3 4 5 6\n", b"1 2 3 4 5 6 7 8", b"1  3 4 5 6 7"])
def test_malformed(raw: bytes) -> None:
    """Anything but seven counts is refused."""
    with pytest.raises(ParseError):
        parse_proc_statm(raw)


def test_live() -> None:
    """The test process has resident pages, no more than its virtual size."""
    page_size = os.sysconf("SC_PAGE_SIZE")
    parsed = ProcFS("/proc", page_size, 100).proc_statm(os.getpid())
    assert 0 < parsed.shared < parsed.resident < parsed.size
