"""Processes of which a collector can know nothing but that there were some, as `kubectl exec`."""

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
# started and waited for from outside of the pod: a shell and its child
COMMAND = f"{BASE} -I -S -c 'import time\nwhile time.process_time() < 0.05: pass'; true"
# waits for its turn, starts what is to be counted, stays
WORK = """
import os, pathlib, signal, sys, threading, time
folder = pathlib.Path(sys.argv[1])
(folder / "go").exists()  # so that the first snapshot shows the page faults of all this
(folder / "ready").touch()
if sys.argv[2] == "nothing":
    signal.pause()
while not (folder / "go").exists():
    time.sleep(0.05)
for _ in range(40):
    if sys.argv[2] == "children":
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    elif sys.argv[2] == "threads":
        thread = threading.Thread(target=time.sleep, args=[0])
        thread.start()
        thread.join()
(folder / "done").touch()
signal.pause()
"""


class Measured:
    """A pod with one visible process, and a collector in it."""

    def __init__(self, stage: Stage, folder: Path, work: str) -> None:
        self._folder = folder
        self.pod = Pod(stage, "cgroupfs", cgroup_namespace=False)
        self.worker = self.pod.start(BASE, "-I", "-S", "-c", WORK, folder, work)
        self._await("ready")
        flags = ("--interval=1h", f"--summary-file={folder / 'summary.json'}")
        self.collector = self.pod.start(BIN / "collector", *flags)
        self.collector.program.event("run.started")

    def work(self) -> None:
        """Let the visible process do its work."""
        (self._folder / "go").touch()
        self._await("done")

    def _await(self, name: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (self._folder / name).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> dict[str, Any]:
        """End the collector; return coverage and the reason of what is limited."""
        os.kill(self.collector.pid("collector"), signal.SIGTERM)
        assert self.collector.program.wait() == 0
        summary = json.loads((self._folder / "summary.json").read_text())
        limited = [line["reason"] for line in self.collector.program.events("run.limited")]
        return {**summary["coverage"], "limited": "; ".join(limited)}


@pytest.mark.parametrize("count", [0, 1, 5])
def test_what_is_started_from_outside(stage: Stage, tmp_path: Path, count: int) -> None:
    """Each command that the pod's namespace is entered for is two pids that nothing explains."""
    measured = Measured(stage, tmp_path, "nothing")
    try:
        for _ in range(count):
            assert measured.pod.start("/bin/sh", "-c", COMMAND).program.wait() == 0
        found = measured.end()
    finally:
        measured.pod.close()
    assert found["unattributed_births"] == 2 * count
    assert (f"{2 * count} processes (or threads) started and ended" in found["limited"]) == (
        count > 0
    )


@pytest.mark.parametrize("work", ["children", "threads"])
def test_what_a_process_in_sight_has_started(stage: Stage, tmp_path: Path, work: str) -> None:
    """Children and threads of a process that snapshots show are accounted for by the ledger."""
    measured = Measured(stage, tmp_path, work)
    try:
        measured.work()
        found = measured.end()
    finally:
        measured.pod.close()
    assert found["unattributed_births"] == 0
    assert "started and ended" not in found["limited"]
