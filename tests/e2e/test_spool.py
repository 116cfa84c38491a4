"""Runs that could not be delivered when they ended, and reach the receiver later."""

import json
import signal
import socket
from pathlib import Path

import pytest
from rig.programs import Program, Stage
from rig.stack import Scope, Stack

BRIEFLY = "--shutdown-timeout=1s"


@pytest.fixture
def nobody() -> str:
    """Return an endpoint without a server."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"grpc://127.0.0.1:{bound.getsockname()[1]}"


def measured(stage: Stage, endpoint: str, variables: dict[str, str], *flags: str) -> Program:
    """Let a collector measure for a moment and push; return it ended."""
    collector: Program = stage.start(
        "collector",
        *("--interval=100ms", f"--push-endpoint={endpoint}", *flags),
        environment=variables,
    )
    collector.event("run.started")
    collector.stop(signal.SIGTERM)
    return collector


def files(stage: Stage) -> list[str]:
    """Return what lies in the default spool."""
    folder = Path(stage.folder) / ".local" / "state" / "runmeter"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))


@pytest.mark.parametrize("way", ["grpc", "http"])
def test_what_waits_is_stored_once(own_stack: Stack, scope: Scope, nobody: str, way: str) -> None:
    """A run kept without a server is stored under its push_id by ``collector push``."""
    stage = own_stack.stage
    variables = scope.environment(own_stack.token(scope))
    collector = measured(stage, nobody, variables, BRIEFLY)
    assert collector.wait() == 3
    push_id = collector.event("run.started")["push_id"]
    assert files(stage) == [f"{push_id}.json"]
    endpoint = {
        "grpc": f"grpc://{own_stack.receiver.address}",
        "http": f"{own_stack.gateway.url}/api/v1/metrics",
    }[way]
    flags = ("--json", f"--push-endpoint={endpoint}")
    pushed = stage.start("collector", "push", *flags, environment=variables)
    assert pushed.wait() == 0
    report = json.loads(pushed.output[0])
    assert [(run["push_id"], run["duplicate"]) for run in report["pushed"]] == [(push_id, False)]
    assert files(stage) == []
    (stored,) = own_stack.listed(scope)
    assert (stored["push_id"], stored["state"]) == (push_id, "completed")


def test_the_next_collector_delivers_what_waits(
    own_stack: Stack, scope: Scope, nobody: str
) -> None:
    """Behind its own run a collector delivers that of the one before."""
    stage = own_stack.stage
    variables = scope.environment(own_stack.token(scope))
    first = measured(stage, nobody, variables, BRIEFLY)
    second = measured(stage, f"grpc://{own_stack.receiver.address}", variables)
    assert (first.wait(), second.wait()) == (3, 0)
    stored = {run["push_id"] for run in own_stack.listed(scope)}
    assert stored == {p.event("run.started")["push_id"] for p in (first, second)}
    assert files(stage) == []


def test_a_run_without_its_token_waits_for_it(own_stack: Stack, scope: Scope, nobody: str) -> None:
    """Another scope's token is refused and the run kept; with its own it is stored."""
    stage = own_stack.stage
    variables = scope.environment(own_stack.token(scope))
    assert measured(stage, nobody, variables, BRIEFLY).wait() == 3
    flags = ("push", f"--push-endpoint=grpc://{own_stack.receiver.address}")
    other = own_stack.token(scope._replace(job="another"))
    refused = stage.start(
        "collector", *flags, environment={**variables, "COLLECTOR_PUSH_TOKEN": other}
    )
    assert refused.wait() == 4
    assert "PERMISSION_DENIED" in refused.text
    assert len(files(stage)) == 1
    assert stage.start("collector", *flags, environment=variables).wait() == 0
    assert len(own_stack.listed(scope)) == 1


def test_what_the_receiver_calls_invalid_is_rejected(
    own_stack: Stack, scope: Scope, nobody: str
) -> None:
    """The run moves to rejected/ with the receiver's words, and the list shows them."""
    stage = own_stack.stage
    variables = scope.environment(own_stack.token(scope))
    assert measured(stage, nobody, variables, BRIEFLY).wait() == 3
    (name,) = files(stage)
    path = Path(stage.folder) / ".local" / "state" / "runmeter" / name
    document = json.loads(path.read_text())
    document["run"]["payload"]["duration_seconds"] = -1.0
    path.write_text(json.dumps(document))
    flags = ("push", f"--push-endpoint=grpc://{own_stack.receiver.address}")
    assert stage.start("collector", *flags, environment=variables).wait() == 4
    assert files(stage) == [f"rejected/{name}"]
    listed = stage.start("collector", "spool", environment=variables)
    assert listed.wait() == 0
    assert "duration_seconds" in listed.text
    assert own_stack.listed(scope) == []
