"""/proc/meminfo."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import Meminfo, parse_meminfo


@given(st.tuples(*[st.integers(0, 2**60)] * 2), st.randoms(use_true_random=False))
def test_round_trip(values: tuple[int, int], random: object) -> None:
    """Values come back in any order of the lines, among other lines."""
    keys = ("MemTotal", "MemAvailable")
    lines = [f"{key + ':':16}{value:8} kB" for key, value in zip(keys, values, strict=True)]
    lines += ["HugePages_Total:       0", "SwapCached:    -9 kB", "MemFree:", "Active(anon):  1 kB"]
    random.shuffle(lines)  # type: ignore[attr-defined]
    assert parse_meminfo("\n".join([*lines, ""]).encode()) == Meminfo(*values)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"MemTotal: 4 kB\nMemFree: 2 kB\n", (4, None)),  # before Linux 3.14
        (b"", (None, None)),
        (b"MemAvailable: 4 kB\n", (None, 4)),
        (b"MemTotal: 4\nMemAvailable: 2 kB\n", (None, 2)),
        (b"MemTotal: 4 kB\nMemAvailable: -2 kB\n", (4, None)),
    ],
)
def test_what_is_not_there(raw: bytes, found: tuple[int | None, int | None]) -> None:
    """A missing or malformed value is None, not 0; the others are there."""
    assert parse_meminfo(raw) == found


def test_live() -> None:
    """The size of this machine's memory is what the C library says, in kB."""
    parsed = parse_meminfo(Path("/proc/meminfo").read_bytes())
    pages = os.sysconf("SC_PHYS_PAGES")
    assert parsed.total_kb == pages * os.sysconf("SC_PAGE_SIZE") // 1024
    assert parsed.total_kb is not None
    assert parsed.available_kb is not None
    assert 0 < parsed.available_kb <= parsed.total_kb
