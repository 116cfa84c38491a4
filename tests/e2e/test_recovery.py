"""Runs whose collector or receiver was not there at the end are stored once."""

import signal
from pathlib import Path

import pytest
from rig.programs import Program, Stage
from rig.shape import check_record
from rig.stack import Scope, Stack


def waiting(stage: Stage) -> list[Path]:
    """Return the runs in the default spool."""
    return sorted((stage.folder / ".local/state/runmeter").glob("*.json"))


@pytest.fixture(params=["grpc", "http"])
def endpoint(request: pytest.FixtureRequest, own_stack: Stack) -> str:
    """Where to push: the receiver itself, or the gateway."""
    if request.param == "grpc":
        return f"grpc://{own_stack.receiver.address}"
    return f"{own_stack.gateway.url}/api/v1/metrics"


def start(stack: Stack, scope: Scope, endpoint: str, *arguments: str) -> Program:
    """Start a collector that writes and pushes often."""
    flags = ("--interval=100ms", "--log-level=debug", f"--push-endpoint={endpoint}", *arguments)
    surrounding = scope.environment(stack.token(scope))
    collector: Program = stack.stage.start("collector", *flags, environment=surrounding)
    return collector


def test_killed_after_its_first_checkpoint(own_stack: Stack, scope: Scope, endpoint: str) -> None:
    """One snapshot is a record: the next collector of the scope stores it as interrupted."""
    killed = start(own_stack, scope, endpoint, "--checkpoint-interval=1h", "--interval=1h")
    push_id = killed.event("run.started")["push_id"]
    assert killed.event("checkpoint.written")["revision"] == 1
    assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
    assert [path.stem for path in waiting(own_stack.stage)] == [push_id]
    assert own_stack.listed(scope, state="all") == []
    assert start(own_stack, scope, endpoint, "--", "sleep", "0.3").wait() == 0
    interrupted, completed = sorted(own_stack.listed(scope), key=lambda run: str(run["state"]))[
        ::-1
    ]
    assert (interrupted["push_id"], interrupted["revision"]) == (push_id, 1)
    assert interrupted["state"] == "interrupted"
    assert completed["state"] == "completed"
    check_record(completed)
    assert waiting(own_stack.stage) == []


def test_a_lost_machine_leaves_a_record(own_stack: Stack, scope: Scope, endpoint: str) -> None:
    """With its spool gone, too, what was pushed while it ran is there; with it, more is."""
    flags = ("--checkpoint-interval=100ms", "--checkpoint-push=1s")
    lost = start(own_stack, scope, endpoint, *flags)
    pushed = lost.event("checkpoint.pushed")
    lost.stop(signal.SIGKILL)
    (running,) = own_stack.listed(scope, state="all")
    assert (running["id"], running["push_id"]) == (pushed["id"], pushed["push_id"])
    assert running["state"] == "running"
    assert running["next_push_within_seconds"] == 1
    check_record(running | {"state": "completed"})
    assert start(own_stack, scope, endpoint, "--", "true").wait() == 0
    (found,) = (run for run in own_stack.listed(scope) if run["id"] == pushed["id"])
    assert found["state"] == "interrupted"
    assert found["revision"] >= running["revision"]
    assert found["payload"]["sample_count"] >= running["payload"]["sample_count"]


def test_pushed_while_it_goes_and_at_its_end(own_stack: Stack, scope: Scope, endpoint: str) -> None:
    """Running, then completed: one record under one id."""
    collector = start(own_stack, scope, endpoint, "--checkpoint-push=1s")
    running = collector.event("checkpoint.pushed")
    assert collector.stop() == 0
    (found,) = own_stack.listed(scope, state="all")
    assert found["id"] == running["id"] == collector.event("run.pushed")["id"]
    assert found["state"] == "completed"
    check_record(found)
