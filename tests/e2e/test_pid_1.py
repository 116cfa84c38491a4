"""Pid 1 is the job, and no counter can be read: its children that were never seen are counted."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rig import pod as pods
from rig.pod import Pod
from rig.programs import BIN, Stage

MISSING = pods.missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs root and writable cgroups, version 1: {MISSING}"
    ),
]
WAIT_SECONDS = 60.0
BASE: str = sys._base_executable  # type: ignore[attr-defined]
HIDE = ("/bin/sh", "-ec", 'mount -t tmpfs none /sys/fs/cgroup; exec "$@"', "sh")
BURN = f"{BASE} -I -S -c 'import time\nwhile time.process_time() < %s: pass'"
SHELL = "i=0; while [ $i -lt 9000 ]; do i=$((i+1)); done"
# waits for its turn, works through children alone, stays without running
APP = f"""
import pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
while not (folder / "go").exists():
    time.sleep(0.01)
for _ in range(80):
    subprocess.run(["sh", "-c", {SHELL!r}])
(folder / "done").touch()
signal.pause()
"""
SHELLS = f"""
until [ -e "$1/go" ]; do sleep 0.02; done
for n in $(seq 80); do sh -c '{SHELL}'; done
: >"$1/done"
exec sleep 600
"""
FIRSTS: dict[str, tuple[str, ...]] = {
    "an app": (BASE, "-I", "-S", "-c", APP),
    "a loop of short shells": ("/bin/sh", "-c", SHELLS, "sh"),
}


def await_file(path: Path) -> None:
    """Wait until a program has made a file."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def measured(stage: Stage, pod: Pod, folder: Path) -> dict[str, dict[str, Any]]:
    """Measure the job's work with a collector in a container of its own; return the containers."""
    summary = folder / "summary.json"
    argv = (BIN / "collector", "--interval=1h", f"--summary-file={summary}")
    collector = pod.start(*HIDE, *argv)
    collector.program.event("run.started")
    (folder / "go").touch()
    await_file(folder / "done")
    os.kill(collector.pid("collector"), signal.SIGTERM)
    assert collector.program.wait() == 0
    payload = json.loads(summary.read_text())
    assert {one["cpu_source"] for one in payload["containers"]} == {"ledger"}
    return {one["name"]: one for one in payload["containers"]}


@pytest.mark.parametrize("first", FIRSTS)
def test_the_first_process_of_the_job(stage: Stage, tmp_path: Path, first: str) -> None:
    """Beside a job that is pid 1, as with ``--pid container:job``, its CPU time is the kernel's."""
    program, *arguments = FIRSTS[first]
    init = (pods.link(tmp_path, "job", program), *arguments, str(tmp_path))
    pod = Pod(stage, "cgroupfs", cgroup_namespace=False, init=init)
    try:
        before = pod.first.cpu_seconds()
        found = measured(stage, pod, tmp_path)
        used = pod.first.cpu_seconds() - before
    finally:
        pod.close()
    # two ticks are rounded away, and 80 short processes lose some tens of microseconds each
    assert used > 0.1
    assert found[pod.first.container_id[:12]]["cpu_seconds"] == pytest.approx(used, rel=0.1)


def test_a_shell_that_starts_the_collector(stage: Stage, tmp_path: Path) -> None:
    """A shell as pid 1 starts the collector, works, and ends it: the work is in the payload."""
    summary = tmp_path / "summary.json"
    script = f"""
    mount -t tmpfs none /sys/fs/cgroup
    {BIN}/collector --summary-file={summary} 2>log & K=$!
    until grep -q run.started log; do sleep 0.05; done
    {BURN % 0.4}
    kill -TERM $K; wait $K
    """
    unshare = ("--pid", "--fork", "--kill-child", "--mount", "--propagation", "private")
    program = stage.start("unshare", *unshare, "--mount-proc", "sh", "-c", script)
    assert program.wait() == 0, program.text
    containers = json.loads(summary.read_text())["containers"]
    # what the shell and its other commands use is some milliseconds
    assert 0.39 <= sum(one["cpu_seconds"] for one in containers) < 0.8
