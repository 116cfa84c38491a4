"""The documented stress example, with its commands as written, against the kernel's counters."""

import contextlib
import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import pytest
from rig.engine import CGROUPS, Container, Project, compose_command
from rig.repository import ROOT

pytestmark = pytest.mark.slow

FILE = ROOT / "tests" / "docker" / "docker-compose-stress.yaml"
CORES = os.cpu_count() or 1
LIMIT_CORES = 2.0 if CORES >= 4 else CORES / 2
MEASURED_SECONDS = 15.0
SECRETS = ("dummyreadtoken", "dummyhmackey-of-the-stress-example")
# as documented, with another folder; `docker compose` is the version that is installed
UP_RECEIVER = "docker compose -f tests/docker/docker-compose-stress.yaml up -d --build receiver"
TOKEN = """\
PUSH_TOKEN=$(curl -s -X POST http://localhost:9080/api/v1/token \\
  -H "Authorization: Bearer dummyreadtoken" \\
  -H "Content-Type: application/json" \\
  -d '{"organization":"test-org","repository":"test-org/stress-test","workflow":"stress-test-workflow","job":"heavy-workload"}' \\
  | jq -r .token)"""  # noqa: E501 as documented
UP_COLLECTOR = """\
COLLECTOR_PUSH_TOKEN=$PUSH_TOKEN \\
  docker compose -f tests/docker/docker-compose-stress.yaml up -d --build collector"""
STOP = "docker compose -f tests/docker/docker-compose-stress.yaml stop collector"
QUERY = """\
curl -s -H "Authorization: Bearer dummyreadtoken" \\
  http://localhost:9080/api/v1/metrics/repo/test-org/test-org%2Fstress-test/stress-test-workflow/heavy-workload"""


class Reading(NamedTuple):
    """The kernel's counters of a container at a time, since the container was made."""

    unix_seconds: float
    cpu_seconds: float
    throttled_seconds: float


class Watch:
    """Reads the counters of every container there is from outside, again and again."""

    def __init__(self) -> None:
        self._readings: dict[str, list[Reading]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            for folder in (CGROUPS / "cpuacct" / "docker").glob("*/"):
                with contextlib.suppress(OSError):  # its container ends just now
                    self._readings.setdefault(folder.name, []).append(self._read(folder.name))

    def _read(self, identifier: str) -> Reading:
        container = Container(identifier)
        before = time.time()
        used = container.counter("cpuacct", "cpuacct.usage") / 1e9
        middle = (before + time.time()) / 2
        return Reading(middle, used, container.counter("cpu", "cpu.stat", "throttled_time") / 1e9)

    def close(self) -> None:
        """Stop reading."""
        self._over.set()
        self._thread.join()

    def between(self, container: Container, start: float, end: float) -> Reading:
        """Return what a container's counters grew by between two times."""
        readings = self._readings[container.id]
        one, other = _at(readings, start), _at(readings, end)
        return Reading(*(then - now for now, then in zip(one, other, strict=True)))


def _at(readings: list[Reading], unix_seconds: float) -> Reading:
    """Interpolate between the readings before and after a time."""
    for one, other in itertools.pairwise(readings):
        if one.unix_seconds <= unix_seconds <= other.unix_seconds:
            part = (unix_seconds - one.unix_seconds) / (other.unix_seconds - one.unix_seconds)
            return Reading(*(a + part * (b - a) for a, b in zip(one, other, strict=True)))
    raise AssertionError(f"no readings around {unix_seconds}: {readings[:1]} {readings[-1:]}")


def shell(script: str) -> str:
    """Run the documented words in one shell."""
    written = script.replace("docker compose", " ".join(compose_command()))
    done = subprocess.run(
        ["sh", "-c", written],
        cwd=ROOT,
        env={**os.environ, "STRESS_CPUS": str(LIMIT_CORES)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


class Outcome(NamedTuple):
    """The run that was queried, and what the kernel counted meanwhile."""

    payload: dict[str, Any]
    kernel: Reading
    kernel_peak_bytes: int
    log: str

    def container(self, name: str) -> dict[str, Any]:
        """Return the figures of a container."""
        (found,) = (one for one in self.payload["containers"] if one["name"] == name)
        return dict(found)


@pytest.fixture(scope="module")
def outcome(images: dict[str, str]) -> Iterator[Outcome]:
    """Follow the documentation, once."""
    if not (CGROUPS / "cpuacct").is_dir():
        pytest.skip("needs cgroups, version 1")
    project = Project("docker", FILE, environment={"STRESS_CPUS": str(LIMIT_CORES)})
    watch = Watch()
    try:
        shell(f"{UP_RECEIVER}\n{TOKEN}\n{UP_COLLECTOR}")
        stressed, filled = project.container("cpu-stress"), project.container("memory-stress")
        time.sleep(MEASURED_SECONDS)  # what is measured; nothing waits for it to be enough
        shell(STOP)
        (record,) = json.loads(shell(QUERY))
        payload = record["payload"]
        start = datetime.fromisoformat(payload["start_time"]).timestamp()
        yield Outcome(
            payload,
            watch.between(stressed, start, start + payload["duration_seconds"]),
            filled.counter("memory", "memory.max_usage_in_bytes"),
            project.logs(),
        )
    finally:
        watch.close()
        project.down()


def test_names_and_run(outcome: Outcome) -> None:
    """Containers have the names of the process map, with their limits; all had a snapshot."""
    named = {one["name"]: one for one in outcome.payload["containers"]}
    assert set(named) == {"cpu-stress", "memory-stress", "collector"}
    assert named["cpu-stress"]["limits"] == {"cpu_cores": LIMIT_CORES, "memory_bytes": 128 * 2**20}
    assert named["memory-stress"]["limits"] == {"cpu_cores": 0.5, "memory_bytes": 384 * 2**20}
    assert outcome.payload["duration_seconds"] > MEASURED_SECONDS - 1
    workers = [p for p in outcome.payload["top_cpu_processes"] if p["name"] == "cpu-stress"]
    assert [worker["container"] for worker in workers[:3]] == ["cpu-stress"] * 3


def test_cpu_is_the_kernels(outcome: Outcome) -> None:
    """CPU time of the container is within 1 % of what the kernel counted in the same window."""
    found = outcome.container("cpu-stress")
    print(f"cpu: {found['cpu_seconds']} s, kernel {outcome.kernel.cpu_seconds} s")
    assert found["cpu_seconds"] == pytest.approx(outcome.kernel.cpu_seconds, rel=0.01)


def test_cpu_is_at_its_limit(outcome: Outcome) -> None:
    """Three workers stay within their limit: p50 within 3 % above it; throttling is counted."""
    found = outcome.container("cpu-stress")
    throttled = found["cpu_throttled_seconds"]
    print(f"p50: {found['cpu_cores']['p50']} of {LIMIT_CORES} cores, throttled {throttled} s")
    assert 0 < found["cpu_cores"]["p50"] <= LIMIT_CORES * 1.03
    # none on a machine too busy to let them reach it
    assert throttled == pytest.approx(outcome.kernel.throttled_seconds, rel=0.03, abs=0.3)


def test_memory_peak_is_the_kernels(outcome: Outcome) -> None:
    """The peak of memory is within 3 % of the cgroup's own figure, by RSS and by counter."""
    found = outcome.container("memory-stress")
    peak = outcome.kernel_peak_bytes
    print(
        f"memory: {found['memory_bytes']['peak']} RSS, {found['memory_peak_bytes']}, kernel {peak}"
    )
    assert peak > 256 * 2**20
    assert found["memory_bytes"]["peak"] == pytest.approx(peak, rel=0.03)
    assert found["memory_peak_bytes"] == pytest.approx(peak, rel=0.03)


def test_nothing_is_leaked(outcome: Outcome) -> None:
    """No log holds a secret of the example, though it stands in the documentation."""
    assert '"run.pushed"' in outcome.log
    assert not [secret for secret in SECRETS if secret in outcome.log]
