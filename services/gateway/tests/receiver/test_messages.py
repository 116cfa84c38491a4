"""Bodies to messages, and field paths of the contract to those of the JSON API."""

from typing import Any
from uuid import UUID

import pytest

from runmeter.gateway.receiver.messages import push_from_json
from runmeter.gateway.receiver.statuses import json_field
from runmeter.v1 import run_pb2


def test_without_push_id(golden_run: Any) -> None:
    """Without push_id a body is a new completed run, whatever state it has."""
    del golden_run["push_id"]
    golden_run["state"] = "running"
    run, other = push_from_json(golden_run).run, push_from_json(golden_run).run
    assert UUID(run.push_id) != UUID(other.push_id)
    assert (run.state, run.revision) == (run_pb2.RUN_STATE_COMPLETED, 1)


def test_push_id_alone(golden_run: Any) -> None:
    """With push_id, state and revision have defaults: completed, 1."""
    del golden_run["state"], golden_run["revision"]
    run = push_from_json(golden_run).run
    assert run.push_id == golden_run["push_id"]
    assert (run.state, run.revision) == (run_pb2.RUN_STATE_COMPLETED, 1)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("run.payload.containers[2].cpu_cores.p95", "payload.containers[2].cpu_cores.p95"),
        ("run.scope.organization", "organization"),
        ("run.labels[os]", "labels[os]"),
        ("scope.job", "job"),
        ("before_id", "before"),
        ("states", "state"),
        ("states[1]", "state"),
        ("limit", "limit"),
    ],
)
def test_fields(path: str, name: str) -> None:
    """Field paths of the contract become names of the JSON."""
    assert json_field(path) == name
