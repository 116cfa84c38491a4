"""A collector beside a job in the same pid namespace, as docs/containers.md starts them."""

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import engine
from rig.engine import Container

pytestmark = pytest.mark.slow

KEPT, KILLED = 3, 137
Start = Callable[..., Container]
SCOPE = (
    *("--env=GITHUB_REPOSITORY=my-org/my-repo", "--env=GITHUB_WORKFLOW=ci.yml"),
    *("--env=GITHUB_JOB=build", "--env=COLLECTOR_PUSH_TOKEN=a-push-token"),
    "--env=COLLECTOR_PUSH_ENDPOINT=grpc://127.0.0.1:9",
)
# other users than the collector's: their counters cannot be read
JOB = ("--user=0", "--entrypoint=python")
BURN = "import time\nwhile time.process_time() < 1: pass\n"
# the first process does nothing itself
CHILDREN = """
import pathlib, subprocess, time
while not pathlib.Path("/gate/go").exists():
    time.sleep(0.02)
for _ in range(50):
    subprocess.run(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
pathlib.Path("/gate/done").touch()
time.sleep(600)
"""


@pytest.fixture
def volume(images: dict[str, str]) -> Iterator[str]:
    """Return the name of a volume for the spool."""
    name = f"runmeter-tests-{secrets.token_hex(6)}"
    engine.docker("volume", "create", name)
    yield name
    engine.docker("volume", "rm", "--force", name)


def collector(container: Start, beside: Container, volume: str, *flags: str) -> Container:
    """Start a collector in the pid namespace of a container."""
    started = container(
        *("collector", "--interval=500ms", "--shutdown-timeout=1s", *flags),
        flags=(
            *(f"--pid=container:{beside.id}", "--read-only", "--cap-drop=ALL", *SCOPE),
            f"--volume={volume}:/var/spool/runmeter",
        ),
    )
    started.await_event("run.started")
    return started


def waiting(volume: str) -> dict[str, Any]:
    """Return the run in a spool."""
    argv = ("--entrypoint=sh", "runmeter-collector", "-c", "cat /spool/*.json")
    file = engine.docker("run", "--rm", f"--volume={volume}:/spool", *argv)
    return dict(json.loads(file)["run"])


def cpu_seconds(run: dict[str, Any], container: Container) -> float:
    """Return what a run says of a container; counters were not used."""
    named = {one["name"]: one for one in run["payload"]["containers"]}
    assert named[container.id[:12]]["cpu_source"] == "ledger"
    return float(named[container.id[:12]]["cpu_seconds"])


def test_a_holder_keeps_the_collector(volume: str, container: Start) -> None:
    """With a container for pid 1 the job's end is measured, and the collector pushes."""
    holder = container("collector", "infinity", flags=("--init", "--entrypoint=sleep"))
    beside = collector(container, holder, volume)
    job = container("collector", "-c", BURN, flags=(*JOB, f"--pid=container:{holder.id}"))
    assert job.wait() == 0
    assert beside.stop() == KEPT  # there is no receiver
    run = waiting(volume)
    assert run["state"] == "completed"
    assert cpu_seconds(run, job) > 0.5  # of 1 s; what came after the last snapshot is not known


def test_the_end_of_the_job_takes_the_collector_with_it(volume: str, container: Start) -> None:
    """If the job is pid 1 the kernel kills the collector: at most a third of the run is lost."""
    job = container("collector", "-c", "import time; time.sleep(10)", flags=JOB)
    beside = collector(container, job, volume)
    job.wait()
    assert beside.wait() == KILLED
    run = waiting(volume)
    assert run["state"] == "running"
    assert run["payload"]["duration_seconds"] >= 5


def test_the_job_is_pid_1(volume: str, container: Start, tmp_path: Path) -> None:
    """What the job's first process waited for is counted to the job, as the kernel counts it."""
    job = container("collector", "-c", CHILDREN, flags=(*JOB, f"--volume={tmp_path}:/gate"))
    beside = collector(container, job, volume, "--interval=1h")
    before = job.counter("cpuacct", "cpuacct.usage")
    (tmp_path / "go").touch()
    engine.within("done", (tmp_path / "done").exists)
    used = (job.counter("cpuacct", "cpuacct.usage") - before) / 1e9
    assert beside.stop() == KEPT
    assert cpu_seconds(waiting(volume), job) == pytest.approx(used, rel=0.1)
