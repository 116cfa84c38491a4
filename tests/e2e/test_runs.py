"""Runs from beginning to end: measured, pushed, stored, read, compared field by field."""

import signal
import sys
from typing import Any

import pytest
from rig.programs import Program, Stage
from rig.shape import check_record
from rig.stack import Scope, Stack

# burns CPU for 0.6 s of its own, holds 64 MiB, starts children, ends with 3
WORK = """
import subprocess, sys, time
held = bytearray(64 << 20)
end = time.process_time() + 0.6
while time.process_time() < end:
    pass
for _ in range(3):
    subprocess.run([sys.executable, "-c", ""])
sys.exit(3)
"""


def environment(scope: Scope, token: str) -> dict[str, str]:
    """Return what a CI system and the person who runs the job set."""
    return {
        **scope.environment(token),
        "GITHUB_RUN_ID": "run-77",
        "GITHUB_RUN_ATTEMPT": "2",
        "RUNNER_NAME": "runner-a",
        "COLLECTOR_LABELS": "os=debian,python=3.13",
    }


@pytest.fixture(params=["grpc", "http"])
def endpoint(request: pytest.FixtureRequest, stack: Stack) -> str:
    """Where to push: the receiver itself, or the gateway."""
    if request.param == "grpc":
        return f"grpc://{stack.receiver.address}"
    return f"{stack.gateway.url}/api/v1/metrics"


def spool(stage: Stage) -> list[str]:
    """Return what waits in the default spool."""
    return [path.name for path in (stage.folder / ".local/state/runmeter").glob("*")]


def test_around_a_command(stack: Stack, scope: Scope, stage: Stage, endpoint: str) -> None:
    """A wrapped command is measured until it ends by itself, and its record is complete."""
    token = stage.keep(stack.token(scope))
    collector: Program = stage.start(
        "collector",
        *("--interval=100ms", "--top=1000", f"--push-endpoint={endpoint}"),
        *("--", sys.executable, "-c", WORK),
        environment=environment(scope, token)
        | {"CGROUP_LIMITS": '{"command":{"cpu":"500m","memory":"256Mi"}}'},
    )
    assert collector.wait() == 3
    pushed = collector.event("run.pushed")
    (record,) = stack.listed(scope)
    check_record(record)
    assert record["id"] == pushed["id"]
    assert record["push_id"] == pushed["push_id"]
    expected = {
        **scope._asdict(),
        "run_id": "run-77",
        "run_attempt": 2,
        "runner_name": "runner-a",
        "labels": {"os": "debian", "python": "3.13"},
        "exit_code": 3,
        "state": "completed",
    }
    assert {name: record[name] for name in expected} == expected
    check_command(record["payload"])
    assert record["payload"]["coverage"]["interval_seconds"] == 0.1
    assert spool(stage) == []


def check_command(payload: dict[str, Any]) -> None:
    """Check that the command's own work was seen, all of it, in its place."""
    (command,) = (found for found in payload["containers"] if found["name"] == "command")
    assert command["limits"] == {"cpu_cores": 0.5, "memory_bytes": 2**28}
    assert command["cpu_seconds"] >= 0.6
    assert command["cpu_cores"]["peak"] <= 2 * payload["host"]["cpu_count"]
    assert command["cpu_cores"]["peak"] > 0
    assert 64 * 2**20 < command["memory_bytes"]["p50"] < 96 * 2**20
    # a child between fork and exec has its parent's memory: counted twice, as RSS is
    assert 64 * 2**20 < command["memory_bytes"]["peak"] < 2 * 96 * 2**20
    assert command["memory_anon_bytes"]["peak"] <= command["memory_bytes"]["peak"]
    # other containers of the machine are listed, too
    first = next(found for found in payload["top_mem_processes"] if found["container"] == "command")
    assert first["peak_mem_bytes"] > 64 * 2**20
    assert "command" in {found["container"] for found in payload["top_cpu_processes"]}
    assert payload["mem_used_bytes"]["peak"] <= payload["host"]["memory_total_bytes"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_sidecar(
    stack: Stack, scope: Scope, stage: Stage, endpoint: str, number: signal.Signals
) -> None:
    """A sidecar samples until a signal, pushes, and ends with 0."""
    token = stage.keep(stack.token(scope))
    collector: Program = stage.start(
        "collector",
        *("--interval=100ms", "--log-level=debug", f"--push-endpoint={endpoint}"),
        environment=environment(scope, token),
    )
    collector.event("sample.taken", count=5)
    assert collector.stop(number) == 0
    collector.event("run.pushed")
    (record,) = stack.listed(scope)
    check_record(record)
    assert "exit_code" not in record
    assert record["payload"]["sample_count"] >= 5
    assert record["payload"]["containers"]
    assert spool(stage) == []


def test_signals_reach_the_command(stack: Stack, scope: Scope, stage: Stage) -> None:
    """SIGTERM goes on to the command; what it did until then is pushed."""
    token = stage.keep(stack.token(scope))
    script = "trap 'exit 9' TERM; echo ready >&2; while :; do sleep 0.05; done"
    collector: Program = stage.start(
        "collector",
        *("--interval=100ms", "--log-level=debug"),
        *(f"--push-endpoint=grpc://{stack.receiver.address}", "--", "sh", "-c", script),
        environment=environment(scope, token),
    )
    collector.event("sample.taken", count=3)
    assert collector.stop(signal.SIGTERM) == 9
    (record,) = stack.listed(scope)
    assert record["exit_code"] == 9
    check_record(record)
