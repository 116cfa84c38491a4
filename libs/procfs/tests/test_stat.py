"""/proc/stat."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import CpuTimes, ProcFS, Stat, parse_stat

REST = b"cpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 1 2 3\nctxt 10\nbtime 1700000000\nprocesses 77\n"


def test_fields() -> None:
    """The first line is that of all CPUs, the others are counted."""
    parsed = parse_stat(b"cpu  400 10 300 9000 50 5 15 20 40 4\n" + REST)
    assert parsed == Stat(CpuTimes(400, 10, 300, 9000, 50, 5, 15, 20), 2)


def test_guest_time_is_counted_once() -> None:
    """user includes guest, nice includes guest_nice: total and busy do not add them again."""
    cpu = parse_stat(b"cpu  400 10 300 9000 50 5 15 20 40 4\n").cpu
    assert cpu is not None
    assert (cpu.total, cpu.busy) == (9800, 750)


def test_old_kernels_and_new_ones() -> None:
    """Fields an old kernel does not write are 0; fields a later one may add are ignored."""
    assert parse_stat(b"cpu 1 2 3 4\n" + REST).cpu == CpuTimes(1, 2, 3, 4, 0, 0, 0, 0)
    parsed = parse_stat(b"cpu  1 2 3 4 5 6 7 8 9 10 future\n" + REST)
    assert parsed.cpu == CpuTimes(1, 2, 3, 4, 5, 6, 7, 8)


def test_no_cpu_lines() -> None:
    """A file that lists no CPUs gives no count, not 0."""
    assert parse_stat(b"cpu 1 2 3 4\n") == Stat(CpuTimes(1, 2, 3, 4, 0, 0, 0, 0), None)


@pytest.mark.parametrize(
    "line",
    [b"processes -2045677862\n", b"ctxt x\n", b"btime \n", b"intr\n", b"softirq 1 -1\n", b""],
)
def test_other_lines_may_hold_anything(line: bytes) -> None:
    """A value that is not used costs none that is: some kernels write negative counts."""
    assert parse_stat(b"cpu 1 2 3 4\ncpu0 1 2 3 4\n" + line).cpu_count == 1
    assert parse_stat(b"cpu 1 2 3 4\n" + line).cpu == CpuTimes(1, 2, 3, 4, 0, 0, 0, 0)


@pytest.mark.parametrize("line", [b"", b"cpu 1 2 3\n", b"cpu \n", b"cpu 1 x 3 4\n"])
def test_malformed_cpu_line(line: bytes) -> None:
    """Less than four counters, or something else: no times, and the count stays."""
    assert parse_stat(line + REST) == Stat(None, 2)


FIRST = CpuTimes(100, 100, 100, 1000, 100, 100, 100, 100)


@pytest.mark.parametrize("field", CpuTimes._fields)
@pytest.mark.parametrize("jump", [-1, -90, -(2**62), 2**64 - 5, 2**64 // 10**7])
def test_a_counter_that_goes_backwards_or_wraps_adds_nothing(field: str, jump: int) -> None:
    """The growth of the others is all that counts, whichever it is."""
    grown = CpuTimes(*(ticks + 10 for ticks in FIRST))
    after = grown._replace(**{field: getattr(FIRST, field) + jump})
    assert after.since(FIRST) == CpuTimes(*[10] * 8)._replace(**{field: 0})


def test_growth_of_a_busy_machine() -> None:
    """A day of a thousand CPUs is no jump."""
    day = 100 * 86_400 * 1000
    assert FIRST._replace(user=100 + day).since(FIRST) == CpuTimes(day, 0, 0, 0, 0, 0, 0, 0)


@given(st.lists(st.integers(0, 2**60), min_size=4, max_size=8), st.integers(1, 600))
def test_round_trip(times: list[int], cpu_count: int) -> None:
    """Counters and CPUs come back; busy and total stay within each other."""
    lines = ["cpu  " + " ".join(map(str, times))]
    lines += [f"cpu{number} 1 2 3 4" for number in range(cpu_count)]
    parsed = parse_stat("\n".join([*lines, "ctxt 1", ""]).encode())
    assert parsed.cpu is not None
    assert list(parsed.cpu) == times + [0] * (8 - len(times))
    assert parsed.cpu_count == cpu_count
    assert parsed.cpu.total == sum(times)
    assert 0 <= parsed.cpu.busy <= parsed.cpu.total


def test_live() -> None:
    """This machine has CPUs and has run."""
    parsed = ProcFS("/proc", 4096, 100).stat()
    assert parsed.cpu_count == os.sysconf("SC_NPROCESSORS_ONLN")
    assert parsed.cpu is not None
    assert 0 < parsed.cpu.busy <= parsed.cpu.total
