"""A measured machine at its edges: a collector that was stopped, clocks that jump, hidden pids."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runmeter.collector.clock import clock_id, read_process_clock

WAIT_SECONDS = 30
PROGRAM = (sys.executable, "-I", "-m", "runmeter.collector", "--interval=100ms")
NOBODY = "65534"
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
HIDING = """
mount -t proc -o hidepid={0} proc /proc || exit 77
sleep 60 &
setpriv --reuid={1} --regid={1} --clear-groups "$@"
exit $?
"""


class Running:
    """A collector whose samples are awaited one by one."""

    def __init__(self, argv: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
        self.process = subprocess.Popen(
            argv, env=environment, cwd=folder, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.lines: list[dict[str, Any]] = []

    def samples(self, count: int) -> None:
        """Read the log until so many samples more were taken."""
        assert self.process.stderr is not None
        while count:
            line = self.process.stderr.readline()
            assert line, self.lines
            self.lines.append(json.loads(line))
            count -= self.lines[-1].get("event") == "sample.taken"

    def end(self) -> dict[str, Any]:
        """End the run; return the payload."""
        self.process.terminate()
        output, errors = self.process.communicate(timeout=WAIT_SECONDS)
        assert self.process.returncode == 0, errors
        self.lines += [json.loads(line) for line in errors.splitlines()]
        return dict(json.loads(output))

    def limited(self) -> str:
        """Return what the log says could not be seen."""
        return "".join(
            str(line["reason"]) for line in self.lines if line.get("event") == "run.limited"
        )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Return the starter of collectors that log every sample."""
    started: list[Running] = []

    def begin(*before: str, **variables: str) -> Running:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C"}
        argv = (*before, *PROGRAM, "--log-level=debug")
        started.append(Running(argv, {**environment, **variables}, tmp_path))
        return started[-1]

    yield begin
    for running in started:
        running.process.kill()
        running.process.communicate()


@pytest.fixture
def burner() -> Iterator[int]:
    """Return the pid of a process that uses all it can get of one core."""
    code = "print(flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.kill()
    process.communicate()


def test_a_stopped_collector_makes_nothing_up(start: Callable[..., Running], burner: int) -> None:
    """Snapshots that were missed are counted, the time they span is one interval, no CPU is lost.

    As on a suspended machine, but that there the processes stand still as well.
    """
    before_ns = read_process_clock(clock_id(burner))
    running = start()
    running.samples(4)
    first_ns = read_process_clock(clock_id(burner))
    running.process.send_signal(signal.SIGSTOP)
    time.sleep(1.2)
    running.process.send_signal(signal.SIGCONT)
    running.samples(4)
    last_ns = read_process_clock(clock_id(burner))
    payload = running.end()
    after_ns = read_process_clock(clock_id(burner))
    coverage = payload["coverage"]
    assert coverage["missed_samples"] >= 10
    taken = payload["sample_count"] + coverage["missed_samples"]
    assert abs(taken - payload["duration_seconds"] / 0.1) <= 2
    [entry] = [p for p in payload["top_cpu_processes"] if p["pid"] == burner]
    assert (last_ns - first_ns) / 1e9 <= entry["cpu_seconds"] <= (after_ns - before_ns) / 1e9
    assert entry["peak_cpu_percent"] <= 110
    assert payload["cpu_total_percent"]["peak"] <= 100
    assert "snapshots could not be taken in time" in running.limited()


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime (Debian: faketime)")
@pytest.mark.parametrize("hours", [72, -72])
def test_a_jump_of_the_wall_clock(
    start: Callable[..., Running], tmp_path: Path, hours: int
) -> None:
    """Durations are monotonic: a clock set anew in the middle of a run moves the log alone."""
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    running = start(
        LD_PRELOAD=str(FAKETIME), FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )  # fmt: skip
    started = time.monotonic()
    running.samples(4)
    seen = time.monotonic()
    clock.write_text(f"{hours * 3600:+d}\n")
    running.samples(6)
    payload = running.end()
    lived = time.monotonic() - started
    stamps = [datetime.fromisoformat(line["timestamp"]) for line in running.lines]
    assert abs(stamps[-1] - stamps[0]) > timedelta(hours=71)  # it did jump
    assert time.monotonic() - seen >= 0.5
    assert 0.5 <= payload["duration_seconds"] <= lived
    begin, end = (datetime.fromisoformat(payload[f"{name}_time"]) for name in ("start", "end"))
    assert end - begin == timedelta(seconds=payload["duration_seconds"])
    assert payload["coverage"]["missed_samples"] <= lived / 0.1
    # CPU time is left out: libfaketime moves the CPU clocks of processes as well


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(shutil.which(name) for name in ("unshare", "setpriv", "mount")),
    reason="needs root, unshare, setpriv and mount",
)
@pytest.mark.parametrize("hidepid", [1, 2])
def test_a_mount_that_hides_processes(start: Callable[..., Running], hidepid: int) -> None:
    """What is in sight is measured; that others are hidden, or refused, is said."""
    script = HIDING.format(hidepid, NOBODY)
    unshare = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private")
    running = start(*unshare, "sh", "-c", script, "sh")
    running.samples(4)
    [shell] = _children(running.process.pid)
    _, collector = _children(shell)
    os.kill(collector, signal.SIGTERM)
    output, errors = running.process.communicate(timeout=WAIT_SECONDS)
    running.lines += [json.loads(line) for line in errors.splitlines()]
    payload = json.loads(output)
    assert payload["sample_count"] >= 4
    assert payload["containers"]
    assert payload["coverage"]["denied"] >= (hidepid == 1)
    assert ("were refused" if hidepid == 1 else "hides processes") in running.limited()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
