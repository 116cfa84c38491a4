"""Images that are built once, and projects of compose that leave nothing behind."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
HERE = Path(__file__).parent
PORTS = ("PORT", "GRPC_PORT", "POSTGRES_PORT")


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The images of the three services, by their Dockerfiles as they are: name to id."""
    if reason := engine.missing():
        pytest.skip(f"needs a Docker engine: {reason}")
    # the first makes the layers they share; PostgreSQL's is for the profile of that name
    built = {"collector": _build("collector")}
    with ThreadPoolExecutor() as pool:
        postgres = pool.submit(
            engine.build, "runmeter-postgres", HERE / "postgres.Dockerfile", context=HERE
        )
        others = [name for name in engine.SERVICES if name not in built]
        built |= zip(others, pool.map(_build, others), strict=True)
        postgres.result()
    return built


def _build(name: str) -> str:
    return engine.build(f"runmeter-{name}", ROOT / "services" / name / "Dockerfile")


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

    def __init__(self, name: str, **more: str) -> None:
        ports = {
            f"RUNMETER_{variable}": str(port)
            for variable, port in zip(PORTS, free_ports(len(PORTS)), strict=True)
        }
        self.project = Project(
            name,
            ROOT / "docker-compose.yaml",
            environment={
                "RUNMETER_READ_TOKEN": READ_TOKEN,
                "RUNMETER_HMAC_KEY": HMAC_KEY,
                "RUNMETER_POSTGRES_PASSWORD": PASSWORD,
                **ports,
                **more,
            },
        )
        self.network = f"{name}_default"
        port = ports["RUNMETER_POSTGRES_PORT" if more else "RUNMETER_PORT"]
        self.rest = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)

    def token(self, scope: Scope) -> str:
        """Mint a push token."""
        answer = self.rest.post("/api/v1/token", json=scope._asdict(), headers=bearer(READ_TOKEN))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def listed(self, scope: Scope) -> list[dict[str, Any]]:
        """Return the runs of a scope."""
        answer = self.rest.get(scope.path, params={"limit": 10000}, headers=bearer(READ_TOKEN))
        assert answer.status_code == 200, answer.text
        return list(json.loads(answer.text))


def free_ports(count: int) -> list[int]:
    """Return free ports of loopback."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


@contextlib.contextmanager
def running(services: Services, gateway: str) -> Iterator[Services]:
    """Bring up a gateway and what it needs; at the end no log may hold a secret."""
    try:
        services.project.run("up", "--detach", "--build", gateway)
        services.project.container(gateway).await_health()
        yield services
        log = services.project.logs()
    finally:
        services.rest.close()
        services.project.down()
    assert '"server.started"' in log
    assert not [secret for secret in SECRETS if secret in log]


@pytest.fixture(scope="session")
def services(images: dict[str, str]) -> Iterator[Services]:
    """Receiver on SQLite and gateway, as `up gateway` starts them."""
    with running(Services("runmeter-tests"), "gateway") as services:
        yield services


@pytest.fixture
def on_postgres(images: dict[str, str]) -> Iterator[Services]:
    """PostgreSQL, two receivers and gateway, as `up gateway-postgres` starts them."""
    services = Services(
        "runmeter-tests-postgres",
        RUNMETER_POSTGRES_IMAGE="runmeter-postgres",
        COMPOSE_PROFILES="postgres",
    )
    with running(services, "gateway-postgres") as services:
        yield services
