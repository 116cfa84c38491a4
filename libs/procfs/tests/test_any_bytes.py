"""Every parser: any bytes give a value or a ParseError, and values keep their promises."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runmeter.procfs as procfs
from runmeter.procfs import ParseError

# one valid text per parser: mutations of it come far deeper than random bytes
SEEDS = {
    "parse_proc_stat": b"7 (a) R) S 1 7 7 0 -1 4 9 0 0 0 5 6 7 8 20 0 1 0 99 4096 3 "
    + b"0 " * 28
    + b"0\n",
    "parse_proc_statm": b"4000 1000 400 10 0 300 0\n",
    "parse_proc_status": b"Name:\ta\nState:\tS (sleeping)\nTgid:\t7\nPPid:\t1\n"
    b"NSpid:\t7\t1\nVmHWM:\t      8 kB\nVmRSS:\t   4 kB\n"
    b"RssAnon:\t  1 kB\nThreads:\t1\nSigIgn:\t0000000000010000\n",
    "parse_argv0": b"/bin/a\0--secret\0",
    "parse_proc_cgroup": b"4:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/a (deleted)\n",
    "parse_proc_mountinfo": b"36 35 98:0 /a\\040b /m rw,noatime shared:1 - ext4 /dev/x rw\n",
    "parse_stat": b"cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4\nctxt 1\nbtime 2\nprocesses 3\n",
    "parse_meminfo": b"MemTotal:  4 kB\nMemFree:  2 kB\nMemAvailable:   3 kB\n",
    "parse_loadavg": b"0.00 0.25 1.50 1/84 6157\n",
    "parse_usage_usec": b"usage_usec 3\nuser_usec 2\nsystem_usec 1\nnr_periods 0\n",
    "parse_throttled_usec": b"usage_usec 3\nnr_throttled 2\nthrottled_usec 7\n",
    "parse_memory_current": b"4096\n",
    "parse_memory_peak": b"4096\n",
    "parse_inactive_file": b"anon 1\nfile 2\nshmem 3\nactive_file 4\ninactive_file 5\n",
    "parse_events_oom_kill": b"low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
    "parse_cpuacct_usage": b"12\n",
    "parse_throttled_time": b"nr_periods 0\nnr_throttled 0\nthrottled_time 4\n",
    "parse_memory_usage_in_bytes": b"4096\n",
    "parse_memory_max_usage_in_bytes": b"4096\n",
    "parse_total_inactive_file": b"total_active_file 3\ntotal_inactive_file 4\n",
    "parse_oom_control_kills": b"oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
}
SIGNED = {"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"}


def parser(name: str) -> Callable[[bytes], Any]:
    """Return a parser of the package."""
    found: Callable[[bytes], Any] = getattr(procfs, name)
    return found


def check(value: Any, field: str = "") -> None:
    """Fail unless a value is what a record may hold."""
    if isinstance(value, tuple):
        for name, part in zip(getattr(value, "_fields", [field] * len(value)), value, strict=True):
            check(part, name)
    elif isinstance(value, str):
        value.encode("utf-8")  # fails on a surrogate
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in value)
    elif isinstance(value, bool):
        assert field == "deleted"
    elif isinstance(value, int):
        assert (-(2**64) if field in SIGNED else 0) < value + 1 <= 2**64
    elif isinstance(value, float):
        assert math.isfinite(value)
        assert value >= 0
    else:
        assert value is None


def test_every_parser_is_here() -> None:
    """A parser that is added to the package has to be added to these tests."""
    assert set(SEEDS) == {name for name in procfs.__all__ if name.startswith("parse_")}


@pytest.mark.parametrize("name", SEEDS)
def test_seed_is_valid(name: str) -> None:
    """The text that mutations start from is itself accepted."""
    check(parser(name)(SEEDS[name]))


@pytest.mark.parametrize("name", SEEDS)
@given(raw=st.binary(max_size=400))
def test_any_bytes(name: str, raw: bytes) -> None:
    """Random bytes give a value within its promises, or a ParseError."""
    try:
        value = parser(name)(raw)
    except ParseError:
        return
    check(value)


FRAGMENTS = [b"", b" ", b"\n", b"\t", b":", b"-1", b"+1", b"1_0", b"0x1", b"18446744073709551616"]
FRAGMENTS += [b"9" * 5000, b"nan", b"inf", b"1e5", "٣".encode(), b"\xff", b"\0", b"max", b")"]


@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
def test_mutations(name: str, data: st.DataObject) -> None:
    """A valid text with parts cut out, doubled or replaced gives a value or a ParseError."""
    raw = SEEDS[name]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + 20)))
        filling = data.draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=4))
        raw = raw[:start] + filling + raw[end:]
    try:
        value = parser(name)(raw)
    except ParseError:
        return
    check(value)


SLOPPY = [b"+1", b"1_0", b" 1", b"1 ", "٣".encode(), "²".encode(), b"", b"1.0", b"0x1", b"-1"]
SLOPPY += [b"18446744073709551616", b"9" * 21, b"9" * 5000]
NUMBERS = [
    ("parse_proc_stat", b" 99 "),
    ("parse_proc_stat", b" 1 "),
    ("parse_proc_stat", b"7 ("),
    ("parse_proc_statm", b" 1000 "),
    ("parse_proc_statm", b" 400 "),
    ("parse_loadavg", b"/84 "),
    ("parse_loadavg", b" 6157\n"),
    ("parse_usage_usec", b"usec 3\n"),
    ("parse_throttled_usec", b" 7\n"),
    ("parse_memory_current", b"4096\n"),
    ("parse_inactive_file", b" 5\n"),
    ("parse_events_oom_kill", b"oom_kill 1\n"),
    ("parse_cpuacct_usage", b"12\n"),
    ("parse_throttled_time", b" 4\n"),
    ("parse_total_inactive_file", b" 4\n"),
    ("parse_oom_control_kills", b"oom_kill 1\n"),
]
# a value that may be absent, with what is read instead of a number that is none
OPTIONAL = [
    ("parse_proc_stat", b" 5 ", "utime"),
    ("parse_proc_stat", b" 8 ", "cstime"),
    ("parse_proc_stat", b"20 0 1 ", "num_threads"),
    ("parse_proc_status", b"PPid:\t1\n", "ppid"),
    ("parse_proc_status", b"   4 kB", "vm_rss_kb"),
    ("parse_meminfo", b"  4 kB", "total_kb"),
]


CASES = [
    (*number, sloppy)
    for number in NUMBERS
    for sloppy in SLOPPY
    # a space in a line of fields makes two of one
    if not (b" " in sloppy and number[1].endswith(b" "))
]


def sized(value: object) -> str:
    """Return a short test id."""
    return value if isinstance(value, str) else ascii(bytes(value)[:12])  # type: ignore[call-overload]


@pytest.mark.parametrize(("name", "around", "sloppy"), CASES, ids=sized)
def test_sloppy_numbers(name: str, around: bytes, sloppy: bytes) -> None:
    """Whatever int() would take but no kernel writes is a ParseError, and so is 2^64."""
    digits = bytes(c for c in around if chr(c).isdigit())
    raw = SEEDS[name].replace(around, around.replace(digits, sloppy), 1)
    assert around in SEEDS[name]
    with pytest.raises(ParseError):
        parser(name)(raw)


@pytest.mark.parametrize("sloppy", [text for text in SLOPPY if b" " not in text], ids=sized)
@pytest.mark.parametrize(("name", "around", "field"), OPTIONAL, ids=sized)
def test_sloppy_optional_numbers(name: str, around: bytes, field: str, sloppy: bytes) -> None:
    """The same costs this value alone: it is None, and the others stay."""
    raw = SEEDS[name]
    digit = around.rstrip(b" \nkB")[-1:]
    start = raw.index(around) + around.rindex(digit)
    found = parser(name)(raw[:start] + sloppy + raw[start + 1 :])
    assert found == parser(name)(raw)._replace(**{field: None})


@pytest.mark.parametrize(("name", "around"), NUMBERS, ids=sized)
def test_largest_number(name: str, around: bytes) -> None:
    """2^64-1 is the largest value a file can hold, and is taken."""
    digits = bytes(c for c in around if chr(c).isdigit())
    raw = SEEDS[name].replace(around, around.replace(digits, b"18446744073709551615"), 1)
    check(parser(name)(raw))
