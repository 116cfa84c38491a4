"""A collector as a sidecar in a pod: what it says against what the kernel has counted."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from rig import pod as pods
from rig.pod import Container, Pod
from rig.programs import BIN, Stage
from rig.shape import check_record
from rig.stack import Scope, Stack

MISSING = pods.missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs root and writable cgroups, version 1: {MISSING}"
    ),
]
MEASURED_SECONDS = 10.0
HELD_BYTES = 200 * 2**20
HOLD = f"import signal; held = b'x' * {HELD_BYTES}; print('holds', flush=True); signal.pause()"
BURN = "while True: pass"


class Measured(NamedTuple):
    """What a collector stored of a pod, and the truth."""

    record: dict[str, Any]
    code: int
    burnt_seconds: float
    held_bytes: int
    unmapped_id: str


class Running:
    """A pod that burns one core, holds 200 MiB, idles, and is measured."""

    def __init__(self, stack: Stack, stage: Stage, pod: Pod, job: str) -> None:
        self.pod = pod
        self.scope = Scope("pods", "pods/repo", "ci.yml", job)
        folder = stage.folder
        base: str = sys._base_executable  # type: ignore[attr-defined]
        self.burner = self.pod.start(pods.link(folder, "burner", base), "-I", "-S", "-c", BURN)
        self.holder = self.pod.start(pods.link(folder, "holder", base), "-I", "-S", "-c", HOLD)
        self.idler = self.pod.start("/bin/sleep", "600")
        self.collector = self._collector(stack, stage)
        # when it says this, it has just taken its first snapshot
        self.collector.program.event("run.started")
        self._burnt_before = self.burner.cpu_seconds()

    def _collector(self, stack: Stack, stage: Stage) -> Container:
        holder = self.holder.program
        holder.line("holds")
        self.burner.pid("burner")
        return self.pod.start(
            BIN / "collector",
            *("--interval=1s", f"--push-endpoint=grpc://{stack.receiver.address}"),
            environment={
                **self.scope.environment(stage.keep(stack.token(self.scope))),
                "GITHUB_RUN_ID": "run-1",
                "CGROUP_PROCESS_MAP": '{"burner":"runner","holder":"sidecar"}',
                "CGROUP_LIMITS": '{"runner":{"cpu":"2","memory":"1Gi"}}',
            },
        )

    def end(self) -> None:
        """Read the counters, then end the collector, the pod still running."""
        pid = self.collector.pid("collector")
        self._burnt_after = self.burner.cpu_seconds()
        os.kill(pid, signal.SIGTERM)
        self.code = self.collector.program.wait()

    def measured(self, stack: Stack) -> Measured:
        """Return the stored run."""
        self.collector.program.event("run.pushed")
        (record,) = stack.listed(self.scope)
        return Measured(
            record,
            self.code,
            self._burnt_after - self._burnt_before,
            pods.peak_rss_bytes(self.holder.pid("holder")),
            self.idler.container_id,
        )


KINDS: dict[str, tuple[pods.Driver, bool]] = {
    "cgroupfs": ("cgroupfs", False),
    "systemd, cgroup namespace": ("systemd", True),
}


@pytest.fixture(scope="module")
def all_measured(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Measured]]:
    """Pods of all kinds, measured in the same ten seconds."""
    running: dict[str, Running] = {}
    stages: list[Stage] = []
    with contextlib.ExitStack() as open_ones:
        for name, (driver, in_namespace) in KINDS.items():
            stage = Stage(tmp_path_factory.mktemp("pod"))
            stages.append(stage)
            open_ones.callback(stage.close)
            pod = Pod(stage, driver, cgroup_namespace=in_namespace)
            open_ones.callback(pod.close)
            running[name] = Running(stack, stage, pod, name)
        time.sleep(MEASURED_SECONDS)
        for one in running.values():
            one.end()
        yield {name: one.measured(stack) for name, one in running.items()}
    assert [leak for stage in stages for leak in stage.leaks()] == []
    folders = [one.burner.path for one in running.values()]
    assert [path for path in folders if (pods.CGROUPS / "cpuacct" / path).exists()] == []


@pytest.fixture(params=KINDS)
def measured(request: pytest.FixtureRequest, all_measured: dict[str, Measured]) -> Measured:
    """One of them."""
    return all_measured[request.param]


def container(measured: Measured, name: str) -> dict[str, Any]:
    """Return a container of the record."""
    found = {c["name"]: c for c in measured.record["payload"]["containers"]}
    assert name in found, sorted(found)
    return found[name]


def test_run_is_whole(measured: Measured) -> None:
    """SIGTERM ends the sidecar with 0; its run is stored, complete, in the documented shape."""
    assert measured.code == 0
    check_record(measured.record)
    assert measured.record["state"] == "completed"
    payload = measured.record["payload"]
    assert payload["duration_seconds"] >= MEASURED_SECONDS


def test_names(measured: Measured) -> None:
    """The map names containers by their processes; one it does not know has its id's 12 digits."""
    containers = measured.record["payload"]["containers"]
    names = [found["name"] for found in containers]
    assert len(names) == 5  # and the pause container, and the collector's own
    assert {"runner", "sidecar", measured.unmapped_id[:12]} < set(names)
    assert not [name for name in names if "#" in name]
    assert container(measured, "runner")["limits"] == {"cpu_cores": 2.0, "memory_bytes": 2**30}
    assert "limits" not in container(measured, "sidecar")


def test_cpu_is_the_kernels(measured: Measured) -> None:
    """CPU time of the container is within 2 % of what the kernel has counted for its cgroup."""
    runner = container(measured, "runner")
    assert measured.burnt_seconds > MEASURED_SECONDS / 20  # other programs share the CPUs
    assert runner["cpu_seconds"] == pytest.approx(measured.burnt_seconds, rel=0.02)
    duration = measured.record["payload"]["duration_seconds"]
    assert runner["cpu_cores"]["avg"] == pytest.approx(runner["cpu_seconds"] / duration, rel=0.1)
    assert runner["cpu_cores"]["peak"] < 1.5
    assert measured.record["payload"]["containers"][0] == runner


def test_memory_is_the_kernels(measured: Measured) -> None:
    """Memory peak is within 5 % of the process's own, which is 200 MiB and an interpreter."""
    sidecar = container(measured, "sidecar")
    assert HELD_BYTES < measured.held_bytes < HELD_BYTES * 1.1
    assert sidecar["memory_bytes"]["peak"] == pytest.approx(measured.held_bytes, rel=0.05)
    assert sidecar["memory_anon_bytes"]["peak"] > HELD_BYTES
    assert sidecar["cpu_seconds"] < 0.1


def test_top_lists(measured: Measured) -> None:
    """The burner leads by CPU, the holder by memory, each in its container."""
    payload = measured.record["payload"]
    first = payload["top_cpu_processes"][0]
    assert (first["name"], first["container"]) == ("burner", "runner")
    assert first["peak_cpu_percent"] < 150
    first = payload["top_mem_processes"][0]
    assert (first["name"], first["container"]) == ("holder", "sidecar")


def test_only_the_pod_is_seen(measured: Measured) -> None:
    """Processes outside of the pod's pid namespace are not in the record."""
    payload = measured.record["payload"]
    names = {p["name"] for p in [*payload["top_cpu_processes"], *payload["top_mem_processes"]]}
    assert names <= {"burner", "holder", "sleep", "collector", "unshare", "python"}
