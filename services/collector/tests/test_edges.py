"""A measured machine at its edges: a collector that was stopped, clocks that jump, hidden pids.

libfaketime moves the CPU clocks of processes with the wall clock, which no machine does: with it
CPU time can be judged only where it is read in clock ticks.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rig.namespaces import needs_unshare

from runmeter.collector.processes.clock import clock_id, read_process_clock

WAIT_SECONDS = 60
PROGRAM = (sys.executable, "-I", "-m", "runmeter.collector", "--interval=100ms")
NOBODY = "65534"
BURN = "print(flush=True)\nwhile True: pass"
# visible to a collector that runs as a user: a burner of root and one of the user nobody
HIDING = f"""
mount -t proc -o "$1" proc /proc || exit 77
{sys.executable} -I -c "$2" >/dev/null &
setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {sys.executable} -I -c "$2" >/dev/null &
uid=$3 drop=$4; shift 8  # and `python -I -m runmeter.collector`
{sys.executable} -I -c "$drop" $uid "$@"
exit $?
"""
# others may not be able to read the environment: loaded first, and then another user's
DROP = """
import ctypes, locale, os, sys
from runmeter.collector import app, cli
PR_SET_DUMPABLE = 4
if uid := int(sys.argv.pop(1)):
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # as after an exec
sys.exit(cli.main())
"""
# a mount of the pid namespace above: CPU time is read in ticks
ABOVE = """
mount --bind /proc "$1" && shift && exec unshare --pid --fork --kill-child --mount-proc "$@"
"""


class Running:
    """A collector whose samples are awaited one by one."""

    def __init__(self, argv: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
        self.process = subprocess.Popen(
            argv, env=environment, cwd=folder, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.lines: list[dict[str, Any]] = []
        self.limit = threading.Timer(WAIT_SECONDS, self.process.kill)
        self.limit.start()

    def samples(self, count: int) -> None:
        """Read the log until ``count`` more samples were taken."""
        assert self.process.stderr is not None
        while count:
            line = self.process.stderr.readline()
            assert line, self.lines
            self.lines.append(json.loads(line))
            count -= self.lines[-1].get("event") == "sample.taken"

    def end(self, pid: int | None = None) -> dict[str, Any]:
        """End the run, of a process of its own or of this pid below it; return the payload."""
        os.kill(pid or self.process.pid, signal.SIGTERM)
        output, errors = self.process.communicate(timeout=WAIT_SECONDS)
        assert self.process.returncode == 0, errors
        self.lines += [json.loads(line) for line in errors.splitlines()]
        return dict(json.loads(output))

    def seen(self) -> list[dict[str, Any]]:
        """Return the samples of the log."""
        return [line for line in self.lines if line.get("event") == "sample.taken"]

    def limited(self) -> str:
        """Return the reasons of ``run.limited``."""
        return "".join(
            str(line["reason"]) for line in self.lines if line.get("event") == "run.limited"
        )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Return the starter of collectors that log every sample."""
    started: list[Running] = []

    def begin(*before: str, flags: tuple[str, ...] = (), **variables: str) -> Running:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C"}
        # all processes: others of the machine may use more than those of the test
        argv = (*before, *PROGRAM, "--log-level=debug", "--top=1000", *flags)
        started.append(Running(argv, {**environment, **variables}, tmp_path))
        return started[-1]

    yield begin
    for running in started:
        running.limit.cancel()
        running.process.kill()
        running.process.communicate()


@pytest.fixture
def burner() -> Iterator[int]:
    """Return the pid of a process that uses one core."""
    process = subprocess.Popen([sys.executable, "-I", "-c", BURN], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.kill()
    process.communicate()


@pytest.mark.parametrize("is_suspended", [False, True], ids=["stopped", "suspended"])
def test_a_stopped_collector_counts_what_it_missed(
    start: Callable[..., Running], burner: int, is_suspended: bool
) -> None:
    """Snapshots that were missed are counted, the time they span is one interval, no CPU is lost.

    Suspended, as a machine is, the measured process stands still as well.
    """
    before_ns = read_process_clock(clock_id(burner))
    running = start()
    running.samples(4)
    first_ns = read_process_clock(clock_id(burner))
    for _ in range(2):
        for pid in (running.process.pid, burner)[: 1 + is_suspended]:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(0.7)
        for pid in (running.process.pid, burner)[: 1 + is_suspended]:
            os.kill(pid, signal.SIGCONT)
        running.samples(3)
    last_ns = read_process_clock(clock_id(burner))
    payload = running.end()
    after_ns = read_process_clock(clock_id(burner))
    missed_count = payload["coverage"]["missed_samples"]
    assert missed_count >= 12
    assert abs(payload["sample_count"] + missed_count - payload["duration_seconds"] / 0.1) <= 2
    assert f"{missed_count} snapshots could not be taken in time" in running.limited()
    [entry] = [p for p in payload["top_cpu_processes"] if p["pid"] == burner]
    assert (last_ns - first_ns) / 1e9 <= entry["cpu_seconds"] <= (after_ns - before_ns) / 1e9
    assert entry["peak_cpu_percent"] <= 110
    _assert_honest(running, payload)


def _assert_honest(running: Running, payload: dict[str, Any]) -> None:
    """Assert that rates are those of the samples taken, each once, and within the machine."""
    samples = running.seen()
    assert len(samples) == payload["sample_count"]
    found = [sample["system"].get("cpu_total_percent") for sample in samples]
    _assert_statistics(payload["cpu_total_percent"], [v for v in found if v is not None], 100)
    cpu_count = payload["host"]["cpu_count"]
    for container in payload["containers"]:
        if container["sample_count"] == len(samples):
            entries = [e for sample in samples[1:] for e in sample["containers"]]
            rates = [e["cpu_cores"] for e in entries if e["name"] == container["name"]]
            assert len(rates) == len(samples) - 1
            _assert_statistics(container["cpu_cores"], rates, cpu_count)


def _assert_statistics(found: dict[str, float], rates: list[float], most: float) -> None:
    """Assert that statistics are of these rates, except the last, which the end may extend."""
    assert min(rates) >= 0
    assert max(*rates, found["peak"]) <= most
    lowest, highest = (sorted([*rates[:-1], end]) for end in (0, most))
    for name, percent in (("p50", 50), ("p75", 75), ("p95", 95), ("p99", 99), ("peak", 100)):
        rank = math.ceil(len(rates) * percent / 100) - 1
        assert lowest[rank] - 0.01 <= found[name] <= highest[rank] + 0.01


@pytest.mark.parametrize("jumps", [(72,), (-72,), (0.01, -0.01, 72, -72, 0)], ids=str)
def test_a_jump_of_the_wall_clock(
    start: Callable[..., Running], wall_clock: Any, jumps: tuple[float, ...]
) -> None:
    """Durations are monotonic: a clock that is set during a run changes only the log."""
    running = start(**wall_clock.variables)
    started = time.monotonic()
    running.samples(4)
    seen = time.monotonic()
    for hours in jumps:
        wall_clock.set(hours)
        running.samples(6)
    payload = running.end()
    lived = time.monotonic() - started
    assert time.monotonic() - seen >= 0.5
    assert 0.5 <= payload["duration_seconds"] <= lived
    _assert_unmoved(running, payload, jumps)


@needs_unshare("setpriv", "mount")
def test_rates_are_not_of_the_wall_clock(
    start: Callable[..., Running], wall_clock: Any, burner: int, tmp_path: Path
) -> None:
    """A jump of the clock changes no CPU time: no rate is negative or too high."""
    jumps = (72, -72, 0.001, -0.001, 0)
    above = tmp_path / "above"
    above.mkdir()
    before_ns = read_process_clock(clock_id(burner))
    shell = ("unshare", "--mount", "--propagation", "private", "sh", "-c", ABOVE, "sh", str(above))
    running = start(*shell, flags=(f"--proc-path={above}",), **wall_clock.variables)
    running.samples(3)
    first_ns = read_process_clock(clock_id(burner))
    for hours in jumps:
        wall_clock.set(hours)
        running.samples(3)
    last_ns = read_process_clock(clock_id(burner))
    [collector] = _children(running.process.pid)
    payload = running.end(collector)
    after_ns = read_process_clock(clock_id(burner))
    assert payload["host"]["clock_source"] == "stat"
    [entry] = [p for p in payload["top_cpu_processes"] if p["pid"] == burner]
    ticks = 0.02
    assert entry["cpu_seconds"] >= (last_ns - first_ns) / 1e9 - ticks
    assert entry["cpu_seconds"] <= (after_ns - before_ns) / 1e9 + ticks
    assert 0 < entry["peak_cpu_percent"] <= 130  # in ticks of a tenth of the interval
    _assert_honest(running, payload)
    _assert_unmoved(running, payload, jumps)


def _assert_unmoved(running: Running, payload: dict[str, Any], jumps: tuple[float, ...]) -> None:
    stamps = [datetime.fromisoformat(sample["timestamp"]) for sample in running.seen()]
    steps = [later - earlier for earlier, later in pairwise(stamps)]
    moves = [0, *(later - earlier for earlier, later in pairwise((0, *jumps)))]
    for step, hours in ((max(steps), max(moves)), (min(steps), min(moves))):  # it did jump
        assert abs(step - timedelta(hours=hours)) < timedelta(seconds=2)
    begin, end = (datetime.fromisoformat(payload[f"{name}_time"]) for name in ("start", "end"))
    assert end - begin == timedelta(seconds=payload["duration_seconds"])
    assert abs(begin - stamps[0]) < timedelta(seconds=2)
    # on a busy machine ticks are missed for other reasons: then the duration has them, too
    missed_count = payload["coverage"]["missed_samples"]
    assert abs(payload["sample_count"] + missed_count - payload["duration_seconds"] / 0.1) <= 2


@needs_unshare("setpriv", "mount")
@pytest.mark.parametrize(
    ("options", "uid", "said"),
    [
        ("hidepid=1", NOBODY, "reads of processes were refused"),
        ("hidepid=2", NOBODY, "hides processes"),
        ("hidepid=ptraceable", NOBODY, "hides processes"),
        (f"hidepid=2,gid={NOBODY}", NOBODY, ""),
        ("hidepid=2", "0", ""),
    ],
)
def test_a_mount_that_hides_processes(
    start: Callable[..., Running], options: str, uid: str, said: str
) -> None:
    """Visible processes are measured; the log says if others are hidden or refused."""
    unshare = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private")
    running = start(*unshare, "sh", "-c", HIDING, "sh", options, BURN, uid, DROP)
    running.samples(5)
    [shell] = _children(running.process.pid)
    theirs, ours, collector = _children(shell)
    their_pid, our_pid = _inner(theirs), _inner(ours)
    before_ns = read_process_clock(clock_id(ours))
    running.samples(3)
    least_ns = read_process_clock(clock_id(ours)) - before_ns
    payload = running.end(collector)
    cpu_by_pid = {p["pid"]: p["cpu_seconds"] for p in payload["top_cpu_processes"]}
    assert least_ns / 1e9 <= cpu_by_pid[our_pid] + 0.001
    assert (their_pid in cpu_by_pid) == (not said)
    total = sum(container["cpu_seconds"] for container in payload["containers"])
    seen = sum(cpu_by_pid.values())
    if {container["cpu_source"] for container in payload["containers"]} == {"ledger"}:
        assert total == pytest.approx(seen, rel=0.2, abs=0.05)
    else:  # the counter of a cgroup that all of us are in has the hidden, too
        assert total >= seen - 0.05
    refused_count = payload["coverage"]["denied"]
    if options == "hidepid=1":
        assert refused_count >= payload["sample_count"]
        assert f"{refused_count} {said}" in running.limited()
    assert said in running.limited()
    for other in {"reads of processes were refused", "hides processes"} - {said}:
        assert other not in running.limited()


def _inner(pid: int) -> int:
    """Return the pid in the innermost namespace."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
