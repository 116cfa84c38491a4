"""The job of deploy/kubernetes played by Podman: figures, names, kills, and what they take."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rig import engine, manifests, podman
from rig.pod import peak_rss_bytes
from rig.podman import Container, Podman
from rig.stack import Scope, Stack

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
BUILD_USER, LINK_USER, NOBODY = 1000, 2000, 65532
LIMIT_CORES, LIMIT_BYTES = 0.5, 48 * 2**20
MEASURED_SECONDS = 6.0
PEAK = "memory.max_usage_in_bytes"
SCOPE = Scope("my-org", "my-org/my-repo", "ci.yml", "build")
AGENT = SCOPE._replace(job="agent")
# waits until all collectors measure, uses more memory than its limit, goes on
LINK = "until [ -e /gate/go ]; do sleep 0.1; done; memory-stress 96; exec sleep 600"
NO_CAPABILITIES = {"drop": ["ALL"]}
# what a collector may be, as security contexts: what it reads of whom is in docs/kubernetes.md
CONTEXTS: dict[str, dict[str, Any]] = {
    "nobody": {"runAsUser": NOBODY, "capabilities": NO_CAPABILITIES},
    "same": {"runAsUser": BUILD_USER, "capabilities": NO_CAPABILITIES},
    "root": {"runAsUser": 0, "capabilities": NO_CAPABILITIES},
    "default": {"runAsUser": 0},
}
JOBS = ("build", "link", "tools")
COUNTERS = ("memory_cgroup_bytes", "memory_peak_bytes", "oom_kills", "cpu_throttled_seconds")
ALWAYS = ("cpu_seconds", "cpu_cores", "memory_bytes", "memory_anon_bytes", "sample_count")


class Played(NamedTuple):
    """What was stored of the pod, what other collectors said of it, and the truth."""

    code: int
    record: dict[str, Any]
    payloads: dict[str, dict[str, Any]]
    ids: dict[str, str]
    burnt_seconds: tuple[float, float]  # at least, at most
    throttled_seconds: tuple[float, float]
    peak_bytes: int
    kills: dict[str, int]
    rss_bytes: dict[str, int]
    agent: dict[str, Any]
    log: list[str]
    token: str

    def figures(self, collector: str, job: str) -> dict[str, Any]:
        """Return what a collector says of a container, by its name or its id."""
        payload = self.payloads[collector]
        named = {one["name"]: one for one in payload["containers"]}
        return dict(named.get(job) or named[self.ids[job][:12]])


def job(name: str, image: str, command: list[str], user: int, **more: Any) -> dict[str, Any]:
    """Return a container of a job."""
    context = {"runAsUser": user, **more.pop("context", {"capabilities": NO_CAPABILITIES})}
    return {"name": name, "image": image, "command": command, "securityContext": context, **more}


def agent(scope: Scope, gateway: str) -> dict[str, Any]:
    """Return the container of the agent with psutil."""
    values = {
        **{**scope.variables, "GITHUB_RUN_ID": "1"},
        **{"PUSH_ENDPOINT": f"{gateway}/api/v1/metrics", "PUSH_TOKEN_FILE": "/token/agent"},
    }
    return job(
        *("agent", "localhost/runmeter-agent:latest", ["psutil-agent"], NOBODY),
        env=[{"name": name, "value": value} for name, value in values.items()],
        volumeMounts=[{"name": "push-token", "mountPath": "/token"}],
    )


def pod(folder: Path, stack: Stack) -> dict[str, Any]:
    """Return the Pod of the manifests, with the exact collector, three jobs and others beside it.

    Podman knows neither native sidecars nor Secrets in Pods: the collector is a container like
    the others here, its token a file. What the kubelet mounts by itself, the file whose path has
    the container's name, is mounted by hand.
    """
    (found,) = manifests.documents(manifests.FOLDER / "job" / "pod.yaml")
    (exact,) = manifests.documents(manifests.FOLDER / "job-exact" / "collector.yaml")
    spec = found["spec"]
    (collector,) = spec.pop("initContainers")
    del collector["restartPolicy"]
    collector["securityContext"] |= exact["spec"]["initContainers"][0]["securityContext"]
    collector["image"] = "localhost/runmeter-collector:latest"
    endpoint = f"grpc://{stack.receiver.address}"
    values = {"COLLECTOR_PUSH_ENDPOINT": endpoint, "COLLECTOR_INTERVAL": "500ms"}
    collector["env"] = [one for one in collector["env"] if one["name"] not in values]
    collector["env"] += [{"name": name, "value": value} for name, value in values.items()]
    others = [_other(collector, name) for name in CONTEXTS]
    stress = "localhost/runmeter-stress:latest"
    limits = {"limits": {"memory": str(LIMIT_BYTES)}}
    gate = {"volumeMounts": [{"name": "gate", "mountPath": "/gate"}]}
    spec["containers"] = [
        job(
            *("build", stress, ["cpu-stress", "1"], BUILD_USER),
            resources={"limits": {"cpu": f"{LIMIT_CORES * 1000:g}m", "memory": "64Mi"}},
        ),
        job("link", stress, ["sh", "-c", LINK], LINK_USER, resources=limits, **gate),
        job("tools", stress, ["sleep", "600"], 0, context={}),
        agent(AGENT, stack.gateway.url),
        *others,
        collector,
    ]
    spec["hostNetwork"] = True  # the receiver listens on this machine's loopback
    token = {"name": "push-token", "hostPath": {"path": str(folder / "token")}}
    spec["volumes"] = [
        *(volume for volume in spec["volumes"] if volume["name"] != "push-token"),
        *(token, {"name": "gate", "hostPath": {"path": str(folder / "gate")}}),
        *({"name": f"spool-{name}", "emptyDir": {}} for name in CONTEXTS),
    ]
    for name in JOBS:
        _name(folder, spec, name)
    return found


def _other(collector: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a collector that only prints, with a security context of its own."""
    other = copy.deepcopy(collector)
    other["name"] = name
    other["env"] = [{"name": "COLLECTOR_INTERVAL", "value": "1s"}]
    other["securityContext"] = {"readOnlyRootFilesystem": True, **CONTEXTS[name]}
    other["volumeMounts"] = [{"name": f"spool-{name}", "mountPath": "/var/spool/runmeter"}]
    return other


def _name(folder: Path, spec: dict[str, Any], name: str) -> None:
    """Mount the files that show a container's name in Kubernetes."""
    path = folder / "pods" / "1f0c9d52" / "containers" / name / "0"
    path.parent.mkdir(parents=True)
    path.touch()
    volume = {"name": f"log-{name}", "hostPath": {"path": str(path), "type": "File"}}
    spec["volumes"].append(volume)
    mount = {"name": f"log-{name}", "mountPath": "/dev/termination-log"}
    manifests.container(spec, name).setdefault("volumeMounts", []).append(mount)


def ended(found: dict[str, Container], runner: Podman) -> dict[str, dict[str, Any]]:
    """Send SIGTERM to all who measure, as the kubelet does after the job; return what they say."""
    names = [*CONTEXTS, "agent", "collector"]
    runner.run("stop", "--time=40", *(found[name].name for name in names))
    payloads = {}
    for name in CONTEXTS:
        (payloads[name],) = (line for line in found[name].lines if "containers" in line)
        assert found[name].wait() == 0
    return payloads


@pytest.fixture(scope="module")
def played(
    images: dict[str, str], stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    """One pod, once, to its end."""
    if reason := podman.missing():
        pytest.skip(f"needs Podman: {reason}")
    engine.build("runmeter-stress", engine.ROOT / "tests/docker/Dockerfile", HERE.parent / "docker")
    engine.build("runmeter-agent", HERE / "agent.Dockerfile", HERE)
    folder = tmp_path_factory.mktemp("pod")
    for name in ("token", "gate"):
        (folder / name).mkdir()
    for one in (folder, *folder.parents[:2]):
        one.chmod(0o755)
    (folder / "token" / "push-token").write_text(stack.token(SCOPE))
    (folder / "token" / "agent").write_text(stack.token(AGENT))
    runner = Podman(folder)
    try:
        runner.load("runmeter-collector", "runmeter-stress", "runmeter-agent")
        yield measured(runner, stack, folder)
    finally:
        runner.close()


def measured(runner: Podman, stack: Stack, folder: Path) -> Played:
    """Play the pod, let a job be killed, end the collectors, ask for the run."""
    found = runner.play(pod(folder, stack))
    measuring = [found[name] for name in (*CONTEXTS, "collector")]
    engine.within("measuring", lambda: all(one.events("run.started") for one in measuring))
    before = _used(found["build"])
    (folder / "gate" / "go").touch()
    engine.within("a kill", lambda: _kills(found["link"]))
    wanted = before[0] + MEASURED_SECONDS * LIMIT_CORES
    engine.within("measured", lambda: _used(found["build"])[0] >= wanted)
    rss = {name: peak_rss_bytes(found[name].pid) for name in ("nobody", "agent", "collector")}
    after, peak = _used(found["build"]), found["link"].counter("memory", PEAK)
    kills = {name: _kills(found[name]) for name in JOBS}
    payloads = ended(found, runner)
    end = _used(found["build"])
    (record,), (of_agent,) = stack.listed(SCOPE), stack.listed(AGENT)
    return Played(
        found["collector"].wait(),
        record,
        {**payloads, "collector": record["payload"]},
        {name: one.id for name, one in found.items()},
        *((one - two, most) for one, two, most in zip(after, before, end, strict=True)),
        peak,
        kills,
        rss,
        of_agent["payload"],
        [json.dumps(line) for one in found.values() for line in one.lines],
        (folder / "token" / "push-token").read_text(),
    )


def _kills(container: Container) -> int:
    return container.counter("memory", "memory.oom_control", "oom_kill")


def _used(container: Container) -> tuple[float, float]:
    """Return the seconds that the kernel says a container has used, and was throttled."""
    used = container.counter("cpuacct", "cpuacct.usage")
    return used / 1e9, container.counter("cpu", "cpu.stat", "throttled_time") / 1e9


def test_run_is_pushed(played: Played) -> None:
    """SIGTERM ends the collector with 0; the run is stored, complete, as the manifest names it."""
    assert played.code == 0
    assert played.record["state"] == "completed"
    assert played.record["run_id"] == "run-123"
    names = {one["name"] for one in played.record["payload"]["containers"]}
    assert set(JOBS) <= names
    assert len(names) == len(JOBS) + 1 + len(CONTEXTS) + 2  # the agent; itself and the pause one


def test_cpu_and_memory(played: Played) -> None:
    """CPU time is the kernel's, throttling is seen, and the memory of the other is at its limit."""
    build, link = played.figures("collector", "build"), played.figures("collector", "link")
    assert build["cpu_source"] == "cgroup"
    for key in ("burnt_seconds", "throttled_seconds"):  # of the kernel, within and around
        figure = build["cpu_seconds" if key == "burnt_seconds" else "cpu_throttled_seconds"]
        least, most = getattr(played, key)
        assert least - 1e-6 <= figure <= most + 1e-6, key  # it is rounded to microseconds
    assert 0 < build["cpu_cores"]["p50"] <= LIMIT_CORES * 1.2
    assert link["cpu_seconds"] < build["cpu_seconds"] / 4
    assert link["memory_peak_bytes"] == pytest.approx(played.peak_bytes, rel=0.01)
    assert played.peak_bytes == pytest.approx(LIMIT_BYTES, rel=0.1)


def test_the_kill_is_the_others(played: Played) -> None:
    """The OOM kill is counted in the container it happened in, and in no other."""
    assert played.kills["link"] >= 1
    for name in JOBS:
        assert played.figures("collector", name)["oom_kills"] == played.kills[name], name
    assert played.figures("collector", "build")["oom_kills"] == 0


# who reads the counters of whom; docs/kubernetes.md has this as a table
READS = {
    "nobody": (),
    "same": ("build",),
    "root": (),
    "default": ("tools",),
    "collector": JOBS,
}


@pytest.mark.parametrize("collector", READS)
def test_what_each_may_read(played: Played, collector: str) -> None:
    """Names, time, RSS and processes are always there; counters where the kernel allows it."""
    payload = played.payloads[collector]
    assert set(JOBS) <= {one["name"] for one in payload["containers"]}
    shown = {}
    for name in JOBS:
        figures = played.figures(collector, name)
        assert figures.keys() >= set(ALWAYS)
        is_read = name in READS[collector]
        assert (figures["cpu_source"] == "cgroup") is is_read, name
        assert [key in figures for key in COUNTERS] == [is_read] * len(COUNTERS), name
        shown[name] = (figures["cpu_source"], figures["cpu_seconds"])
    print(f"{collector}: {shown}, denied {payload['coverage']['denied']}")
    assert (payload["coverage"]["denied"] > 0) is (len(READS[collector]) < len(JOBS))
    busiest = payload["top_cpu_processes"][0]
    assert busiest["name"] == "cpu-stress"


def test_memory_beside_psutil(played: Played) -> None:
    """The collector's peak of RSS is no greater than that of an agent with psutil beside it."""
    named = {one["name"]: one for one in played.agent["containers"]}
    build = named[f"libpod-{played.ids['build']}"]
    shown = {name: f"{size / 2**20:.1f} MiB" for name, size in played.rss_bytes.items()}
    print(f"peak RSS while they measure: {shown}; psutil: {build['cpu_seconds']} s of build")
    assert played.agent["sample_count"] >= MEASURED_SECONDS / 2
    assert build["cpu_seconds"] > played.burnt_seconds[0] / 2  # it has really measured
    assert played.rss_bytes["nobody"] <= played.rss_bytes["agent"]


def test_no_secret(played: Played) -> None:
    """Neither the record that is stored nor a log holds the token."""
    assert played.token not in json.dumps(played.record)
    assert not [line for line in played.log if played.token in line]
