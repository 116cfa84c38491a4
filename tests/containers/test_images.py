"""The images: what is in them and what is not, how large they are, how they run and end."""

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rig import engine
from rig.engine import SERVICES, Container
from rig.repository import ROOT, committed_files

pytestmark = pytest.mark.slow

MEGABYTE = 1_000_000
SIZE_MAX = {"collector": 30 * MEGABYTE, "receiver": 60 * MEGABYTE, "gateway": 60 * MEGABYTE}
FOREIGN = {
    "collector": {"tortoise", "sanic", "asyncpg", "aiohttp", "uvloop", "click"},
    "receiver": {"sanic", "tenacity"},
    "gateway": {"tortoise", "asyncpg", "tenacity", "aiohttp"},
}
NEEDED = {"collector": "tenacity", "receiver": "tortoise", "gateway": "sanic"}
HARD = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true")
SECRET_FLAGS = (
    "--env=RECEIVER_READ_TOKEN=a-read-token-that-no-log-may-hold",
    "--env=RECEIVER_HMAC_KEY=an-hmac-key-that-no-log-may-hold",
)
FLAGS: dict[str, tuple[str, ...]] = {"collector": (), "receiver": SECRET_FLAGS, "gateway": ()}
STARTED = {"collector": "run.started", "receiver": "server.started", "gateway": "server.started"}

Start = Callable[..., Container]


def inside(name: str, code: str) -> Any:
    """Run Python in an image; return the JSON it prints."""
    output = engine.docker(
        *("run", "--rm", "--entrypoint=python", f"runmeter-{name}", "-I", "-c", code)
    )
    return json.loads(output)


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_installed(images: dict[str, str], name: str) -> None:
    """An image holds its service and the contract, and nothing of the others or of the build."""
    code = (
        "import json, pkgutil, runmeter; print(json.dumps("
        "[[m.name for m in pkgutil.iter_modules(p)] for p in (None, runmeter.__path__)]))"
    )
    modules, ours = map(set, inside(name, code))
    assert NEEDED[name] in modules
    assert not FOREIGN[name] & modules
    assert ours == {name, "v1"} | {"procfs" if name == "collector" else "service"}
    assert not {"pytest", "uv", "hatchling", "grpc_tools", "mypy_protobuf"} & modules


@pytest.mark.parametrize("name", SERVICES)
def test_size(images: dict[str, str], name: str) -> None:
    """An image adds at most its limit to its base."""
    more = engine.image(images[name])["Size"] - engine.image(engine.BASE)["Size"]
    print(f"{name}: {more / MEGABYTE:.1f} MB over its base")
    assert 0 < more <= SIZE_MAX[name]


@pytest.mark.parametrize("name", SERVICES)
def test_labels_and_user(images: dict[str, str], name: str) -> None:
    """Labels say what it is, in the version of its package; it runs as the user nobody."""
    project = tomllib.loads((ROOT / "services" / name / "pyproject.toml").read_text())["project"]
    config = engine.image(images[name])["Config"]
    prefix = "org.opencontainers.image."
    assert config["Labels"][f"{prefix}title"] == project["name"]
    assert config["Labels"][f"{prefix}version"] == project["version"]
    assert config["Labels"][f"{prefix}description"] == project["description"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["python", "-I", "-m", f"runmeter.{name}"]
    assert engine.docker("run", "--rm", images[name], "--version").split() == [
        name,
        project["version"],
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_hardened_start_and_end(container: Start, name: str) -> None:
    """Read-only and without any capability it starts, is well, and ends by SIGTERM with 0."""
    one = container(name, flags=(*HARD, *FLAGS[name]))
    one.await_event(STARTED[name])
    if name != "collector":
        one.await_health()
    assert one.stop() == 0, one.log


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_compiled_at_start(container: Start, name: str) -> None:
    """All that a start imports is compiled: a user who may write leaves no new .pyc behind."""
    one = container(name, flags=("--user=0", *FLAGS[name]))
    one.await_event(STARTED[name])
    one.stop()
    changed = engine.docker("diff", one.id).split()
    assert [path for path in changed if path.endswith(".pyc")] == []


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_in_the_image(images: dict[str, str], name: str) -> None:
    """Neither a layer's command nor the environment names a secret."""
    history = engine.docker("history", "--no-trunc", "--format={{.CreatedBy}}", images[name])
    environment = "\n".join(engine.image(images[name])["Config"]["Env"])
    assert "/opt/runmeter" in history
    for word in ("TOKEN", "KEY=", "PASSWORD", "SECRET"):
        assert word not in history
        assert word not in environment


def test_what_builds_see(images: dict[str, str], tmp_path: Path) -> None:
    """Secrets, databases, history and leftovers of the folder never reach the engine."""
    for path in committed_files():
        if path.suffix in (".toml", ".lock", ".proto") or path.name == ".dockerignore":
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    hidden = (
        *(".env", "services/receiver/.env", ".git/config", "metrics.db", "push-token"),
        *("services/receiver/metrics.db-wal", ".venv/bin/python", "tests/conftest.py"),
        *("services/receiver/tests/test_x.py", "libs/procfs/src/__pycache__/a.pyc"),
    )
    for name in hidden:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("secret")
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM {engine.BASE}\nCOPY . /context\n")
    engine.build("runmeter-context", dockerfile, tmp_path)
    listed = engine.docker("run", "--rm", "runmeter-context", "find", "/context", "-type", "f")
    engine.docker("rmi", "runmeter-context")
    seen = {line.removeprefix("/context/") for line in listed.split()}
    assert {"uv.lock", "pyproject.toml", "services/receiver/pyproject.toml"} <= seen
    assert not seen & set(hidden)


@pytest.mark.parametrize("name", SERVICES)
def test_dockerfile_is_plain(name: str) -> None:
    """Dockerfiles need no BuildKit and start from the official base."""
    text = (ROOT / "services" / name / "Dockerfile").read_text()
    assert "RUN --" not in text
    assert "# syntax" not in text
    assert "<<" not in text
    froms = [line.split()[1] for line in text.splitlines() if line.startswith("FROM")]
    assert froms == [engine.BASE, engine.BASE]
