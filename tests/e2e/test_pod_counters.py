"""Pods measured twice at once: with the kernel's counters, and where they cannot be read."""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rig import pod as pods
from rig.pod import Container, Pod
from rig.programs import BIN, Stage

MISSING = pods.missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs root and writable cgroups, version 1: {MISSING}"
    ),
]
INTERVAL_SECONDS = 0.5
WAIT_SECONDS = 60.0
BASE: str = sys._base_executable  # type: ignore[attr-defined]
# waits for its turn, uses CPU time, says that it is done, stays
WORK = """
import os, pathlib, signal, sys, time
folder, kind, seconds = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
(folder / "ready").touch()
with open(folder / "go"):
    pass
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
def used():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
if kind == "burn":
    burn(seconds)
end = used() + seconds
while kind == "jobs" and used() < end:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    pid = os.fork()
    if not pid:
        burn(0.02)
        os._exit(0)
    os.waitpid(pid, 0)
(folder / "done").touch()
signal.pause()
"""
# a sidecar's file system: its own cgroups and no others, no privilege, a name it can write to
SIDECAR = """
set -e
mkdir -p "$1"
for name in cpu cpuacct memory; do
    mkdir "$1/$name"
    mount --bind "/sys/fs/cgroup/$name$(sed -n "s/^[0-9]*:$name://p" /proc/self/cgroup)" "$1/$name"
done
mount --rbind "$1" /sys/fs/cgroup
shift
exec setpriv --bounding-set=-all --inh-caps=-all "$@"
"""
HOSTS = 'mount --bind "$1" /etc/hosts; shift; exec "$@"'
TERMINATION_LOG = """
mount --bind /dev/null /dev/full; mount --bind "$1" /dev/full
mkdir "$2"; mount -t tmpfs none "$2"; touch "$2/termination-log"; mknod "$2/null" c 1 3
mount --rbind "$2" /dev; mount --bind "$1" /dev/termination-log; shift 2; exec "$@"
"""


class Worker:
    """A container that works on a signal by a file."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.folder = stage.folder / f"worker-{name}"
        self.folder.mkdir()
        os.mkfifo(self.folder / "go")
        self.program = pods.link(self.folder, name, BASE)
        self.container: Container

    def argv(self, kind: str, seconds: float) -> list[str | Path]:
        """Return what the container runs."""
        return [self.program, "-I", "-S", "-c", WORK, self.folder, kind, str(seconds)]

    def go(self) -> None:
        """Let it begin."""
        with open(self.folder / "go", "w"):
            pass

    def wait(self, state: str) -> None:
        """Wait until it is `ready` or `done`."""
        _until(lambda: (self.folder / state).exists(), f"{self.program} {state}")


def _until(holds: Any, what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Collector:
    """A collector in the pod that writes its summary to a file."""

    def __init__(self, stage: Stage, pod: Pod, name: str, *wrapper: str | Path) -> None:
        self._folder = stage.folder / f"collector-{name}"
        self._folder.mkdir()
        self._folder.chmod(0o777)
        self._summary = self._folder / "summary.json"
        self.container = pod.start(
            *wrapper,
            BIN / "collector",
            *(f"--interval={INTERVAL_SECONDS}s", "--top=200", "--log-level=debug"),
            f"--summary-file={self._summary}",
            environment={
                "HOME": str(self._folder),
                "CGROUP_PROCESS_MAP": '{"twin1":"twins","twin2":"twins"}',
            },
        )
        self.container.program.event("run.started")

    def sees(self, count: int) -> None:
        """Wait for so many samples more."""
        program = self.container.program
        program.event("sample.taken", count=len(program.events("sample.taken")) + count)

    def end(self) -> dict[str, Any]:
        """Stop it; return the payload."""
        os.kill(self.container.pid("collector"), signal.SIGTERM)
        assert self.container.program.wait() == 0, self.container.program.text
        payload: dict[str, Any] = json.loads(self._summary.read_text())
        return payload


class Measured(NamedTuple):
    """What two collectors said of one pod, and what the kernel has counted, by container."""

    exact: dict[str, Any]
    ledger: dict[str, Any]
    truth: dict[str, float]


def _open_to_all(folder: Path) -> None:
    for one in (folder, *folder.parents[:2]):
        one.chmod(0o755)


def _name_file(stage: Stage, name: str) -> Path:
    path = stage.folder / "pods" / "1f0c9d52" / "containers" / name / "file"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def _start_workers(stage: Stage, pod: Pod) -> dict[str, Worker]:
    workers = {
        name: Worker(stage, name)
        for name in ("build", "lint", "twin1", "twin2", "outer", "inner", "victim")
    }
    kinds = {"build": ("jobs", 3.0), "lint": ("burn", 0.0)}
    shell: dict[str, list[str | Path]] = {
        "build": ["/bin/sh", "-e", "-c", HOSTS, "sh", _name_file(stage, "build")],
        "lint": [
            *("/bin/sh", "-e", "-c", TERMINATION_LOG, "sh"),
            *(_name_file(stage, "lint"), stage.folder / "dev"),
        ],
    }
    for name, worker in workers.items():
        kind, seconds = kinds.get(name, ("burn", 0.4))
        inside = workers["outer"].container if name == "inner" else None
        argv = [*shell.get(name, []), *worker.argv(kind, seconds)]
        worker.container = pod.start(*argv, inside=inside)
    for worker in workers.values():
        worker.wait("ready")
    return workers


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """A pod that works between two moments at which it does not."""
    with contextlib.ExitStack() as open_ones:
        stage = Stage(tmp_path_factory.mktemp("pod"))
        _open_to_all(stage.folder)
        open_ones.callback(stage.close)
        pod = Pod(stage, "cgroupfs", cgroup_namespace=False)
        open_ones.callback(pod.close)
        workers = _start_workers(stage, pod)
        view = stage.folder / "view"
        ledger = Collector(stage, pod, "ledger", "/bin/sh", "-c", SIDECAR, "sh", view)
        exact = Collector(stage, pod, "exact")
        before = {name: worker.container.cpu_seconds() for name, worker in workers.items()}
        for worker in workers.values():
            worker.go()
        for worker in workers.values():
            worker.wait("done")
        for collector in (ledger, exact):
            collector.sees(3)
        os.kill(workers["victim"].container.pid("victim"), signal.SIGKILL)
        for collector in (ledger, exact):
            collector.sees(2)
        truth = {
            name: worker.container.cpu_seconds() - before[name] for name, worker in workers.items()
        }
        names = {name: workers[name].container.container_id[:12] for name in ("outer", "victim")}
        yield Measured(
            exact.end(),
            ledger.end(),
            {
                "build": truth["build"],
                "lint": truth["lint"],
                "twins": truth["twin1"] + truth["twin2"],
                names["outer"]: truth["outer"],  # what is inside is in it
                names["victim"]: truth["victim"],
            },
        )


def _containers(payload: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in payload["containers"]}


def test_counters_are_the_kernels(measured: Measured) -> None:
    """With counters CPU time is within 0.05 % of the kernel's, of every kind of container."""
    found = _containers(measured.exact)
    for name, seconds in measured.truth.items():
        assert found[name]["cpu_source"] == "cgroup", name
        assert found[name]["cpu_seconds"] == pytest.approx(seconds, rel=0.0005, abs=2e-6), name
    assert measured.exact["coverage"]["denied"] == 0


def test_the_ledger_is_close(measured: Measured) -> None:
    """Without, short children are within 0.3 % and what whole ticks hide; denial is counted.

    The time of children is told in ticks, rounded down, their user and system time apart.
    """
    found = _containers(measured.ledger)
    build = measured.truth["build"]
    hidden = 2 / os.sysconf("SC_CLK_TCK")
    assert build > hidden
    assert -hidden - 0.003 * build <= found["build"]["cpu_seconds"] - build <= 0.003 * build
    for name, seconds in measured.truth.items():
        assert found[name]["cpu_source"] == "ledger", name
        assert found[name]["cpu_seconds"] == pytest.approx(seconds, rel=0.01, abs=hidden), name
        assert "memory_cgroup_bytes" not in found[name]
    assert measured.ledger["coverage"]["denied"] >= len(measured.truth)


@pytest.mark.parametrize("source", ["exact", "ledger"])
def test_names_and_containers(measured: Measured, source: str) -> None:
    """The kubelet's mounts name containers, the map joins two, what is inside is the outer's."""
    payload = getattr(measured, source)
    assert set(measured.truth) < set(_containers(payload))
    # and the pause container, two collectors
    assert len(payload["containers"]) == len(measured.truth) + 3
    by_process = {one["name"]: one["container"] for one in payload["top_cpu_processes"]}
    assert by_process["twin1"] == by_process["twin2"] == "twins"
    assert by_process["inner"] == by_process["outer"]
    assert by_process["build"] == "build"


def test_memory_of_the_cgroup(measured: Measured) -> None:
    """With counters there is memory as the kernel charges it, and no process was killed for it."""
    for name in measured.truth:
        found = _containers(measured.exact)[name]
        assert 0 < found["memory_cgroup_bytes"]["peak"] <= found["memory_peak_bytes"]
        assert found["memory_working_set_bytes"]["peak"] <= found["memory_cgroup_bytes"]["peak"]
        assert found.get("oom_kills", 0) == 0  # absent in v1 where cgroups lie below
        assert found["cpu_throttled_seconds"] == 0


# -- extremes -----------------------------------------------------------------------------

CONTAINER_COUNT = 64
PROCESS_COUNT = 4000
CROWD = f"""
import os, pathlib, signal, sys
for _ in range({PROCESS_COUNT}):
    if not os.fork():
        signal.pause()
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""
BOMB_PIDS = 200
BOMB = """
import os, pathlib, sys
(pathlib.Path(sys.argv[1]) / "ready").touch()
open(pathlib.Path(sys.argv[1]) / "go").read()
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


@pytest.fixture
def pod(stage: Stage) -> Iterator[Pod]:
    """A pod of one test."""
    pod = Pod(stage, "systemd", cgroup_namespace=False)
    yield pod
    pod.close()


def test_many_containers_and_processes(stage: Stage, pod: Pod) -> None:
    """64 containers and 4000 processes are all seen, all with counters."""
    sleepers = [pod.start("/bin/sleep", "600") for _ in range(CONTAINER_COUNT)]
    ready = stage.folder / "crowd"
    limits = {"pids/pids.max": str(PROCESS_COUNT + 100)}
    crowd = pod.start(BASE, "-I", "-S", "-c", CROWD, ready, limits=limits)
    _until(ready.exists, "4000 processes")
    for sleeper in sleepers:
        sleeper.pid("sleep")
    collector = Collector(stage, pod, "many")
    collector.sees(4)
    payload = collector.end()
    found = _containers(payload)
    assert {one.container_id[:12] for one in (*sleepers, crowd)} < set(found)
    assert len(found) == CONTAINER_COUNT + 3  # the crowd, the pause container, the collector
    assert {one["cpu_source"] for one in found.values()} == {"cgroup"}
    assert found[crowd.container_id[:12]]["memory_bytes"]["peak"] > PROCESS_COUNT * 4096
    coverage = payload["coverage"]
    assert payload["sample_count"] + coverage["missed_samples"] >= 5
    assert coverage["denied"] == 0


def test_a_fork_bomb(stage: Stage, pod: Pod) -> None:
    """Processes that multiply up to their limits do not end the run, nor make CPU time up."""
    worker = Worker(stage, "bomb")
    limits = {"pids/pids.max": str(BOMB_PIDS), "cpu/cpu.cfs_quota_us": "20000"}
    bomb = pod.start(worker.program, "-I", "-S", "-c", BOMB, worker.folder, limits=limits)
    worker.wait("ready")
    collector = Collector(stage, pod, "bomb")
    before = bomb.cpu_seconds()
    worker.go()
    throttling = pods.CGROUPS / "cpu" / bomb.path / "cpu.stat"
    _until(
        lambda: (
            bomb.cpu_seconds() - before > 0.2 and "nr_throttled 0\n" not in throttling.read_text()
        ),
        "a bomb at its limits",
    )
    _stop(bomb)
    truth = bomb.cpu_seconds() - before
    collector.sees(2)
    payload = collector.end()
    found = _containers(payload)[bomb.container_id[:12]]
    assert found["cpu_seconds"] == pytest.approx(truth, rel=0.0005, abs=2e-6)
    assert found["cpu_source"] == "cgroup"
    assert found["cpu_cores"]["peak"] < (os.cpu_count() or 1)
    assert found["cpu_throttled_seconds"] > 0
    total = sum(one["cpu_seconds"] for one in payload["containers"])
    assert total <= payload["duration_seconds"] * (os.cpu_count() or 1)


def _stop(container: Container) -> None:
    """Kill all of a container that makes new processes faster than one can name them."""
    (pods.CGROUPS / "pids" / container.path / "pids.max").write_text("0")
    (pods.CGROUPS / "cpu" / container.path / "cpu.cfs_quota_us").write_text("-1")
    procs = pods.CGROUPS / "pids" / container.path / "cgroup.procs"

    def is_empty() -> bool:
        pids = procs.read_text().split()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return not pids

    _until(is_empty, "the bomb's end")
