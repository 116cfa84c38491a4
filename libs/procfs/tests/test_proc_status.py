"""/proc/<pid>/status."""

import os
import signal
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import ProcFS, decode_name, parse_proc_status

BASE = (
    b"Name:\tsh\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t7\nNgid:\t0\nPid:\t7\nPPid:\t1\n"
    b"TracerPid:\t0\nUid:\t1000\t1001\t1002\t1003\nGid:\t2000\t2001\t2002\t2003\n"
    b"Groups:\t \nNSpid:\t70\t7\nVmHWM:\t    1760 kB\nVmRSS:\t    1700 kB\nRssAnon:\t 112 kB\n"
    b"Threads:\t3\nSigIgn:\t0000000000010001\nCapEff:\t0000000000080000\n"
)


def test_fields() -> None:
    """Every field is taken from its own line."""
    parsed = parse_proc_status(BASE)
    assert parsed == ("sh", "S", 1, (70, 7), 1760, 1700, 112, 3, 0x10001, 1 << 19)
    assert parsed.sig_ign is not None
    assert parsed.sig_ign >> (signal.SIGCHLD - 1) & 1


def test_kernel_thread() -> None:
    """Memory that a kernel thread does not have is None, not 0."""
    lines = [line for line in BASE.split(b"\n") if not line.startswith((b"Vm", b"Rss", b"NSpid"))]
    parsed = parse_proc_status(b"\n".join(lines))
    assert (parsed.vm_rss_kb, parsed.vm_hwm_kb, parsed.rss_anon_kb) == (None, None, None)
    assert parsed.ns_pids == ()


@pytest.mark.parametrize(
    ("line", "other", "field"),
    [
        (b"Name:\tsh\n", b"", "name"),
        (b"State:\tS (sleeping)\n", b"State:\t\n", "state"),
        (b"State:\tS (sleeping)\n", b"State:\tSleeping\n", "state"),
        (b"PPid:\t1\n", b"PPid:\t-1\n", "ppid"),
        (b"VmHWM:\t    1760 kB\n", b"", "vm_hwm_kb"),
        (b"VmRSS:\t    1700 kB\n", b"VmRSS:\t    1700 MB\n", "vm_rss_kb"),
        (b"VmRSS:\t    1700 kB\n", b"VmRSS:\t    1700\n", "vm_rss_kb"),
        (b"Threads:\t3\n", b"", "threads"),
        (b"SigIgn:\t0000000000010001\n", b"", "sig_ign"),
        (b"SigIgn:\t0000000000010001\n", b"SigIgn:\t10001\n", "sig_ign"),
        (b"SigIgn:\t0000000000010001\n", b"SigIgn:\t000000000001000g\n", "sig_ign"),
        (b"SigIgn:\t0000000000010001\n", b"SigIgn:\t-000000000010001\n", "sig_ign"),
        (b"CapEff:\t0000000000080000\n", b"CapEff:\t80000\n", "cap_eff"),
    ],
)
def test_malformed(line: bytes, other: bytes, field: str) -> None:
    """A line that is missing or not as the kernel writes it costs its value alone."""
    assert line in BASE
    good = parse_proc_status(BASE)
    assert parse_proc_status(BASE.replace(line, other)) == good._replace(**{field: None})


def test_lines_that_are_not_used_may_hold_anything() -> None:
    """Ids of users and groups are not read, nor is a malformed list of pids."""
    raw = BASE.replace(b"Uid:\t1000", b"Uid:\tx").replace(b"Tgid:\t7\n", b"")
    assert parse_proc_status(raw) == parse_proc_status(BASE)
    assert parse_proc_status(BASE.replace(b"\t70\t7", b"\t70\tx")).ns_pids == ()


@given(st.binary(max_size=64))
def test_name_escapes_of_the_kernel_are_undone(name: bytes) -> None:
    """The kernel escapes newline and backslash here; the result equals that of comm."""
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    parsed = parse_proc_status(BASE.replace(b"\tsh\n", b"\t" + escaped + b"\n", 1))
    assert parsed.name == decode_name(name)
    assert parsed[1:] == parse_proc_status(BASE)[1:]


@given(
    sizes=st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)),
    pids=st.lists(st.integers(1, 2**22), min_size=1, max_size=32),
    mask=st.integers(0, 2**64 - 1),
)
def test_round_trip(sizes: tuple[int, int], pids: list[int], mask: int) -> None:
    """Sizes, pids of all namespaces and the signal mask come back as written."""
    raw = (
        BASE.replace(b"    1760 kB", b"%8d kB" % sizes[0])
        .replace(b"    1700 kB", b"%8d kB" % sizes[1])
        .replace(b"70\t7", b"\t".join(b"%d" % pid for pid in pids))
        .replace(b"0000000000010001", b"%016x" % mask)
    )
    parsed = parse_proc_status(raw)
    assert (parsed.vm_hwm_kb, parsed.vm_rss_kb) == sizes
    assert (parsed.ns_pids, parsed.sig_ign) == (tuple(pids), mask)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_live(handler: Callable[..., object] | signal.Handlers) -> None:
    """The test process reads itself, and whether it ignores a signal."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        parsed = ProcFS("/proc", 4096, 100).proc_status(os.getpid())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert parsed.ppid == os.getppid()
    assert parsed.sig_ign is not None
    assert parsed.sig_ign >> (signal.SIGUSR1 - 1) & 1 == (handler is signal.SIG_IGN)
    assert parsed.vm_rss_kb is not None
    assert parsed.vm_hwm_kb is not None
    assert 0 < parsed.vm_rss_kb <= parsed.vm_hwm_kb
