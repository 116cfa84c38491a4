"""deploy/kubernetes as kustomize builds it: valid, with images and secrets, for either database."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rig import manifests
from rig.manifests import BUILT, Document


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Document]]:
    """Return the applied manifests by folder."""
    if reason := manifests.missing():
        pytest.skip(reason)
    copy = tmp_path_factory.mktemp("deploy") / "kubernetes"
    return {folder: manifests.build(folder, copy) for folder in BUILT}


@pytest.mark.parametrize("folder", BUILT)
def test_built(built: dict[str, list[Document]], folder: str) -> None:
    """It builds, is valid, has images of the registry alone, and every secret it uses."""
    for document in built[folder]:
        for version in manifests.VERSIONS:
            manifests.validate(document, version)
    text = json.dumps(built[folder])
    images = set(re.findall(r'"image": "([^"]+)"', text))
    assert images
    assert not [image for image in images if not image.startswith("registry.example.org/")]
    made = {d["metadata"]["name"] for d in built[folder] if d["kind"] == "Secret"}
    assert set(re.findall(r'"secretName": "([^"]+)"', text)) <= made
    keys = re.findall(r'"secretKeyRef": \{"key": "([^"]+)", "name": "([^"]+)"', text)
    assert {name for _, name in keys} <= made
    assert {d["metadata"].get("namespace") for d in built[folder] if d["kind"] != "Namespace"} == {
        "runmeter" if folder.startswith("overlays") else "ci"
    }


def spec_of(documents: list[Document], kind: str, name: str) -> Any:
    """Return the spec of a resource."""
    (found,) = (d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name)
    return found["spec"]


def test_databases(built: dict[str, list[Document]]) -> None:
    """On SQLite there is one receiver with a volume, on PostgreSQL two without, and migrated."""
    spec = spec_of(built["overlays/sqlite"], "Deployment", "receiver")
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    (one,) = spec["template"]["spec"]["containers"]
    claim = {v["name"]: v for v in spec["template"]["spec"]["volumes"]}["runs"]
    spec_of(
        built["overlays/sqlite"],
        "PersistentVolumeClaim",
        claim["persistentVolumeClaim"]["claimName"],
    )
    (mount,) = (m for m in one["volumeMounts"] if m["name"] == "runs")
    assert Path(manifests.variables(one)["RECEIVER_DB"]).parent == Path(mount["mountPath"])
    spec = spec_of(built["overlays/postgres"], "Deployment", "receiver")
    (one,) = spec["template"]["spec"]["containers"]
    assert spec["replicas"] == 2
    assert manifests.variables(one)["RECEIVER_MIGRATE"] == "true"
    assert "secretKeyRef" in {v["name"]: v for v in one["env"]}["RECEIVER_DB"]["valueFrom"]


def test_exact(built: dict[str, list[Document]]) -> None:
    """The exact variant differs in the collector's user and one capability, and in nothing else."""
    plain, exact = (spec_of(built[name], "Pod", "job") for name in ("job", "job-exact"))
    context = manifests.container(exact, "collector").pop("securityContext")
    assert context["capabilities"] == {"add": ["SYS_PTRACE"], "drop": ["ALL"]}
    assert context["runAsUser"] == 0
    assert context["readOnlyRootFilesystem"] is True
    manifests.container(plain, "collector").pop("securityContext")
    assert plain == exact
