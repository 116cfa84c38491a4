"""The manifests of deploy/kubernetes: as they are written, and as kustomize builds them."""

import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from rig.repository import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
BUILT = ("overlays/sqlite", "overlays/postgres", "job", "job-exact")
VERSIONS = ("1.29", kubernetes_validate.latest_version())  # native sidecars began with the first
SECRETS = ("read-token", "hmac-key", "push-token")
Document = dict[str, Any]


def validate(document: Document, version: str) -> None:
    """Raise if a document has a field, or a value, that a version of Kubernetes does not know."""
    kubernetes_validate.validate(document, version, strict=True)


def documents(path: Path) -> list[Document]:
    """Return the documents of a file."""
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def kustomization(folder: str) -> Document:
    """Return the kustomization of a folder."""
    (found,) = documents(FOLDER / folder / "kustomization.yaml")
    return found


def patches() -> set[Path]:
    """Return the files that are merged into others: no whole resources."""
    return {
        folder / patch["path"]
        for folder in (path.parent for path in FOLDER.rglob("kustomization.yaml"))
        for patch in kustomization(str(folder.relative_to(FOLDER))).get("patches", [])
    }


def resources() -> dict[str, Document]:
    """Return every whole resource that is written down, by file and name."""
    found = {}
    for path in sorted(FOLDER.rglob("*.yaml")):
        if path.name in ("kustomization.yaml", "github-arc-values.yaml") or path in patches():
            continue
        for document in documents(path):
            metadata = document["metadata"]
            name = metadata.get("name") or metadata["generateName"]
            found[f"{path.relative_to(FOLDER)}:{document['kind']}/{name}"] = document
    return found


def runner_pods() -> dict[str, Document]:
    """Return the pods that runners make by configuration, each as a whole Pod."""
    (values,) = documents(FOLDER / "runners" / "github-arc-values.yaml")
    (job,) = documents(FOLDER / "runners" / "forgejo-runner.yaml")
    return {
        "github": _pod(values["template"]["spec"]),
        "forgejo": _pod(job["spec"]["template"]["spec"]),
        "gitlab": _pod(yaml.safe_load(gitlab()["pod_spec"][0]["patch"])),
    }


def gitlab() -> Document:
    """Return the part of GitLab's config.toml below ``[runners.kubernetes]``."""
    (runner,) = tomllib.loads((FOLDER / "runners" / "gitlab-runner.toml").read_text())["runners"]
    return dict(runner["kubernetes"])


def _pod(spec: Document) -> Document:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}


def collector_pods() -> dict[str, Document]:
    """Return every Pod with a collector in it."""
    (job,) = documents(FOLDER / "job" / "pod.yaml")
    return {"job": job, **runner_pods()}


def containers(spec: Document) -> Iterator[Document]:
    """Yield all containers of a Pod's spec, those that are started first as well."""
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def container(spec: Document, name: str) -> Document:
    """Return a container of a Pod's spec."""
    (found,) = (one for one in containers(spec) if one["name"] == name)
    return found


def variables(container: Document, values: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a container's environment as the kubelet makes it.

    ``values``: what ``valueFrom`` of a variable gives; by default its own name.
    """
    made: dict[str, str] = {}
    for one in container.get("env", []):
        value = one["value"] if "value" in one else (values or {}).get(one["name"], one["name"])
        for name, text in made.items():
            value = value.replace(f"$({name})", text)
        made[one["name"]] = value
    return made


def missing() -> str:
    """Say why nothing can be built; empty if kustomize is here, by itself or in kubectl."""
    return "" if shutil.which("kustomize") or shutil.which("kubectl") else "needs kubectl"


def build(folder: str, copy: Path) -> list[Document]:
    """Build a folder with made-up secrets, in a copy."""
    if not copy.exists():
        shutil.copytree(FOLDER, copy)
    for name in BUILT:
        secrets = copy / name / "secrets"
        secrets.mkdir(exist_ok=True)
        for secret in SECRETS:
            (secrets / secret).write_text("made-up\n")
        (secrets / "database.env").write_text("RECEIVER_DB=postgres://made-up\n")
    program = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    done = subprocess.run(
        [*program, copy / folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no deprecated field
    return [found for found in yaml.safe_load_all(done.stdout) if found]
