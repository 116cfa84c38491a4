"""The collector as pid 1 of a pid namespace, as in a container of its own.

It sees no counters of cgroups there: what it reports is made of processes alone. The counter of
the cgroup that the work is in, read from outside, is the truth.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WAIT_SECONDS = 60.0
TWO_TICKS_SECONDS = 2 / os.sysconf("SC_CLK_TCK")
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
# $1: Python, $2: folder with burn.py, work.sh and what they make, $3: path of the collector's
# cgroup, $4: path of the cgroup of the work
START = """
mkdir "$2/cgroups"
mount --rbind /sys/fs/cgroup "$2/cgroups"
mount -t tmpfs none /sys/fs/cgroup
for one in cpu cpuacct memory pids; do echo $$ > "$2/cgroups/$one$3/cgroup.procs"; done
"""
BESIDE = START + 'sh -eu "$2/work.sh" "$@" &\nexec "$1" -I -m runmeter.collector --interval=100ms'
AROUND = (
    START + 'exec "$1" -I -m runmeter.collector --interval=100ms --summary-file="$2/summary" '
    '-- sh -eu "$2/work.sh" "$@"'
)
# every burner is the child of a shell that has ended: pid 1 waits for it
WORK = """
for one in cpu cpuacct memory pids; do echo $$ > "$2/cgroups/$one$4/cgroup.procs"; done
mkdir "$2/entered"
while [ ! -e "$2/go" ]; do sleep 0.02; done
for name in a b c; do sh -c '"$1" -I -S "$2/burn.py" "$3" & ' sh "$1" "$2" "$2/$name"; done
while [ ! -e "$2/a" ] || [ ! -e "$2/b" ] || [ ! -e "$2/c" ]; do sleep 0.02; done
exit 7
"""
BURN = """
import os, sys, time
while time.process_time() < 0.25:
    pass
os.mkdir(sys.argv[1])
"""


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Namespace:
    """Starts a script as pid 1, which becomes the collector, and lets the work begin."""

    def __init__(self, cgroups: Any, folder: Path) -> None:
        self.folder = folder
        self.own, self.container = cgroups.container(), cgroups.container()
        self.process: Any = None
        self._used_before_ns = 0
        (folder / "work.sh").write_text(WORK)
        (folder / "burn.py").write_text(BURN)

    def start(self, script: str) -> None:
        """Start the collector and, once it measures, the work."""
        paths = (sys.executable, self.folder, self.own.path, self.container.path)
        self.process = subprocess.Popen(
            [*NAMESPACE, "sh", "-euc", script, "sh", *paths],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        errors = iter(self.process.stderr.readline, "")
        assert any("run.started" in line for line in errors)
        _until((self.folder / "entered").exists)
        self._used_before_ns = self.container.read("cpuacct.usage")
        (self.folder / "go").touch()

    @property
    def used_seconds(self) -> float:
        """What the work has used since it began."""
        return float(self.container.read("cpuacct.usage") - self._used_before_ns) / 1e9

    def is_empty(self) -> bool:
        """Tell whether all processes of the work have ended; zombies count as well."""
        return bool(self.container.read("pids.current") == 0)

    def stop(self) -> None:
        """End what a failed test has left running: pid 1 takes all others with it."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def namespace(cgroups: Any, tmp_path: Path) -> Iterator[Namespace]:
    """Return a pid namespace to be started, with cgroups for the collector and for the work."""
    made = Namespace(cgroups, tmp_path)
    try:
        yield made
    finally:
        made.stop()


def test_as_pid_1_it_waits_for_orphans_and_reports_them(namespace: Namespace) -> None:
    """Beside the work no zombie is left, their CPU time is reported, SIGTERM ends it with 0."""
    namespace.start(BESIDE)
    _until(namespace.is_empty)
    used_seconds = namespace.used_seconds
    [collector] = namespace.own.pids()
    os.kill(collector, signal.SIGTERM)
    output, errors = namespace.process.communicate(timeout=WAIT_SECONDS)
    assert namespace.process.returncode == 0, errors
    name = namespace.container.path.rpartition("/")[2][:12]
    [found] = [c for c in json.loads(output)["containers"] if c["name"] == name]
    assert found["cpu_source"] == "ledger"
    assert used_seconds > 0.75
    assert abs(found["cpu_seconds"] - used_seconds) <= 0.03 * used_seconds + TWO_TICKS_SECONDS


def test_as_pid_1_around_a_command_orphans_are_the_commands(namespace: Namespace) -> None:
    """The exit code is kept, and what pid 1 waits for counts to the command."""
    namespace.start(AROUND)
    _, errors = namespace.process.communicate(timeout=WAIT_SECONDS)
    assert namespace.process.returncode == 7, errors
    summary = json.loads((namespace.folder / "summary").read_text())
    [found] = [c for c in summary["containers"] if c["name"] == "command"]
    used_seconds = namespace.used_seconds
    assert used_seconds > 0.75
    assert abs(found["cpu_seconds"] - used_seconds) <= 0.03 * used_seconds + TWO_TICKS_SECONDS
