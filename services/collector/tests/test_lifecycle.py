"""No run is lost, tested with real processes: checkpoints, kills, pushers that fail."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from rig.disks import Disk, mounted
from rig.namespaces import needs_unshare

from runmeter.collector.cgroups.discovery import CGROUP_ROOT, hierarchies
from runmeter.collector.spool.format import decode
from runmeter.collector.spool.locks import is_held
from runmeter.v1 import run_pb2
from runmeter.v1.json_reading import run_from_json

WAIT_SECONDS = 60.0
NOWHERE = "grpc://127.0.0.1:1"
PROGRAM = (sys.executable, "-I", "-m", "runmeter.collector", "--interval=100ms")
OFTEN = "--checkpoint-interval=100ms"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "GITHUB_REPOSITORY": "my-org/my-repo",
    "GITHUB_WORKFLOW": "ci.yml",
    "GITHUB_JOB": "build",
    "COLLECTOR_PUSH_TOKEN": "t0ken",
}
# a job that starts children and leaves orphans until a file exists; it prints their CPU time
JOB = """
import os, sys, time
def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
reading, writing = os.pipe()
orphans_seconds = 0.0
while not os.path.exists(sys.argv[1]):
    burn(0.02)
    child = os.fork()
    if not child:
        if not os.fork():
            os.setsid()
            burn(0.02)
            os.write(writing, b"%d " % (1e6 * time.process_time()))
            os._exit(0)
        burn(0.02)
        os._exit(0)
    os.waitpid(child, 0)
os.close(writing)
orphans = sum(map(int, open(reading).read().split())) / 1e6
print(sum(os.times()[:4]) + orphans)
"""


def until(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds; return what it returned."""
    end = time.monotonic() + WAIT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.002)
    return found


class Collectors:
    """Collectors that share one spool."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self._started: list[Any] = []
        self.stopped: list[int] = []  # pids that were stopped, which nothing else might end

    def start(
        self, endpoint: str, *argv: str, before: tuple[str, ...] = (), **settings: Any
    ) -> Any:
        """Start one; its log is written to a file of its own."""
        log = self.folder / f"log-{len(self._started)}"
        flags = (f"--spool-dir={self.spool}", *([f"--push-endpoint={endpoint}"] * bool(endpoint)))
        with log.open("wb") as errors:
            process: Any = subprocess.Popen(
                [*before, *PROGRAM, *flags, *argv],
                env=ENVIRONMENT, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, text=True, **{"stderr": errors, **settings},
            )  # fmt: skip
        process.log = log
        self._started.append(process)
        return process

    def end(self, process: Any) -> str:
        """Wait for its end; return its output."""
        return str(process.communicate(timeout=WAIT_SECONDS)[0])

    def run(self, endpoint: str, *argv: str, **settings: Any) -> Any:
        """Run one to its end."""
        process = self.start(endpoint, *argv, **settings)
        process.output = self.end(process)
        return process

    @property
    def files(self) -> list[Path]:
        """The runs in the spool."""
        return sorted(self.spool.glob("*.json"))

    def kept(self) -> list[dict[str, Any]]:
        """Read the runs in the spool."""
        return [decode(path.read_bytes()) for path in self.files]

    def checkpoint(self, revision: int = 1) -> dict[str, Any]:
        """Wait for a checkpoint of a revision or a later one."""
        until(lambda: any(run["revision"] >= revision for run in self.kept()))
        return self.kept()[0]

    def stop(self) -> None:
        """End what a failed test has left running."""
        for process in self._started:
            process.kill()
            process.wait()
            process.stdout.close()
        for pid in self.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def events(process: Any, name: str) -> list[dict[str, Any]]:
    """Return a collector's log lines of an event, its pusher's among them."""
    whole = process.log.read_text().rpartition("\n")[0]  # what follows is being written
    lines = (line for line in whole.splitlines() if line.startswith("{"))
    return [found for line in lines if (found := json.loads(line)).get("event") == name]


@pytest.fixture
def collectors(tmp_path: Path) -> Iterator[Collectors]:
    """Return collectors with a spool of their own."""
    collectors = Collectors(tmp_path)
    yield collectors
    collectors.stop()


# -- checkpoints --------------------------------------------------------------------------


def test_a_killed_collector_leaves_the_run_so_far(collectors: Collectors) -> None:
    """After the first checkpoint SIGKILL leaves one whole file: running, with a valid payload."""
    process = collectors.start(NOWHERE, "--checkpoint-push=9m")
    run = collectors.checkpoint()
    process.kill()
    process.wait()
    assert collectors.kept() == [run]
    assert (run["state"], run["revision"], run["next_push_within_seconds"]) == ("running", 1, 540)
    assert run["payload"]["sample_count"] == 1
    assert run["payload"]["containers"]
    message = run_from_json(run)
    assert message.state == run_pb2.RUN_STATE_RUNNING
    assert list(collectors.spool.glob("*.tmp")) == []


def test_each_checkpoint_and_the_end_raise_the_revision(
    collectors: Collectors, receiver: Any
) -> None:
    """Each checkpoint has more samples than the one before; the run is pushed once, completed."""
    process = collectors.start(receiver.endpoint, OFTEN)
    first = collectors.checkpoint()
    later = collectors.checkpoint(revision=first["revision"] + 3)
    assert later["push_id"] == first["push_id"]
    assert later["payload"]["sample_count"] > first["payload"]["sample_count"]
    process.send_signal(signal.SIGTERM)
    assert collectors.end(process) == ""
    assert process.returncode == 0
    pushed = receiver.pushes.get_nowait().run
    assert receiver.pushes.empty()
    assert pushed.state == run_pb2.RUN_STATE_COMPLETED
    assert pushed.revision > later["revision"]
    assert not pushed.HasField("next_push_within_seconds")
    assert os.listdir(collectors.spool) == []


@pytest.mark.parametrize("spool_dir", ["spool", "/dev/null/x"])
def test_a_long_run_is_pushed_while_it_goes_on(
    collectors: Collectors, receiver: Any, spool_dir: str
) -> None:
    """Every --checkpoint-push the run arrives as running, in order, even without a spool."""
    process = collectors.start(
        receiver.endpoint, f"--spool-dir={spool_dir}", OFTEN, "--checkpoint-push=1s"
    )
    pushed = [receiver.pushes.get(timeout=WAIT_SECONDS).run for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    collectors.end(process)
    assert process.returncode == 0
    pushed.append(until(lambda: _completed(receiver)))
    assert [run.state for run in pushed[:2]] == [run_pb2.RUN_STATE_RUNNING] * 2
    assert {run.next_push_within_seconds for run in pushed[:2]} == {1.0}
    assert len({run.push_id for run in pushed}) == 1
    revisions = [run.revision for run in pushed]
    assert revisions == sorted(set(revisions))
    assert pushed[1].payload.sample_count > pushed[0].payload.sample_count >= 8
    assert len(events(process, "spool.failed")) == (spool_dir != "spool")


def _completed(receiver: Any) -> Any:
    run = receiver.pushes.get(timeout=WAIT_SECONDS).run
    return run if run.state == run_pb2.RUN_STATE_COMPLETED else None


@pytest.mark.slow
def test_a_push_that_hangs_delays_neither_checkpoints_nor_the_end(
    collectors: Collectors, held: Any
) -> None:
    """While the receiver does not answer, checkpoints are written, and the run ends."""
    flags = (OFTEN, "--checkpoint-push=1s", "--shutdown-timeout=1s")
    process = collectors.start(held.endpoint, *flags)
    hanging = held.pushes.get(timeout=WAIT_SECONDS).run
    collectors.checkpoint(revision=hanging.revision + 3)
    process.send_signal(signal.SIGTERM)
    collectors.end(process)
    assert process.returncode == 3
    [run] = collectors.kept()
    assert run["state"] == "completed"


def test_without_an_endpoint_nothing_is_kept(collectors: Collectors) -> None:
    """Without an endpoint there is no spool."""
    collectors.run("", OFTEN, "--", "sleep", "0.3")
    assert not collectors.spool.exists()


def test_checkpoints_are_written_without_a_token(collectors: Collectors, receiver: Any) -> None:
    """Without a token a killed collector leaves the run so far; no checkpoint is pushed."""
    flags = (OFTEN, "--checkpoint-push=1s", "--", "sleep", "60")
    before = ("env", "-u", "COLLECTOR_PUSH_TOKEN")
    process = collectors.start(receiver.endpoint, *flags, before=before, start_new_session=True)
    run = collectors.checkpoint(revision=15)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert run["state"] == "running"
    assert receiver.pushes.empty()
    collectors.run(receiver.endpoint, "--", "true")
    pushed = [receiver.pushes.get_nowait().run for _ in range(2)]
    assert [found.state for found in pushed] == [
        run_pb2.RUN_STATE_COMPLETED,
        run_pb2.RUN_STATE_INTERRUPTED,
    ]


def test_checkpoints_can_be_turned_off(collectors: Collectors) -> None:
    """With both at 0 only the end is written: its revision is the first."""
    off = ("--checkpoint-interval=0", "--checkpoint-push=0", "--shutdown-timeout=1s")
    process = collectors.run(NOWHERE, *off, "--", "sh", "-c", "sleep 0.3; ls spool")
    assert ".json" not in process.output
    assert [run["revision"] for run in collectors.kept()] == [1]


# -- checkpoints around a command ---------------------------------------------------------


def _summary(collectors: Collectors) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((collectors.folder / "summary.json").read_text())
    return found


def _job(collectors: Collectors) -> tuple[str, ...]:
    return ("--", sys.executable, "-I", "-c", JOB, str(collectors.folder / "enough"))


def _end_job(collectors: Collectors, process: Any) -> None:
    (collectors.folder / "enough").touch()
    process.output = collectors.end(process)


def test_checkpoints_do_not_disturb_the_accounting(collectors: Collectors, receiver: Any) -> None:
    """Twenty checkpoints, some of them pushed, change the command's CPU by at most 5 ticks.

    None of the checkpoint processes is part of the command.
    """
    flags = (OFTEN, "--checkpoint-push=1s", "--summary-file=summary.json", "--top=1000")
    process = collectors.start(receiver.endpoint, *flags, *_job(collectors))
    collectors.checkpoint(revision=20)
    until(lambda: receiver.pushes.qsize() >= 2)
    _end_job(collectors, process)
    pushed = [receiver.pushes.get_nowait().run for _ in range(receiver.pushes.qsize())]
    assert len(pushed) > 2
    assert max(run.revision for run in pushed) > 20
    payload = _summary(collectors)
    [command] = [c for c in payload["containers"] if c["name"] == "command"]
    # python starts before os.times() is asked, and is still there when it has answered
    assert command["cpu_seconds"] == pytest.approx(float(process.output), abs=0.05)
    listed = [p for p in payload["top_mem_processes"] if p["container"] == "command"]
    assert listed
    assert max(p["peak_mem_bytes"] for p in listed) < 20 * 2**20  # a pusher has more
    assert payload["coverage"]["self_cpu_seconds"] > 0.05


@pytest.mark.slow
@needs_unshare()
def test_checkpoints_below_the_mount_of_another_pid_namespace(
    collectors: Collectors, receiver: Any
) -> None:
    """With a /proc of another pid namespace, checkpoint processes are still recognized."""
    outer = collectors.folder / "outer"
    outer.mkdir()
    script = f'mount --bind /proc {outer} && exec unshare --pid --fork --mount-proc "$@"'
    before = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")
    flags = (OFTEN, "--checkpoint-push=1s", f"--proc-path={outer}", "--summary-file=summary.json")
    process = collectors.start(receiver.endpoint, *flags, *_job(collectors), before=before)
    collectors.checkpoint(revision=20)
    until(lambda: receiver.pushes.qsize() >= 2)
    _end_job(collectors, process)
    assert process.returncode == 0
    [command] = [c for c in _summary(collectors)["containers"] if c["name"] == "command"]
    assert command["cpu_seconds"] == pytest.approx(float(process.output), abs=0.15)
    assert command["memory_bytes"]["peak"] < 28 * 2**20  # with a pusher it would be more


def test_the_command_sees_no_lock_and_no_checkpoint(collectors: Collectors) -> None:
    """The command has no descriptor of the spool, and only its own children."""
    script = "sleep 0.3; ls -l /proc/self/fd; ps --ppid $$ -o pid="
    process = collectors.run(NOWHERE, OFTEN, "--shutdown-timeout=1s", "--", "sh", "-c", script)
    assert "spool" not in process.output


def test_a_reader_of_the_command_does_not_wait_for_a_push(
    collectors: Collectors, held: Any
) -> None:
    """Killed while a push hangs, the collector leaves no process with the command's streams."""
    flags = ("--checkpoint-push=1s", "--", "sleep", "60")
    process = collectors.start(held.endpoint, *flags, stderr=subprocess.STDOUT)
    held.pushes.get(timeout=WAIT_SECONDS)
    pushing = _pusher(process.pid)
    [sleeping] = [pid for pid in _children(process.pid) if _comm(pid) == "sleep"]
    process.kill()
    os.kill(sleeping, signal.SIGKILL)
    assert "run.started" in process.stdout.read()
    state = Path(f"/proc/{pushing}/stat").read_text().rpartition(") ")[2][0]
    assert state != "Z"


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


# -- ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_sigterm_at_any_moment(collectors: Collectors, receiver: Any, seed: int) -> None:
    """The run is stored once, or is in the spool, or had not begun."""
    chance = random.Random(seed)
    process = collectors.start(receiver.endpoint, OFTEN)
    if chance.random() < 0.7:
        collectors.checkpoint(revision=chance.randint(1, 3))
    threading.Event().wait(chance.uniform(0, 0.12))
    process.send_signal(signal.SIGTERM)
    if chance.random() < 0.5:
        threading.Event().wait(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGTERM)
    collectors.end(process)
    states = [run["state"] for run in collectors.kept()]
    pushed = [receiver.pushes.get_nowait().run for _ in range(receiver.pushes.qsize())]
    began = "run.started" in process.log.read_text()
    assert {run.state for run in pushed} <= {run_pb2.RUN_STATE_COMPLETED}
    assert len(pushed) <= 1
    assert states in ([], ["completed"])
    assert bool(pushed or states) == began
    if process.returncode == 0:
        assert (states, len(pushed)) == ([], 1)
    assert list(collectors.spool.glob("*.tmp")) == []


@pytest.mark.parametrize("seed", range(8))
def test_sigkill_at_any_moment(collectors: Collectors, receiver: Any, seed: int) -> None:
    """What is in the spool can be read, and the next collector of the scope pushes it."""
    chance = random.Random(seed)
    process = collectors.start(receiver.endpoint, OFTEN)
    until(lambda: "run.started" in process.log.read_text())
    threading.Event().wait(chance.uniform(0, 0.3))
    process.kill()
    process.wait()
    until(lambda: not _writers(collectors.spool))
    killed = collectors.kept()
    assert [run["state"] for run in killed] in ([], ["running"])
    done = collectors.run(receiver.endpoint, "--", "true")
    assert done.returncode == 0
    pushed = [receiver.pushes.get_nowait().run for _ in range(receiver.pushes.qsize())]
    found = {run.push_id: (run.state, run.revision) for run in pushed}
    assert len(found) == len(pushed) == 1 + len(killed)
    for run in killed:
        assert found[run["push_id"]] == (run_pb2.RUN_STATE_INTERRUPTED, run["revision"])
    assert os.listdir(collectors.spool) == []


def _writers(folder: Path) -> list[Path]:
    """Return the held locks: a checkpoint process ends shortly after its collector."""
    return [lock for lock in folder.glob("*.lock") if is_held(str(folder), lock.stem)]


def test_a_stopped_checkpoint_does_not_delay_the_end(collectors: Collectors) -> None:
    """A checkpoint that hangs is skipped, logged once, and ended with the run."""
    process = collectors.start(NOWHERE, OFTEN, "--shutdown-timeout=1s", "--log-level=debug")
    collectors.checkpoint()
    before = len(events(process, "checkpoint.failed"))  # on a busy machine one may be late
    stopped = until(lambda: _stop_one(process.pid))
    collectors.stopped.append(stopped)
    until(lambda: len(events(process, "checkpoint.failed")) > before)
    failed_count = len(events(process, "checkpoint.failed"))
    count = len(events(process, "sample.taken"))
    until(lambda: len(events(process, "sample.taken")) > count + 2)
    process.send_signal(signal.SIGTERM)
    collectors.end(process)
    assert process.returncode == 3
    assert len(events(process, "checkpoint.failed")) == failed_count
    assert not Path(f"/proc/{stopped}").exists()
    assert [run["state"] for run in collectors.kept()] == ["completed"]


def _stop_one(parent: int) -> int:
    for pid in _children(parent):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        if _state(pid) == "T":
            return pid
    return 0


def test_a_killed_checkpoint_is_a_warning(collectors: Collectors) -> None:
    """A checkpoint process that is killed is one warning; later checkpoints are made."""
    process = collectors.start(NOWHERE, "--checkpoint-interval=400ms", "--shutdown-timeout=1s")
    before = collectors.checkpoint()["revision"]
    os.kill(until(lambda: _stop_one(process.pid)), signal.SIGKILL)
    until(lambda: _failures(process) == ["its process was ended by signal 9"])
    collectors.checkpoint(revision=before + 3)
    process.send_signal(signal.SIGTERM)
    collectors.end(process)
    assert len(_failures(process)) == 1


def _failures(process: Any) -> list[str]:
    """Return the reasons of failed checkpoints, other than that the machine is busy."""
    reasons = [line["reason"] for line in events(process, "checkpoint.failed")]
    return [reason for reason in reasons if "still being written" not in reason]


# -- clocks that jump ---------------------------------------------------------------------


@pytest.mark.parametrize("hours", [72, -72])
def test_retries_follow_no_wall_clock(
    collectors: Collectors, receiver: Any, wall_clock: Any, hours: int
) -> None:
    """If the clock is set by days during retries, the push neither ends nor waits longer."""
    receiver.answer = lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
    process = collectors.start(receiver.endpoint, before=wall_clock.before)
    collectors.checkpoint()
    process.send_signal(signal.SIGTERM)
    receiver.pushes.get(timeout=WAIT_SECONDS)
    wall_clock.set(hours)
    for _ in range(3):
        receiver.pushes.get(timeout=WAIT_SECONDS)
    receiver.answer = receiver.acknowledge
    collectors.end(process)
    assert process.returncode == 0
    lines = [*events(process, "run.measured"), *events(process, "run.pushed")]
    measured, pushed = (datetime.fromisoformat(line["timestamp"]) for line in lines)
    assert abs(pushed - measured) > timedelta(hours=71)  # it did jump


@pytest.mark.slow
def test_a_budget_is_of_no_wall_clock(collectors: Collectors, held: Any, wall_clock: Any) -> None:
    """If the clock is set by days while the receiver does not answer, neither the time of an
    attempt nor that of the whole push changes."""
    process = collectors.start(held.endpoint, "--shutdown-timeout=16s", before=wall_clock.before)
    collectors.checkpoint()
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    held.pushes.get(timeout=WAIT_SECONDS)
    wall_clock.set(72)
    held.pushes.get(timeout=WAIT_SECONDS)
    second = time.monotonic()
    wall_clock.set(-72)
    collectors.end(process)
    assert process.returncode == 3
    assert second - begin > 9.5  # an attempt has ten seconds
    assert time.monotonic() - begin > 15
    assert [run["state"] for run in collectors.kept()] == ["completed"]


# -- the spool ----------------------------------------------------------------------------


@needs_unshare()
@pytest.mark.parametrize("options", ["size=16k", "ro"])
def test_a_spool_that_cannot_be_written_is_one_warning(
    collectors: Collectors, receiver: Any, options: str
) -> None:
    """Full or read-only: still measured, pushed from memory, exit code kept."""
    collectors.spool.mkdir()
    script = (
        f'mount -t tmpfs -o {options} none "{collectors.spool}"; '
        f'head -c 64k /dev/zero > "{collectors.spool}/full" 2>&-; exec "$@"'
    )
    before = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")
    flags = (OFTEN, "--", "sh", "-c", "sleep 0.5; exit 3")
    process = collectors.run(receiver.endpoint, *flags, before=before)
    assert process.returncode == 3
    assert len(events(process, "spool.failed")) == 1
    assert events(process, "spool.failed")[0]["reason"].endswith("; pushing from memory")
    assert receiver.pushes.get_nowait().run.state == run_pb2.RUN_STATE_COMPLETED
    assert len(events(process, "run.pushed")) == 1


@pytest.fixture
def disk(collectors: Collectors) -> Iterator[Disk]:
    """Return a disk of its own for the spool."""
    with mounted(16 * 2**20) as disk:
        collectors.spool = disk.path / "spool"
        yield disk
        collectors.stop()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return ""


@pytest.mark.slow
def test_a_disk_that_hangs_delays_neither_samples_nor_the_end(
    collectors: Collectors, receiver: Any, disk: Disk
) -> None:
    """Writers that wait in the kernel, where no signal ends them, are left running.

    The run is measured on, pushed from memory and ends in time; what they write later is the same
    run.
    """
    job = ("sh", "-c", "until [ -e go ]; do sleep 0.05; done; exit 5")
    process = collectors.start(receiver.endpoint, OFTEN, "--log-level=debug", "--", *job)
    collectors.checkpoint()
    with disk.slow(process.pid, 128):
        until(lambda: [pid for pid in _children(process.pid) if _state(pid) == "D"])
        until(lambda: events(process, "checkpoint.failed"))
        count = len(events(process, "sample.taken"))
        until(lambda: len(events(process, "sample.taken")) > count + 5)
        (collectors.folder / "go").touch()
        collectors.end(process)
    assert process.returncode == 5
    [failed] = events(process, "spool.failed")
    assert "hangs" in failed["reason"]
    assert len(events(process, "checkpoint.failed")) == 2
    pushed = receiver.pushes.get_nowait().run
    assert pushed.state == run_pb2.RUN_STATE_COMPLETED
    until(lambda: not _writers(collectors.spool))
    assert collectors.run(receiver.endpoint, "--", "true").returncode == 0
    again = [receiver.pushes.get_nowait().run for _ in range(receiver.pushes.qsize())]
    assert all(run == pushed for run in again if run.push_id == pushed.push_id)
    assert not list(collectors.spool.glob("*.json*"))


def test_a_spool_beyond_its_limits_drops_the_oldest_run(collectors: Collectors) -> None:
    """When a run writes its first file, the oldest runs beyond the limits are removed."""
    flags = ("--spool-max=2", "--shutdown-timeout=1s", "--", "true")
    for _ in range(3):
        process = collectors.run(NOWHERE, *flags)
    first = collectors.folder / "log-0"
    oldest = json.loads(first.read_text().splitlines()[0])["push_id"]
    # two lines if the first checkpoint was killed between its line and the removal
    dropped = {(line["push_id"], line["level"]) for line in events(process, "run.dropped")}
    assert dropped == {(oldest, "warning")}
    assert len(collectors.files) == 2
    assert oldest not in {run["push_id"] for run in collectors.kept()}


# -- pushers that fail --------------------------------------------------------------------


def _pusher(parent: int) -> int:
    for pid in _children(parent):
        if b"runmeter.collector.push" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return 0


@pytest.mark.parametrize(
    ("argv", "code"), [(("--", "sh", "-c", "exit 5"), 5), (("--exit-zero",), 0)]
)
def test_a_killed_pusher_does_not_lose_the_run(
    collectors: Collectors, held: Any, argv: tuple[str, ...], code: int
) -> None:
    """The exit code does not change; the run is kept, and the log says where."""
    process = collectors.start(held.endpoint, *argv)
    if "--" not in argv:
        collectors.checkpoint()
        process.send_signal(signal.SIGTERM)
    held.pushes.get(timeout=WAIT_SECONDS)
    os.kill(until(lambda: _pusher(process.pid)), signal.SIGKILL)
    collectors.end(process)
    assert process.returncode == code
    [kept] = events(process, "run.kept")
    assert kept["reason"] == "the pusher has ended with exit code 137"
    assert kept["hint"].endswith(f"collector push --spool-dir={collectors.spool}")
    assert Path(kept["path"]) == collectors.files[0]
    assert not _writers(collectors.spool)


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 6, 7, 8, 10, 12, 20, 40])
def test_few_descriptors_are_enough_to_keep_the_run(collectors: Collectors, count: int) -> None:
    """With a low limit of open files, checkpoints and the ended run are still in the spool."""
    before = ("sh", "-c", f'ulimit -n {count}; exec "$@"', "sh")
    flags = (OFTEN, "--log-level=debug", "--shutdown-timeout=1s")
    process = collectors.run(NOWHERE, *flags, "--", "sh", "-c", "sleep 0.5; exit 5", before=before)
    assert process.returncode == 5
    [run] = collectors.kept()
    assert (run["state"], run["exit_code"]) == ("completed", 5)
    assert run["revision"] > len(events(process, "checkpoint.written")) > 0
    [kept] = events(process, "run.kept")
    assert kept["path"] == str(collectors.files[0])
    for event in ("spool.failed", "sample.failed"):
        assert not events(process, event)
    assert not _failures(process)
    if count <= 12 and any(hierarchies(CGROUP_ROOT)[1:]):
        [limited] = events(process, "run.limited")
        assert "the limit of open files is too low (ulimit -n)" in limited["reason"]


def test_an_end_that_is_lost_names_the_checkpoint(collectors: Collectors, receiver: Any) -> None:
    """If neither spool nor memory can hold the end, the path of the checkpoint is logged."""
    flags = ("--checkpoint-interval=1h", "--interval=1h")
    process = collectors.start(receiver.endpoint, *flags, stderr=subprocess.STDOUT)
    run = collectors.checkpoint()
    # from now on it cannot write to any file; others can
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
    process.send_signal(signal.SIGTERM)
    lines = [json.loads(line) for line in collectors.end(process).splitlines()]
    assert process.returncode == 3
    [kept] = [line for line in lines if line["event"] in ("run.kept", "run.lost")]
    assert kept["path"] == str(collectors.files[0])
    assert kept["reason"].startswith("memory cannot hold it: File too large; only its last ch")
    assert collectors.kept() == [run]
    assert collectors.run(receiver.endpoint, "--", "true").returncode == 0
    pushed = [receiver.pushes.get_nowait().run for _ in range(2)]
    assert {(found.push_id, found.state) for found in pushed} >= {
        (run["push_id"], run_pb2.RUN_STATE_INTERRUPTED)
    }


@pytest.mark.parametrize("limit", ["-n 6", "-n 8", "-v 90000", "-v 300000", "-f 0"])
def test_limits_of_the_job_do_not_change_its_exit_code(collectors: Collectors, limit: str) -> None:
    """If limits end the collector's work or the pusher, the exit code is still the command's."""
    before = ("sh", "-c", f'ulimit {limit}; exec "$@"', "sh")
    flags = ("--shutdown-timeout=1s", "--", "sh", "-c", "exit 5")
    assert collectors.run(NOWHERE, *flags, before=before).returncode == 5


def test_the_pusher_outlives_its_parent(collectors: Collectors, held: Any) -> None:
    """If the collector is killed while its child pushes, the push goes on."""
    process = collectors.start(held.endpoint, "--", "true")
    held.pushes.get(timeout=WAIT_SECONDS)
    assert collectors.files
    process.kill()
    process.wait()
    held.release.set()
    until(lambda: os.listdir(collectors.spool) == [])


def test_the_second_signal_ends_a_push_beside_the_collector(
    collectors: Collectors, held: Any
) -> None:
    """With --exit-zero signals reach the pusher: the second one ends it."""
    process = collectors.start(held.endpoint, "--exit-zero")
    collectors.checkpoint()
    process.send_signal(signal.SIGTERM)
    held.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(signal.SIGINT)
    collectors.end(process)
    assert process.returncode == 0
    [kept] = events(process, "run.kept")
    assert kept["reason"] == "ended by a signal"
    assert [run["state"] for run in collectors.kept()] == ["completed"]


def test_a_pusher_that_hangs_is_ended(collectors: Collectors, held: Any) -> None:
    """A stopped pusher is killed some time after its deadline."""
    process = collectors.start(held.endpoint, "--shutdown-timeout=2s", "--", "sh", "-c", "exit 5")
    held.pushes.get(timeout=WAIT_SECONDS)
    collectors.stopped.append(_pusher(process.pid))
    os.kill(collectors.stopped[0], signal.SIGSTOP)
    collectors.end(process)
    assert process.returncode == 5
    assert len(events(process, "run.kept")) == 1
