"""Containers on a machine whose /proc is not as usual, measured by the real program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runmeter.procfs import ProcFS

WAIT_SECONDS = 120
MEBIBYTE = 2**20
PROGRAM = (sys.executable, "-I", "-m", "runmeter.collector", "--interval=100ms")
BAD_STAT = 'sed "$1" /proc/stat >stat; mount --bind stat /proc/stat; shift; exec "$@"'
# holds memory, ends its main thread, and uses CPU time for each line it gets
MAIN_ENDS = """
import ctypes, os, sys, threading, time
held = b"x" * (60 << 20)
def burn():
    for line in sys.stdin:
        end = time.thread_time() + float(line)
        while time.thread_time() < end:
            pass
        print("done", flush=True)
    os._exit(0)
threading.Thread(target=burn).start()
SYS_exit = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
print("ready", flush=True)
ctypes.CDLL(None).syscall(SYS_exit, 0)
"""


class Collector:
    """A collector that logs its samples."""

    def __init__(self, folder: Path, before: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            [*before, *PROGRAM, "--log-level=debug", "--top=1000"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._limit = threading.Timer(WAIT_SECONDS, self._process.kill)
        self._limit.start()

    def samples(self, count: int) -> None:
        """Wait for so many more samples."""
        assert self._process.stderr is not None
        while count:
            line = self._process.stderr.readline()
            assert line
            count -= json.loads(line)["event"] == "sample.taken"

    def end(self) -> dict[str, Any]:
        """End the run; return its payload."""
        self._process.send_signal(signal.SIGTERM)
        output, errors = self._process.communicate(timeout=WAIT_SECONDS)
        assert self._process.returncode == 0, errors
        payload: dict[str, Any] = json.loads(output)
        return payload

    def close(self) -> None:
        """End it, if it runs."""
        self._limit.cancel()
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def collect(tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    """Return the starter of collectors, by these words."""
    started: list[Collector] = []

    def begin(*before: str) -> Collector:
        started.append(Collector(tmp_path, before))
        started[-1].samples(1)
        return started[-1]

    yield begin
    for collector in started:
        collector.close()


def _container(payload: dict[str, Any], cgroup: Any) -> dict[str, Any]:
    name = cgroup.path.rpartition("/")[2][:12]
    [found] = [c for c in payload["containers"] if c["name"] == name]
    return dict(found)


@pytest.mark.parametrize(
    "edit", ["s/^processes.*/processes -2045677862/", "s/^cpu .*/cpu x/", "/^cpu/d"]
)
def test_counters_do_not_depend_on_the_machines_stat(
    cgroups: Any, collect: Callable[..., Collector], edit: str
) -> None:
    """Whatever /proc/stat holds, the kernel's counters of a container are used."""
    container = cgroups.container()
    worker = cgroups.start(container)
    unshare = ("unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", BAD_STAT, "sh")
    collector = collect(*unshare, edit)
    before_ns = container.read("cpuacct.usage")
    worker.tell("hold", 20 * MEBIBYTE)
    worker.tell("burn", 0.3)
    used_seconds = (container.read("cpuacct.usage") - before_ns) / 1e9
    collector.samples(2)
    found = _container(collector.end(), container)
    assert found["cpu_source"] == "cgroup"
    assert found["cpu_seconds"] == pytest.approx(used_seconds, abs=0.005)
    assert found["memory_cgroup_bytes"]["peak"] >= 20 * MEBIBYTE
    assert found["oom_kills"] == 0


@pytest.mark.parametrize("starts_before", [True, False])
def test_a_process_whose_main_thread_has_ended(
    cgroups: Any, collect: Callable[..., Collector], starts_before: bool
) -> None:
    """Its memory and CPU time count to its container, by the threads that run on."""
    collector = None if starts_before else collect()
    container = cgroups.container()
    entries = [str(folder / "cgroup.procs") for folder in container.folders]
    enter = 'for entry; do echo $$ >"$entry"; done; exec "$0" -I -S -c "$CODE"'
    with subprocess.Popen(
        ["sh", "-e", "-c", enter, sys.executable, *entries],
        env={"CODE": MAIN_ENDS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        proc = ProcFS("/proc", os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK"))
        deadline = time.monotonic() + WAIT_SECONDS
        while proc.proc_stat(process.pid).state != "Z":
            assert time.monotonic() < deadline
        collector = collector or collect()
        before_ns = container.read("cpuacct.usage")
        print(0.2, file=process.stdin, flush=True)
        assert process.stdout.readline() == "done\n"
        used_seconds = (container.read("cpuacct.usage") - before_ns) / 1e9
        collector.samples(2)
        payload = collector.end()
        process.stdin.close()
    found = _container(payload, container)
    assert found["cpu_source"] == "cgroup"
    assert found["cpu_seconds"] >= used_seconds - 0.005
    assert found["memory_bytes"]["peak"] >= 60 * MEBIBYTE
    assert found["memory_cgroup_bytes"]["peak"] >= 60 * MEBIBYTE
    [listed] = [p for p in payload["top_mem_processes"] if p["pid"] == process.pid]
    assert listed["peak_mem_bytes"] >= 60 * MEBIBYTE
