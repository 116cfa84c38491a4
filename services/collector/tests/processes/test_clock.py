"""The CPU clocks of real processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from time import process_time_ns

import pytest
from rig.namespaces import needs_unshare

from runmeter.collector.processes.clock import (
    PROCESS_CLOCK,
    STAT,
    clock_id,
    clock_source,
    read_process_clock,
)

BURN = """
import sys, time
while time.process_time() < 0.2:
    pass
print(time.process_time_ns(), flush=True)
sys.stdin.readline()
print(time.process_time_ns(), flush=True)
sys.stdin.readline()
"""
# prints what a collector in another pid namespace makes of two mounts of /proc
ASK = """
import sys
from runmeter.collector.processes.clock import clock_source
print(*map(clock_source, sys.argv[1:]))
"""


def test_our_own_clock_is_the_process_time() -> None:
    """The clock of the caller is between two readings of its process time."""
    before = process_time_ns()
    found = read_process_clock(clock_id(os.getpid()))
    assert before <= found <= process_time_ns()


def test_the_clock_of_another_process() -> None:
    """The clock of another process is between two readings of its own process time."""
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        before = int(child.stdout.readline())
        found = read_process_clock(clock_id(child.pid))
        print("go", file=child.stdin, flush=True)
        after = int(child.stdout.readline())
        child.stdin.close()
    assert 200_000_000 <= before <= found <= after


def test_a_zombie_keeps_its_clock_and_then_has_none() -> None:
    """Until it is waited for, an ended process has all its time; then reading it is an error."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "sum(range(10**6))"], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    found = read_process_clock(clock_id(pid))
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    assert found > 0
    assert found / 1e9 == pytest.approx(usage.ru_utime + usage.ru_stime, abs=0.01)
    with pytest.raises(OSError, match="Invalid argument"):
        read_process_clock(clock_id(pid))


def test_all_threads_of_a_process_count() -> None:
    """The clock is that of the thread group: what ended threads used is in it."""
    code = (
        "import hashlib, threading, sys\n"
        "work = lambda: hashlib.pbkdf2_hmac('sha256', b'x', b'y', 60000)\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(flush=True); sys.stdin.read()"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        found = read_process_clock(clock_id(child.pid))
        child.stdin.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert 0.8 * used <= found / 1e9 <= used + 0.02


def test_our_own_proc_mount_has_clocks() -> None:
    """/proc shows our own pid namespace: clocks can be used."""
    assert clock_source("/proc") == PROCESS_CLOCK


def test_a_copied_tree_has_none(tmp_path: Path, recordings: Path) -> None:
    """A tree whose `self` is another process, or is missing, is read by stat alone."""
    assert clock_source(str(recordings)) == STAT
    assert clock_source(str(tmp_path)) == STAT
    (tmp_path / "self").symlink_to("1")
    assert clock_source(str(tmp_path)) == STAT


@needs_unshare()
def test_the_mount_of_another_pid_namespace_has_none(tmp_path: Path) -> None:
    """A process with a /proc of its own namespace uses clocks there, and not on its parent's."""
    outer = tmp_path / "outer"
    outer.mkdir()
    script = f'mount --bind /proc {outer} && exec unshare --pid --fork --mount-proc "$@"'
    answer = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh",
         sys.executable, "-c", ASK, "/proc", outer],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.stdout.split() == [PROCESS_CLOCK, STAT]


def test_a_clock_that_stands_still_is_not_used() -> None:
    """It would say that no process runs: CPU time is then read from stat."""
    assert clock_source("/proc", lambda number: 0) == STAT
    assert clock_source("/proc") == PROCESS_CLOCK
