"""deploy/kubernetes: valid, whole, hardened, without secrets, and true to the programs."""

import json
import re
import subprocess
import urllib.request
from collections import Counter
from pathlib import Path

import kubernetes_validate
import pytest
from rig import manifests
from rig.manifests import BUILT, FOLDER, Document
from rig.programs import Program, Stage
from rig.repository import ROOT

from runmeter.gateway import settings as gateway_settings
from runmeter.receiver import settings as receiver_settings

SHUTDOWN_SECONDS = 25
DEFAULTS = {
    "receiver": {one.name: one.default for one in receiver_settings.SETTINGS},
    "gateway": {one.name: one.default for one in gateway_settings.SETTINGS},
}
PROBES = {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
PODS = manifests.collector_pods()


def service(name: str) -> tuple[Document, Document]:
    """Return Deployment and Service of the base."""
    deployment, service = manifests.documents(FOLDER / "base" / f"{name}.yaml")
    return deployment, service


# -- what is written ----------------------------------------------------------------------


@pytest.mark.parametrize("version", manifests.VERSIONS)
def test_schema(version: str) -> None:
    """Every resource, and every pod that a runner makes, has only fields that there are."""
    found = {**manifests.resources(), **manifests.runner_pods()}
    assert len(found) > 12
    for document in found.values():
        manifests.validate(document, version)


@pytest.mark.parametrize("change", ["shareProcessNamespaces", "restartPolicies"])
def test_schema_is_strict(change: str) -> None:
    """A field that there is not does not pass."""
    document = json.loads(json.dumps(PODS["job"]))
    document["spec"][change] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        manifests.validate(document, manifests.VERSIONS[0])


def test_no_secret() -> None:
    """No manifest holds a secret: generators take files, git ignores them, a comment makes them."""
    assert not [name for name in manifests.resources() if ":Secret/" in name]
    for folder in BUILT:
        text = (FOLDER / folder / "kustomization.yaml").read_text()
        generators = manifests.kustomization(folder).get("secretGenerator", [])
        for generator in generators:
            assert generator.keys() <= {"name", "files", "envs"}
            for name in [*generator.get("files", []), *generator.get("envs", [])]:
                assert name.startswith("secrets/")
                ignored = ["git", "check-ignore", "--quiet", FOLDER / folder / name]
                assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0, name
        assert not generators or "umask 077; mkdir secrets" in text


@pytest.mark.parametrize("name", ["receiver", "gateway"])
def test_services_find_their_pods(name: str) -> None:
    """Selectors, labels and named ports fit; ports are those that the program serves by default."""
    deployment, found = service(name)
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == found["spec"]["selector"]
    (one,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    (port,) = found["spec"]["ports"]
    assert port["targetPort"] in ports
    defaults = {key: int(DEFAULTS[name][key].lstrip(":")) for key in ("addr", "ops_addr")}
    assert ports == {port["name"]: defaults["addr"], "ops": defaults["ops_addr"]}
    assert port["port"] == defaults["addr"]


def test_network_policies_meet_pods() -> None:
    """Every policy is for pods that there are, and for ports that they have."""
    ports = {}
    for name in ("receiver", "gateway"):
        template = service(name)[0]["spec"]["template"]
        label = template["metadata"]["labels"]["app.kubernetes.io/name"]
        (one,) = template["spec"]["containers"]
        ports[label] = {port["name"] for port in one["ports"]}
    policies = [d for d in manifests.resources().values() if d["kind"] == "NetworkPolicy"]
    assert len(policies) == 4
    for policy in policies:
        selected = policy["spec"]["podSelector"].get("matchLabels")
        if not selected:
            continue
        own = ports[selected["app.kubernetes.io/name"]]
        for rule in policy["spec"].get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= own
        for rule in policy["spec"].get("egress", []):
            for peer in rule.get("to", []):
                other = ports[peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]]
                assert {port["port"] for port in rule["ports"]} <= other


@pytest.mark.parametrize("name", [*PODS, "receiver", "gateway"])
def test_hardened(name: str) -> None:
    """Our containers run as nobody, read-only, without capabilities, with limits; mounts exist."""
    spec = PODS[name]["spec"] if name in PODS else service(name)[0]["spec"]["template"]["spec"]
    one = manifests.container(spec, "collector" if name in PODS else name)
    context = {**spec.get("securityContext", {}), **one["securityContext"]}
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert one["resources"]["limits"].keys() == {"cpu", "memory"}
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    mounts = [mount for c in manifests.containers(spec) for mount in c.get("volumeMounts", [])]
    assert {mount["name"] for mount in mounts} == set(volumes)
    assert max(Counter(volumes).values(), default=1) == 1


@pytest.mark.parametrize("name", ["receiver", "gateway"])
def test_time_to_end(name: str) -> None:
    """The grace period covers the pause before SIGTERM and what the program takes at most."""
    spec = service(name)[0]["spec"]["template"]["spec"]
    (one,) = spec["containers"]
    pause = int(one["lifecycle"]["preStop"]["exec"]["command"][1])
    assert DEFAULTS[name]["shutdown_timeout"] == f"{SHUTDOWN_SECONDS}s"
    assert spec["terminationGracePeriodSeconds"] >= pause + SHUTDOWN_SECONDS + 5


# -- against the programs -----------------------------------------------------------------


def ask(url: str) -> int:
    """Return the status of a page."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as got:
        return int(got.status)


def test_services_start_with_these_settings_and_answer_these_probes(stage: Stage) -> None:
    """Receiver and gateway take the variables of their manifests; every probe finds its page."""
    (stage.folder / "read-token").write_text(f"{stage.secret()}\n")
    (stage.folder / "hmac-key").write_text(f"{stage.secret()}\n")
    address = ""
    for name in ("receiver", "gateway"):
        (one,) = service(name)[0]["spec"]["template"]["spec"]["containers"]
        environment = {
            key: value.replace("/run/secrets/runmeter", str(stage.folder))
            for key, value in manifests.variables(one).items()
        }
        prefix = name.upper()
        assert {key.removeprefix(f"{prefix}_").lower() for key in environment} <= DEFAULTS[
            name
        ].keys()
        environment |= {f"{prefix}_ADDR": "127.0.0.1:0", f"{prefix}_OPS_ADDR": "127.0.0.1:0"}
        if name == "gateway":
            assert environment["GATEWAY_RECEIVER"] == "grpc://receiver:50051"
            environment["GATEWAY_RECEIVER"] = f"grpc://{address}"
        program: Program = stage.start(name, environment=environment)
        started = program.event("server.started")
        address = started["address"]
        for kind, path in PROBES.items():
            assert one[f"{kind}Probe"]["httpGet"] == {"path": path, "port": "ops"}
            assert ask(f"http://{started['ops_address']}{path}") == 200


def annotated(name: str) -> dict[str, str]:
    """Return what GitLab's variables make of the annotations."""
    values = {"CI_PROJECT_PATH": "group/sub/repo", "CI_PROJECT_ROOT_NAMESPACE": "group"}
    found = {}
    for key, value in manifests.gitlab()["pod_annotations"].items():
        assert re.fullmatch(r"\$(?:CI_[A-Z_]+|RUNMETER_PUSH_TOKEN)", value)
        found[f"metadata.annotations['{key}']"] = values.get(value.lstrip("$"), "some-name")
    one = manifests.container(PODS[name]["spec"], "collector")
    sources = {v["name"]: v["valueFrom"] for v in one["env"] if "valueFrom" in v}
    used = {variable: source["fieldRef"]["fieldPath"] for variable, source in sources.items()}
    assert set(used.values()) - {"metadata.name"} <= found.keys()
    return {variable: found.get(path, "pod-1") for variable, path in used.items()}


@pytest.mark.parametrize("name", PODS)
def test_collectors_start_with_these_settings(name: str, stage: Stage) -> None:
    """The collector takes the variables of each manifest: it measures, and wants to push."""
    one = manifests.container(PODS[name]["spec"], "collector")
    environment = manifests.variables(one, annotated(name))
    if name == "gitlab":
        assert environment["COLLECTOR_PUSH_TOKEN"] == "some-name"
    else:
        token = stage.folder / Path(environment["COLLECTOR_PUSH_TOKEN_FILE"]).name
        token.write_text(f"{stage.keep('a' * 64)}\n")
        environment["COLLECTOR_PUSH_TOKEN_FILE"] = str(token)
    (mount,) = (m for m in one["volumeMounts"] if "spool" in m["name"])
    assert mount["mountPath"] == "/var/spool/runmeter"
    program: Program = stage.start(
        "collector",
        environment={
            **environment,
            "COLLECTOR_PUSH_ENDPOINT": "grpc://127.0.0.1:9",  # no server is there
            "COLLECTOR_SHUTDOWN_TIMEOUT": "1s",
        },
    )
    program.event("run.started")
    assert program.stop() == 3, program.text
    assert environment["COLLECTOR_PUSH_ENDPOINT"] == "grpc://receiver.runmeter.svc:50051"


@pytest.mark.parametrize("name", PODS)
def test_pods_are_measured_to_their_end(name: str) -> None:
    """Processes are shared, there is time to push, and what ends the collector fits the runner."""
    spec = PODS[name]["spec"]
    assert spec["shareProcessNamespace"] is True
    grace = spec.get("terminationGracePeriodSeconds")
    if name == "gitlab":  # set by the runner, which has two settings of its own
        grace = manifests.gitlab()["pod_termination_grace_period_seconds"]
        assert manifests.gitlab()["cleanup_grace_period_seconds"] == grace
    assert grace >= SHUTDOWN_SECONDS + 5
    native = [one["name"] for one in spec.get("initContainers", [])]
    if name in ("job", "forgejo"):  # ends by itself: nothing but a native sidecar lets it
        assert native == ["collector"]
        assert spec["initContainers"][0]["restartPolicy"] == "Always"
    else:  # is deleted
        assert native == []


def test_limits_are_told() -> None:
    """CGROUP_LIMITS of the example says what its containers have."""
    spec = PODS["job"]["spec"]
    told = json.loads(manifests.variables(manifests.container(spec, "collector"))["CGROUP_LIMITS"])
    assert told == {one["name"]: one["resources"]["limits"] for one in spec["containers"]}
