"""docker-compose.yaml: secrets are asked for, the walk-through, and faults that lose nothing."""

import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from rig import engine
from rig.engine import Container, Project
from rig.repository import ROOT
from rig.stack import Scope, a_record, bearer

pytestmark = pytest.mark.slow

FAULT_SECONDS = 2.0
MORE_PUSHES = 20
_numbers = itertools.count(1)


@pytest.fixture
def scope() -> Scope:
    """A scope no other test uses."""
    organization = f"org-{next(_numbers)}"
    return Scope(organization, f"{organization}/repo", "ci.yml", "build")


# -- start and walk-through ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["READ_TOKEN", "HMAC_KEY", "POSTGRES_PASSWORD"])
def test_no_default_secret(services: Any, name: str) -> None:
    """Without one of the secrets nothing starts; what is missing is said, and how to make it."""
    environment = {**services.project.environment, f"RUNMETER_{name}": ""}
    said = Project("runmeter-none", ROOT / "docker-compose.yaml", environment=environment).refuse(
        "up", "--detach"
    )
    assert f"RUNMETER_{name}" in said
    assert ".env.example" in said
    example = (ROOT / ".env.example").read_text()
    assert f"\nRUNMETER_{name}=\n" in example
    assert "openssl rand -hex 32" in example


def collector_of(services: Any, scope: Scope, *arguments: str) -> tuple[str, ...]:
    """Return the flags of a collector container that pushes to the receiver."""
    return (
        *(f"--network={services.network}", "--read-only", "--cap-drop=ALL"),
        *(f"--env=COLLECTOR_PUSH_TOKEN={services.token(scope)}",),
        *(f"--env=GITHUB_REPOSITORY={scope.repository}", f"--env=GITHUB_WORKFLOW={scope.workflow}"),
        *(f"--env=GITHUB_JOB={scope.job}", "--env=COLLECTOR_PUSH_ENDPOINT=grpc://receiver:50051"),
        *("--env=COLLECTOR_INTERVAL=200ms", "--env=COLLECTOR_CHECKPOINT_INTERVAL=200ms"),
        *("--env=COLLECTOR_SHUTDOWN_TIMEOUT=5s", *arguments),
    )


@pytest.fixture
def collector(services: Any, container: Callable[..., Container], scope: Scope) -> Container:
    """A collector that measures, with a checkpoint in its spool."""
    one = container("collector", flags=collector_of(services, scope))
    one.await_event("run.started")
    engine.within("a checkpoint", lambda: len(spooled(one)) == 1)
    return one


def spooled(collector: Container) -> list[str]:
    """Return the files of runs in the spool."""
    listed = engine.docker(
        *("exec", collector.id, "python", "-I", "-c"),
        "import os; print(*os.listdir('/var/spool/runmeter'))",
    )
    return [name for name in listed.split() if name.endswith(".json")]


def test_walk_through(services: Any, collector: Container, scope: Scope) -> None:
    """Token, collector, query: the run is there, completed, with the container itself in it."""
    assert services.listed(scope) == []
    assert collector.stop() == 0, collector.log
    (run,) = services.listed(scope)
    assert run["state"] == "completed"
    assert run["payload"]["containers"]


# -- faults of receiver and gateway -------------------------------------------------------------


class Pushers:
    """Push runs over REST, each until it is acknowledged, whatever happens on the way."""

    def __init__(self, services: Any, scope: Scope) -> None:
        self._services = services
        self._scope = scope
        self._token = services.token(scope)
        self._over = threading.Event()
        self.acknowledged: list[str] = []
        self.answers: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._push_all, daemon=True) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _push_all(self) -> None:
        with httpx.Client(
            base_url=self._services.rest.base_url, trust_env=False, timeout=3
        ) as client:
            while not self._over.is_set():
                push_id = str(uuid.uuid4())
                record = a_record(self._scope, push_id=push_id)
                while not self._push(client, record):
                    time.sleep(0.1)  # between two tries, as a client does
                self.acknowledged.append(push_id)

    def _push(self, client: httpx.Client, record: dict[str, Any]) -> bool:
        try:
            answer = client.post("/api/v1/metrics", json=record, headers=bearer(self._token))
        except httpx.TransportError as error:
            self.answers[type(error).__name__] += 1
            return False
        self.answers[str(answer.status_code)] += 1
        return answer.status_code in (200, 201)

    def await_more(self) -> None:
        """Wait until pushes that begin now have been acknowledged."""
        target = len(self.acknowledged) + MORE_PUSHES
        try:
            engine.within("acknowledged pushes", lambda: len(self.acknowledged) >= target)
        except AssertionError:
            raise AssertionError(f"no push is acknowledged: {dict(self.answers)}") from None

    def close(self) -> None:
        """Stop pushing, after the last pushes have ended."""
        self._over.set()
        for thread in self._threads:
            thread.join(engine.WAIT_SECONDS)
            assert not thread.is_alive()


def crash(services: Any, service: str) -> None:
    """Kill the process; the restart policy starts it again."""
    services.project.container(service).crash()


def restart(services: Any, service: str) -> None:
    """Restart the container."""
    services.project.run("restart", service)


def pause(services: Any, service: str) -> None:
    """Freeze the container for a while."""
    services.project.run("pause", service)
    time.sleep(FAULT_SECONDS)
    services.project.run("unpause", service)


def disconnect(services: Any, service: str) -> None:
    """Take the container off its network for a while."""
    container = services.project.container(service)
    engine.docker("network", "disconnect", services.network, container.id)
    time.sleep(FAULT_SECONDS)
    engine.docker("network", "connect", "--alias", service, services.network, container.id)


def upgrade(services: Any, service: str) -> None:
    """Put a new container in the place of the old one, as a new image does."""
    services.project.run("up", "--detach", "--no-deps", "--force-recreate", service)


@pytest.fixture
def pushers(services: Any, scope: Scope) -> Iterator[Pushers]:
    """Pushers of a scope of their own."""
    pushers = Pushers(services, scope)
    try:
        yield pushers
    finally:
        pushers.close()


@pytest.mark.parametrize("service", ["receiver", "gateway"])
@pytest.mark.parametrize("fault", [crash, restart, pause, disconnect, upgrade])
def test_no_push_is_lost(
    services: Any,
    pushers: Pushers,
    scope: Scope,
    fault: Callable[[Any, str], None],
    service: str,
) -> None:
    """Under pushes a service breaks and comes back: what was acknowledged is there, once."""
    pushers.await_more()
    fault(services, service)
    pushers.await_more()
    pushers.close()
    counted = Counter(run["push_id"] for run in services.listed(scope))
    print(dict(pushers.answers))
    assert len(pushers.acknowledged) >= 2 * MORE_PUSHES
    assert counted == Counter(pushers.acknowledged)
    unexpected = {status for status in pushers.answers if status.isdigit()}
    assert unexpected <= {"200", "201", "429", "503", "504"}  # all of them are tried again


def test_one_of_two_receivers_is_lost(on_postgres: Any, scope: Scope) -> None:
    """On PostgreSQL the other receiver takes over; the database breaks, too; both are replaced."""
    pushers = Pushers(on_postgres, scope)
    try:
        pushers.await_more()
        on_postgres.project.run("stop", "receiver-a")
        pushers.await_more()
        on_postgres.project.run("start", "receiver-a")
        on_postgres.project.run("stop", "receiver-b")
        pushers.await_more()
        crash(on_postgres, "postgres")
        pushers.await_more()
        on_postgres.project.run("start", "receiver-b")
        for service in ("receiver-a", "receiver-b"):
            upgrade(on_postgres, service)
            on_postgres.project.container(service).await_health()
            pushers.await_more()
    finally:
        pushers.close()
    counted = Counter(run["push_id"] for run in on_postgres.listed(scope))
    print(dict(pushers.answers))
    assert counted == Counter(pushers.acknowledged)


# -- faults of the collector --------------------------------------------------------------------


def states(services: Any, scope: Scope) -> list[str]:
    """Return the states of all runs of a scope."""
    return sorted(run["state"] for run in services.listed(scope))


def test_collector_killed(services: Any, collector: Container, scope: Scope) -> None:
    """A run whose collector was killed is delivered by the next one on that spool, once."""
    collector.crash()
    assert collector.state["ExitCode"] == 137
    engine.docker("start", collector.id)
    collector.await_event("run.started", count=2)
    assert collector.stop() == 0, collector.log
    assert states(services, scope) == ["completed", "interrupted"]


def test_collector_restarted(services: Any, collector: Container, scope: Scope) -> None:
    """A restart is two runs, both completed."""
    engine.docker("restart", "--time", "30", collector.id)
    collector.await_event("run.started", count=2)
    assert collector.stop() == 0, collector.log
    assert states(services, scope) == ["completed", "completed"]


def test_collector_paused(services: Any, collector: Container, scope: Scope) -> None:
    """A collector that was frozen for a while pushes its run."""
    engine.docker("pause", collector.id)
    time.sleep(FAULT_SECONDS)
    engine.docker("unpause", collector.id)
    assert collector.stop() == 0, collector.log
    assert states(services, scope) == ["completed"]


def test_collector_disconnected(
    services: Any, collector: Container, container: Callable[..., Container], scope: Scope
) -> None:
    """Without a network the run is kept on its volume, whence `collector push` delivers it."""
    engine.docker("network", "disconnect", services.network, collector.id)
    assert collector.stop() == 3, collector.log
    assert services.listed(scope) == []
    flags = collector_of(services, scope, f"--volumes-from={collector.id}")
    pusher = container("collector", "push", flags=flags)
    assert pusher.wait() == 0, pusher.log
    assert states(services, scope) == ["completed"]
