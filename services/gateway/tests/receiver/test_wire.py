"""REST types ↔ protobuf."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.gateway.model import RunQuery
from runmeter.gateway.receiver.fields import json_field
from runmeter.gateway.receiver.runs import (
    push_to_wire,
    query_to_wire,
    record_from_wire,
    token_from_wire,
    token_to_wire,
)
from runmeter.gateway.receiver.values import instant_from_wire, instant_to_wire
from runmeter.gateway.schemas.api import RunBody, Scope, TokenBody, encode
from runmeter.gateway.schemas.instant import Instant
from runmeter.gateway.web.body import decode_body
from runmeter.v1 import run_pb2, run_service_pb2, token_service_pb2

PUSH_ID = "00000000-0000-4000-8000-000000000000"
OPTIONAL_IN_RUN = [
    "run_attempt",
    "runner_name",
    "labels",
    "exit_code",
    "collector_version",
    "next_push_within_seconds",
]
OPTIONAL_IN_PAYLOAD = [
    "cpu_total_percent",
    "mem_used_bytes",
    "mem_used_percent",
    "host",
    "coverage",
    "percentile_method",
]


def body_of(record: dict[str, Any]) -> RunBody:
    return decode_body(RunBody, json.dumps(record).encode())


def test_golden_from_wire(golden_run: Any, golden_stored: Any) -> None:
    """The golden protobuf becomes exactly the golden JSON, types of numbers included."""
    written = json.loads(encode(record_from_wire(golden_stored)))
    # as text, because 2.0 equals 2 otherwise
    assert json.dumps(written, sort_keys=True) == json.dumps(golden_run, sort_keys=True)


def test_golden_to_wire(golden_run: Any, golden_stored: Any) -> None:
    """The golden JSON, posted, becomes exactly the golden protobuf."""
    assert push_to_wire(body_of(golden_run), PUSH_ID).run == golden_stored.run


def test_golden_has_every_field(golden_stored: Any) -> None:
    """The golden record sets every field of every message."""
    seen: dict[str, set[str]] = {}

    def walk(message: Any) -> None:
        fields = seen.setdefault(message.DESCRIPTOR.name, set())
        for field, value in message.ListFields():
            fields.add(field.name)
            if field.message_type is None or field.message_type.full_name.startswith("google."):
                continue
            if field.message_type.GetOptions().map_entry:
                continue
            for item in value if field.is_repeated else [value]:
                walk(item)

    walk(golden_stored)
    for name, fields in seen.items():
        message = run_service_pb2.StoredRun if name == "StoredRun" else getattr(run_pb2, name)
        assert fields == set(message.DESCRIPTOR.fields_by_name), name


@given(chance=st.randoms(use_true_random=False))
def test_absent_stays_absent(golden: dict[str, Any], chance: random.Random) -> None:
    """Optional fields that a record leaves out are absent in the answer."""
    record = copy.deepcopy(golden)
    prune(record, chance, OPTIONAL_IN_RUN)
    prune(record["payload"], chance, OPTIONAL_IN_PAYLOAD)
    for container in record["payload"]["containers"]:
        prune(container, chance, sorted(set(container) - {"name"}))
        prune(container.get("limits", {}), chance, ["cpu_cores", "memory_bytes"])
    for name in ("top_cpu_processes", "top_mem_processes"):
        for process in record["payload"][name]:
            prune(process, chance, sorted(set(process) - {"pid", "name", "container"}))
    prune(record["payload"].get("host", {}), chance, list(golden["payload"]["host"]))
    prune(
        record["payload"].get("coverage", {}), chance, ["self_cpu_seconds", "self_peak_rss_bytes"]
    )
    stored = run_service_pb2.StoredRun(
        id=record["id"],
        received_at=instant_to_wire(Instant(1770388223056)),
        updated_at=instant_to_wire(Instant(1770388224001)),
        run=push_to_wire(body_of(record), PUSH_ID).run,
    )
    assert json.loads(encode(record_from_wire(stored))) == record


def prune(part: dict[str, Any], chance: random.Random, names: list[str]) -> None:
    for name in names:
        if chance.random() < 0.5:
            part.pop(name, None)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """Return the golden record, parsed once."""
    path = Path(__file__).parents[4] / "proto" / "golden" / "run.json"
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def test_null_is_absent(golden_run: Any, golden_stored: Any) -> None:
    """null in an optional field means that it is absent."""
    golden_run["exit_code"] = None
    golden_run["payload"]["containers"][0]["limits"]["cpu_cores"] = None
    golden_stored.run.ClearField("exit_code")
    golden_stored.run.payload.containers[0].limits.ClearField("cpu_cores")
    assert push_to_wire(body_of(golden_run), PUSH_ID).run == golden_stored.run


def test_without_push_id(golden_run: Any) -> None:
    """Without push_id a body is a new completed run, whatever state it has."""
    del golden_run["push_id"]
    golden_run["state"] = "running"
    run = push_to_wire(body_of(golden_run), PUSH_ID).run
    assert (run.push_id, run.state, run.revision) == (PUSH_ID, run_pb2.RUN_STATE_COMPLETED, 1)


def test_push_id_alone(golden_run: Any) -> None:
    """With push_id, state and revision have defaults: completed, 1."""
    del golden_run["state"], golden_run["revision"]
    run = push_to_wire(body_of(golden_run), PUSH_ID).run
    assert (run.push_id, run.state, run.revision) == (
        golden_run["push_id"],
        run_pb2.RUN_STATE_COMPLETED,
        1,
    )


def test_documented_payload(documented_run: Any) -> None:
    """The documented payload is enough; other fields stay absent."""
    run = push_to_wire(body_of(documented_run), PUSH_ID).run
    assert not run.payload.containers[0].HasField("sample_count")
    assert not run.payload.HasField("coverage")
    assert not run.payload.containers[0].HasField("cpu_seconds")


def test_container_never_seen(golden_run: Any) -> None:
    """A container's sample_count of 0 stays 0."""
    golden_run["payload"]["containers"][0]["sample_count"] = 0
    assert push_to_wire(body_of(golden_run), PUSH_ID).run.payload.containers[0].sample_count == 0


def test_empty_lists_are_written(golden_stored: Any) -> None:
    """A run without containers has an empty array."""
    for name in ("containers", "top_cpu_processes", "top_mem_processes"):
        golden_stored.run.payload.ClearField(name)
    payload = json.loads(encode(record_from_wire(golden_stored)))["payload"]
    assert payload["containers"] == []
    assert payload["top_cpu_processes"] == []
    assert payload["top_mem_processes"] == []


def test_values_of_a_newer_receiver(golden_stored: Any) -> None:
    """Unknown enum values are left out."""
    golden_stored.run.state = 99
    golden_stored.run.payload.percentile_method = 99
    golden_stored.run.payload.host.clock_source = 99
    golden_stored.run.payload.containers[0].cpu_source = 99
    record = json.loads(encode(record_from_wire(golden_stored)))
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
    body = TokenBody(organization="o", repository="r", workflow="w", job="j")
    assert not token_to_wire(body).HasField("expires_in_seconds")
    body.expires_in_seconds = 60
    assert token_to_wire(body).expires_in_seconds == 60
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
