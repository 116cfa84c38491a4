"""/proc/meminfo."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import Meminfo, ParseError, parse_meminfo

KEYS = ("MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapTotal", "SwapFree")


@given(st.lists(st.integers(0, 2**60), min_size=7, max_size=7), st.randoms(use_true_random=False))
def test_round_trip(values: list[int], random: object) -> None:
    """Values come back in any order of the lines, among other lines."""
    lines = [f"{key + ':':16}{value:8} kB" for key, value in zip(KEYS, values, strict=True)]
    lines += ["HugePages_Total:       0", "SwapCached:     9 kB", "Active(anon):  1 kB"]
    random.shuffle(lines)  # type: ignore[attr-defined]
    assert parse_meminfo("\n".join([*lines, ""]).encode()) == Meminfo(*values)


def test_old_kernel() -> None:
    """A value that an old kernel does not write is None, not 0."""
    parsed = parse_meminfo(b"MemTotal: 4 kB\nMemFree: 2 kB\n")
    assert parsed == Meminfo(4, 2, None, None, None, None, None)


@pytest.mark.parametrize(
    "raw",
    [b"", b"MemTotal: 4 kB\n", b"MemFree: 4 kB\n", b"MemTotal: 4\nMemFree: 2 kB\n"],
)
def test_malformed(raw: bytes) -> None:
    """Total and free must be there, in kB."""
    with pytest.raises(ParseError):
        parse_meminfo(raw)


def test_live() -> None:
    """The size of this machine's memory is what the C library says, in kB."""
    parsed = parse_meminfo(Path("/proc/meminfo").read_bytes())
    pages = os.sysconf("SC_PHYS_PAGES")
    assert parsed.total_kb == pages * os.sysconf("SC_PAGE_SIZE") // 1024
    assert parsed.available_kb is not None
    assert 0 < parsed.available_kb <= parsed.total_kb
