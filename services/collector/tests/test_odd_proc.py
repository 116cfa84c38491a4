"""Files of /proc that are not what Linux writes: emulated, frozen, malformed or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rig.namespaces import needs_unshare

WAIT_SECONDS = 120
INSIDE = (
    *("unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private"),
    "--mount-proc",
)
# writes a copy of a file of /proc again and again, changed by sed, as one write
COPY = """
import os, subprocess, sys, time
source, target, edit, pause = sys.argv[1:]
descriptor = os.open(target, os.O_RDWR)
while True:
    text = subprocess.run(["sed", "-e", edit, source], capture_output=True).stdout
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))
    time.sleep(float(pause))
"""
PREPARE = f"""
set -e
file=$1 edit=$2 pause=$3; shift 3
mkdir real; mount -t proc proc real
sed -e "$edit" real/$file >copy
if [ $pause != never ]; then
    {sys.executable} -I -c '{COPY}' real/$file copy "$edit" $pause &
fi
mount --bind copy /proc/$file
exec "$@"
"""
BURN = """
import time
while time.process_time() < 0.6: pass
print(time.process_time())
"""
COMMAND = (sys.executable, "-I", "-S", "-c", BURN)
PROGRAM = (sys.executable, "-I", "-m", "runmeter.collector", "--interval=200ms", "--top=1000")


class Done(NamedTuple):
    """A run that has ended; ``cpu_seconds`` is what the command says that it used."""

    payload: dict[str, Any]
    limited: str
    cpu_seconds: float

    @property
    def coverage(self) -> dict[str, Any]:
        """Return what could be measured."""
        coverage: dict[str, Any] = self.payload["coverage"]
        return coverage

    def assert_measured(self, container: dict[str, Any]) -> None:
        """Fail unless a container has what the command used, at a rate that the machine has."""
        assert self.cpu_seconds - 0.02 <= container["cpu_seconds"] <= self.cpu_seconds + 0.2
        assert container["cpu_cores"]["peak"] <= 1.2
        assert container["memory_bytes"]["peak"] > 2**20


def _measure(folder: Path, *before: str, flags: tuple[str, ...] = ()) -> Done:
    """Measure a command that uses CPU time, with a collector behind these words."""
    summary = folder / "summary.json"
    wrapped = flags if "--" in flags else (*flags, "--")
    done = subprocess.run(
        [*before, *PROGRAM, f"--summary-file={summary}", *wrapped, *COMMAND],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    limited = [line["reason"] for line in lines if line.get("event") == "run.limited"]
    payload = json.loads(summary.read_text())
    return Done(payload, "".join(limited), float(done.stdout.splitlines()[0]))


def _measure_with(folder: Path, file: str, edit: str, pause: str) -> Done:
    """Measure where a file of /proc is a copy, changed by sed and renewed so often."""
    return _measure(folder, *INSIDE, "sh", "-c", PREPARE, "sh", file, edit, pause)


@needs_unshare("mount")
@pytest.mark.parametrize(
    ("edit", "pause"),
    [
        ("s/.*/0.00 0.00 0.00 0\\/0 0/", "never"),  # gVisor
        ("", "never"),  # frozen
        ("", "2"),  # LXCFS renews it every 5 s
    ],
    ids=["constant", "frozen", "late"],
)
def test_a_loadavg_that_does_not_follow(tmp_path: Path, edit: str, pause: str) -> None:
    """Processes that start are found in the next scan, whatever it shows."""
    done = _measure_with(tmp_path, "loadavg", edit, pause)
    [command] = [c for c in done.payload["containers"] if c["name"] == "command"]
    done.assert_measured(command)


@needs_unshare("mount")
@pytest.mark.parametrize(
    "edit",
    ["s/^processes.*/processes -2045677862/", "s/^ctxt.*/ctxt/", "/^btime/d", "s/^intr.*/intr x/"],
)
def test_a_line_of_stat_that_is_not_used(tmp_path: Path, edit: str) -> None:
    """It affects nothing else: the machine's CPU time and number of CPUs are there."""
    done = _measure_with(tmp_path, "stat", edit, "0.02")
    assert 0 < done.payload["cpu_total_percent"]["peak"] <= 100
    assert done.payload["host"]["cpu_count"] == os.sysconf("SC_NPROCESSORS_ONLN")
    assert done.coverage["unreadable"] == 0
    assert "/proc/stat" not in done.limited


@needs_unshare("mount")
@pytest.mark.parametrize(
    ("file", "edit", "absent", "named"),
    [
        ("stat", "s/^cpu .*/cpu  1 2 x 4/", "cpu_total_percent", "/proc/stat: cpu"),
        ("stat", "/^cpu[0-9]/d", "cpu_count", "/proc/stat: cpu0"),
        ("meminfo", "s/^MemAvailable.*/MemAvailable: -4 kB/", "mem_used_bytes", "MemAvailable"),
        ("meminfo", "/^MemTotal/d", "memory_total_bytes", "MemTotal"),
    ],
)
def test_a_value_of_the_machine_that_cannot_be_read(
    tmp_path: Path, file: str, edit: str, absent: str, named: str
) -> None:
    """It alone is absent, and it is said: in the log by name, in the coverage as a count."""
    done = _measure_with(tmp_path, file, edit, "0.02")
    [command] = [c for c in done.payload["containers"] if c["name"] == "command"]
    done.assert_measured(command)
    present = {"cpu_total_percent", "mem_used_bytes", "cpu_count", "memory_total_bytes"}
    present -= {*done.payload, *done.payload["host"]}
    assert present == ({absent, "mem_used_bytes"} if absent == "memory_total_bytes" else {absent})
    assert done.coverage["unreadable"] > 0
    assert named in done.limited


@needs_unshare("mount")
def test_a_stat_without_cpu_time(tmp_path: Path) -> None:
    """gVisor writes zeros: the machine's CPU time is absent, which is said."""
    done = _measure_with(tmp_path, "stat", "s/^cpu .*/cpu  0 0 0 0 0 0 0 0 0 0/", "0.02")
    assert "cpu_total_percent" not in done.payload
    assert "/proc/stat: CPU time that grows" in done.limited
    assert done.coverage["unreadable"] == 1


@needs_unshare("umount")
def test_without_a_cgroup_file_system(tmp_path: Path) -> None:
    """Where /sys/fs/cgroup is empty there are no kernel's counters, which is said."""
    script = 'umount -R -l /sys/fs/cgroup; exec "$@"'
    done = _measure(tmp_path, *INSIDE, "sh", "-c", script, "sh")
    [command] = [c for c in done.payload["containers"] if c["name"] == "command"]
    done.assert_measured(command)
    assert "/sys/fs/cgroup" in done.limited
    assert done.coverage["unreadable"] == 1


# a mount of /proc in which no process has a readable cgroup: links to all that is used but it
WITHOUT_CGROUPS = """
set -e
mkdir -p proc/$$
for file in stat meminfo; do ln -s /proc/$file proc/$file; done
ln -s $$ proc/self
for file in stat statm status mountinfo; do ln -s /proc/$$/$file proc/$$/$file; done
case $1 in folder) mkdir proc/$$/cgroup;; empty) touch proc/$$/cgroup;; esac
shift
exec "$@"
"""


@pytest.mark.parametrize("kind", ["missing", "folder", "empty"])
def test_without_cgroups(tmp_path: Path, kind: str) -> None:
    """All visible processes are one container; the log says that no cgroup can be read."""
    flags = ("--proc-path=proc", "--all-containers")
    done = _measure(tmp_path, "sh", "-c", WITHOUT_CGROUPS, "sh", kind, flags=flags)
    containers = {found["name"]: found for found in done.payload["containers"]}
    assert containers.keys() == {"/", "command"}  # of the command only CPU time can be known
    assert "memory_bytes" not in containers["command"]
    assert containers["/"]["memory_bytes"]["peak"] > 2**20
    assert done.payload["top_mem_processes"]
    if kind != "empty":
        assert done.coverage["unreadable"] > 0
        assert "/proc/<pid>/cgroup" in done.limited
    assert "cgroup_version" not in done.payload["host"]


# the command's shell has a stat in which the time of its children cannot be
NEGATIVE_CHILDREN = """
sed -E 's/^(([^ ]+ ){15})[^ ]+ [^ ]+/\\1'"$1"'/' /proc/$$/stat >stat
mount --bind stat /proc/$$/stat
shift
"$@" &
wait $!
"""


@needs_unshare("mount")
@pytest.mark.parametrize("times", ["-1 0", "0 9223372036854775808", "-9223372036854775808 x"])
def test_a_time_of_children_that_cannot_be(tmp_path: Path, times: str) -> None:
    """The process is still measured, its children keep their time, and the log says so."""
    command = ("sh", "-c", NEGATIVE_CHILDREN, "sh", times)
    done = _measure(tmp_path, *INSIDE, flags=("--", *command))
    [container] = [c for c in done.payload["containers"] if c["name"] == "command"]
    assert container["cpu_seconds"] >= done.cpu_seconds - 0.25  # of its last interval nothing
    assert "/proc/<pid>/stat: cutime, cstime" in done.limited
    assert "sh" in {process["name"] for process in done.payload["top_mem_processes"]}
