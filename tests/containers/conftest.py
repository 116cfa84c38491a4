"""Images that are built once, and projects of compose that leave nothing behind."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rig import engine
from rig.engine import Container, Project
from rig.repository import ROOT
from rig.stack import Scope, bearer

READ_TOKEN = "a-read-token-that-no-log-may-hold"
HMAC_KEY = "an-hmac-key-that-no-log-may-hold"
PASSWORD = "a-password-that-no-log-may-hold"
SECRETS = (READ_TOKEN, HMAC_KEY, PASSWORD)


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The images of the three services, by their Dockerfiles as they are: name to id."""
    if reason := engine.missing():
        pytest.skip(f"needs a Docker engine: {reason}")
    return {
        name: engine.build(f"runmeter-{name}", ROOT / "services" / name / "Dockerfile")
        for name in engine.SERVICES
    }


@pytest.fixture
def container(images: dict[str, str]) -> Iterator[Callable[..., Container]]:
    """Starts containers of our images that are removed at the end, with their volumes."""
    started: list[Container] = []

    def start(service: str, *arguments: str, flags: tuple[str, ...] = ()) -> Container:
        identifier = engine.docker("run", "--detach", *flags, images[service], *arguments)
        started.append(Container(identifier.strip()))
        return started[-1]

    yield start
    logs = [one.log for one in started]
    for one in started:
        engine.docker("rm", "--force", "--volumes", one.id)
    assert not [secret for secret in SECRETS for log in logs if secret in log]


class Services:
    """docker-compose.yaml, running, and how its users see it."""

    def __init__(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as one,
            socket.create_server(("127.0.0.1", 0)) as other,
        ):
            rest, grpc = one.getsockname()[1], other.getsockname()[1]
        self.project = Project(
            "runmeter-tests",
            ROOT / "docker-compose.yaml",
            environment={
                "RUNMETER_READ_TOKEN": READ_TOKEN,
                "RUNMETER_HMAC_KEY": HMAC_KEY,
                "RUNMETER_POSTGRES_PASSWORD": PASSWORD,
                "RUNMETER_PORT": str(rest),
                "RUNMETER_GRPC_PORT": str(grpc),
            },
        )
        self.network = f"{self.project.name}_default"
        self.rest = httpx.Client(base_url=f"http://127.0.0.1:{rest}", trust_env=False, timeout=20)

    def token(self, scope: Scope) -> str:
        """Mint a push token."""
        answer = self.rest.post("/api/v1/token", json=scope._asdict(), headers=bearer(READ_TOKEN))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def listed(self, scope: Scope) -> list[dict[str, Any]]:
        """Return the runs of a scope, or nothing while the services do not answer."""
        try:
            answer = self.rest.get(scope.path, headers=bearer(READ_TOKEN))
        except httpx.TransportError:
            return []
        return list(json.loads(answer.text)) if answer.status_code == 200 else []


@pytest.fixture(scope="session")
def services(images: dict[str, str]) -> Iterator[Services]:
    """Receiver and gateway of docker-compose.yaml."""
    services = Services()
    try:
        services.project.run("up", "--detach", "--build")
        services.project.container("gateway").await_health()
        yield services
        log = services.project.logs()
    finally:
        services.rest.close()
        services.project.down()
    assert '"server.started"' in log
    assert not [secret for secret in SECRETS if secret in log]


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder for a context with secrets in it."""
    return tmp_path / "context"
