"""/proc/<pid>/stat."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import ParseError, ProcFS, ProcStat, decode_name, parse_proc_stat

TAIL = b" 1 2 3 0 -1 4194560 93 0 0 0 11 12 13 14 20 -5 2 0 5000 4096 7 18446744073709551615 0 0\n"
COUNTS = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("comm", "text"),
    [
        (b"sh", "sh"),
        (b"", ""),
        (b") R 1 (", ") R 1 ("),
        (b"a b) S 2 (c", "a b) S 2 (c"),
        (b"((", "(("),
        (b"))", "))"),
        (b"a\nb", r"a\x0ab"),
        (b"\xff\xfe", r"\xff\xfe"),
    ],
)
def test_command_name(comm: bytes, text: str) -> None:
    """A command name may hold anything: the line is split at its last parenthesis."""
    assert parse_proc_stat(b"42 (" + comm + b") S" + TAIL) == ProcStat(
        42, text, "S", 1, 11, 12, 13, 14, 2, 5000, 93, 0
    )


def test_process_being_torn_down() -> None:
    """Group and session of an exiting process are -1."""
    parsed = parse_proc_stat(b"42 (sh) X" + TAIL.replace(b" 1 2 3 ", b" 0 -1 -1 ", 1))
    assert (parsed.state, parsed.ppid) == ("X", 0)


@pytest.mark.parametrize("value", [b"-1", b"-9223372036854775808", b"9223372036854775808", b"x"])
@pytest.mark.parametrize(
    ("written", "field"),
    [(b" 11 ", "utime"), (b" 12 ", "stime"), (b" 13 ", "cutime"), (b" 14 ", "cstime")],
)
def test_a_time_that_cannot_be(value: bytes, written: bytes, field: str) -> None:
    """The kernel writes children's times signed: one outside 0 to 2^63-1 is None."""
    good = parse_proc_stat(b"42 (sh) S" + TAIL)
    parsed = parse_proc_stat(b"42 (sh) S" + TAIL.replace(written, b" " + value + b" "))
    assert parsed == good._replace(**{field: None})


def test_the_largest_time() -> None:
    """2^63-1 is a time."""
    raw = b"42 (sh) S" + TAIL.replace(b" 13 ", b" 9223372036854775807 ")
    assert parse_proc_stat(raw).cutime == 2**63 - 1


@pytest.mark.parametrize(
    "tail",
    [
        TAIL.replace(b" 1 2 3 ", b" 1 x y "),
        TAIL.replace(b" 4096 7 ", b" -1 z "),
        TAIL.replace(b" 20 -5 ", b" 20  "),
    ],
)
def test_fields_that_are_not_used_may_hold_anything(tail: bytes) -> None:
    """Group, session, priorities, vsize and rss cost nothing."""
    assert parse_proc_stat(b"42 (sh) S" + tail) == parse_proc_stat(b"42 (sh) S" + TAIL)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "parentheses"),
        (b"42 sh S 1", "parentheses"),
        (b"42 (sh", "parentheses"),
        (b"42 ) (", "parentheses"),
        (b"42 (sh) S 1 2 3", "missing"),
        (b"42 (sh) SS" + TAIL, "state"),
        (b"42 (sh) 1" + TAIL, "state"),
        (b"x (sh) S" + TAIL, "pid"),
        (b"42 (sh) S" + TAIL.replace(b" 1 2 ", b" -1 2 "), "ppid"),
        (b"42 (sh) S" + TAIL.replace(b" 5000 ", b" 18446744073709551616 "), "starttime"),
    ],
)
def test_malformed(raw: bytes, reason: str) -> None:
    """The error names the file and the field, and shows nothing of the content."""
    with pytest.raises(ParseError, match=reason) as caught:
        parse_proc_stat(raw)
    assert caught.value.file == "/proc/<pid>/stat"


@given(
    comm=st.binary(max_size=64),
    state=st.sampled_from("RSDZTtXxKWPI"),
    counts=st.lists(COUNTS, min_size=13, max_size=13),
    groups=st.tuples(st.integers(-1, 2**31), st.integers(-1, 2**31)),
)
def test_round_trip(comm: bytes, state: str, counts: list[int], groups: tuple[int, int]) -> None:
    """What the kernel's format string writes is read back, field by field."""
    pid, ppid, utime, stime, cutime, cstime, threads, start, vsize, rss, flags, *faults = counts
    line = (
        f" {state} {ppid} {groups[0]} {groups[1]} 34816 -1 {flags} {faults[0]} {faults[1]}"
        f" 3 4 {utime} {stime} {cutime} {cstime} 20 0 {threads} 0 {start} {vsize} {rss} 0"
        + " 0" * 27
        + "\n"
    ).encode()
    assert parse_proc_stat(b"%d (%s)" % (pid, comm) + line) == ProcStat(
        pid,
        decode_name(comm),
        state,
        ppid,
        utime,
        stime,
        cutime,
        cstime,
        threads,
        start,
        *faults,
    )


def test_live() -> None:
    """The test process reads itself as the operating system describes it."""
    procfs = ProcFS("/proc", os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK"))
    before = os.times()
    parsed = procfs.proc_stat(os.getpid())
    after = os.times()
    assert (parsed.pid, parsed.ppid) == (os.getpid(), os.getppid())
    assert parsed.state == "R"
    assert parsed.utime is not None
    assert parsed.stime is not None
    seconds = procfs.ticks_nanoseconds(parsed.utime + parsed.stime) / 1e9
    tick = 2 / procfs.ticks_per_second
    assert before.user + before.system - tick <= seconds <= after.user + after.system + tick
