"""REST types ↔ protobuf."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.gateway.model import RunQuery
from runmeter.gateway.receiver.fields import json_field
from runmeter.gateway.receiver.runs import (
    push_from_json,
    query_to_wire,
    records_from_wire,
    token_from_wire,
    token_request_from_json,
)
from runmeter.gateway.receiver.values import instant_from_wire, instant_to_wire
from runmeter.gateway.schemas.api import Scope, encode
from runmeter.gateway.schemas.instant import Instant
from runmeter.v1 import run_pb2, run_service_pb2, token_service_pb2


def encoded(stored: run_service_pb2.StoredRun) -> Any:
    """Return a stored run as it is answered."""
    page = run_service_pb2.ListRunsPage(runs=[stored])
    return json.loads(encode(records_from_wire(page)))[0]


def test_golden_from_wire(golden_run: Any, golden_stored: Any) -> None:
    """The golden protobuf becomes exactly the golden JSON, types of numbers included."""
    # as text, because 2.0 equals 2 otherwise
    written = json.dumps(encoded(golden_stored), sort_keys=True)
    assert written == json.dumps(golden_run, sort_keys=True)


def test_golden_to_wire(golden_run: Any, golden_stored: Any) -> None:
    """The golden JSON, posted, becomes exactly the golden protobuf."""
    assert push_from_json(golden_run).run == golden_stored.run


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
    assert (run.push_id, run.state, run.revision) == (
        golden_run["push_id"],
        run_pb2.RUN_STATE_COMPLETED,
        1,
    )


def test_documented_payload(documented_run: Any) -> None:
    """The documented payload is enough; what it leaves out stays absent."""
    run = push_from_json(documented_run).run
    assert not run.payload.containers[0].HasField("sample_count")
    assert not run.payload.HasField("coverage")
    assert not run.payload.containers[0].HasField("cpu_seconds")


def test_empty_lists_are_written(golden_stored: Any) -> None:
    """A run without containers has an empty array."""
    for name in ("containers", "top_cpu_processes", "top_mem_processes"):
        golden_stored.run.payload.ClearField(name)
    payload = encoded(golden_stored)["payload"]
    assert payload["containers"] == []
    assert payload["top_cpu_processes"] == []
    assert payload["top_mem_processes"] == []


def test_values_of_a_newer_receiver(golden_stored: Any) -> None:
    """Unknown enum values are left out."""
    golden_stored.run.state = 99
    golden_stored.run.payload.percentile_method = 99
    golden_stored.run.payload.host.clock_source = 99
    golden_stored.run.payload.containers[0].cpu_source = 99
    record = encoded(golden_stored)
    assert "state" not in record
    assert "percentile_method" not in record["payload"]
    assert "clock_source" not in record["payload"]["host"]
    assert "cpu_source" not in record["payload"]["containers"][0]


@given(st.integers(-62135596800000, 253402300799999))
def test_instants(milliseconds: int) -> None:
    """Every time keeps its value through protobuf, with nanoseconds from 0 to a second."""
    wire = instant_to_wire(Instant(milliseconds))
    assert 0 <= wire.nanos < 1_000_000_000
    assert instant_from_wire(wire) == Instant(milliseconds)


def test_query() -> None:
    """A query sends the given parameters; the rest stays absent."""
    scope = Scope(organization="o", repository="r", workflow="w", job="j")
    bare = query_to_wire(RunQuery(scope))
    assert bare == run_service_pb2.ListRunsRequest(
        scope=run_pb2.Scope(organization="o", repository="r", workflow="w", job="j")
    )
    full = query_to_wire(
        RunQuery(scope, 5, 7, Instant(1500), Instant(2000), "", ("running", "completed"))
    )
    assert (full.limit, full.before_id, full.HasField("run_id")) == (5, 7, True)
    assert (full.since.seconds, full.since.nanos, full.until.seconds) == (1, 500_000_000, 2)
    assert list(full.states) == [run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_COMPLETED]


def test_tokens() -> None:
    """A token request keeps its absence of an expiry; an answer its expiry."""
    body: dict[str, Any] = {"organization": "o", "repository": "r", "workflow": "w", "job": "j"}
    assert not token_request_from_json(body).HasField("expires_in_seconds")
    body["expires_in_seconds"] = 60
    assert token_request_from_json(body).expires_in_seconds == 60
    answer = token_service_pb2.CreatePushTokenResponse(token="x")
    assert encode(token_from_wire(answer)) == b'{"token":"x"}'
    answer.expires_at.FromSeconds(1798761600)
    assert json.loads(encode(token_from_wire(answer)))["expires_at"] == "2027-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("run.payload.containers[2].cpu_cores.p95", "payload.containers[2].cpu_cores.p95"),
        ("run.scope.organization", "organization"),
        ("run.push_id", "push_id"),
        ("run.labels[os]", "labels[os]"),
        ("scope.job", "job"),
        ("before_id", "before"),
        ("states", "state"),
        ("states[1]", "state"),
        ("limit", "limit"),
        ("expires_in_seconds", "expires_in_seconds"),
    ],
)
def test_fields(path: str, name: str) -> None:
    """Field paths of the contract are told in the names of the JSON."""
    assert json_field(path) == name
