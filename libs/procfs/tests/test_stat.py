"""/proc/stat."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import CpuTimes, ParseError, ProcFS, parse_stat

REST = b"cpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 1 2 3\nctxt 10\nbtime 1700000000\nprocesses 77\n"


def test_fields() -> None:
    """The first line is that of all CPUs, the others are counted."""
    parsed = parse_stat(b"cpu  400 10 300 9000 50 5 15 20 40 4\n" + REST)
    assert parsed.cpu == CpuTimes(400, 10, 300, 9000, 50, 5, 15, 20, 40, 4)
    assert (parsed.cpu_count, parsed.ctxt, parsed.btime, parsed.processes) == (
        2,
        10,
        1700000000,
        77,
    )


def test_guest_time_is_counted_once() -> None:
    """user includes guest, nice includes guest_nice: total and busy do not add them again."""
    cpu = CpuTimes(400, 10, 300, 9000, 50, 5, 15, 20, 40, 4)
    assert cpu.total == 9800
    assert cpu.busy == 750


def test_old_kernels_and_new_ones() -> None:
    """Fields an old kernel does not write are 0; fields a later one may add are ignored."""
    assert parse_stat(b"cpu 1 2 3 4\n" + REST).cpu == CpuTimes(1, 2, 3, 4, 0, 0, 0, 0, 0, 0)
    parsed = parse_stat(b"cpu  1 2 3 4 5 6 7 8 9 10 future\n" + REST)
    assert parsed.cpu == CpuTimes(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)


def test_no_cpu_lines() -> None:
    """A file that lists no CPUs gives a count of 0."""
    assert parse_stat(b"cpu 1 2 3 4\nctxt 1\nbtime 2\nprocesses 3").cpu_count == 0


@pytest.mark.parametrize("key", [b"ctxt", b"btime", b"processes"])
def test_missing_line(key: bytes) -> None:
    """A line every kernel writes must be there."""
    raw = b"cpu 1 2 3 4\n" + REST.replace(key, b"other")
    with pytest.raises(ParseError, match=f"{key.decode()} is missing"):
        parse_stat(raw)


@pytest.mark.parametrize("line", [b"", b"cpu 1 2 3\n", b"cpu \n", b"cpu 1 x 3 4\n"])
def test_malformed_cpu_line(line: bytes) -> None:
    """Less than four counters, or something else, is refused."""
    with pytest.raises(ParseError):
        parse_stat(line + REST)


@given(st.lists(st.integers(0, 2**60), min_size=4, max_size=10), st.integers(0, 600))
def test_round_trip(times: list[int], cpu_count: int) -> None:
    """Counters and CPUs come back; busy and total stay within each other."""
    lines = ["cpu  " + " ".join(map(str, times))]
    lines += [f"cpu{number} 1 2 3 4" for number in range(cpu_count)]
    parsed = parse_stat("\n".join([*lines, "ctxt 1", "btime 2", "processes 3", ""]).encode())
    assert list(parsed.cpu) == times + [0] * (10 - len(times))
    assert parsed.cpu_count == cpu_count
    assert parsed.cpu.total == sum(times[:8])
    assert 0 <= parsed.cpu.busy <= parsed.cpu.total


def test_live() -> None:
    """This machine has CPUs, has run, and was booted in the past."""
    parsed = ProcFS("/proc", 4096, 100).stat()
    assert parsed.cpu_count == os.sysconf("SC_NPROCESSORS_ONLN")
    assert 0 < parsed.cpu.busy <= parsed.cpu.total
    assert parsed.btime < time.time()
