"""runmeter.receiver.wire: what is read, what is refused, what is written."""

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from runmeter.receiver.errors import Busy, InvalidRequest, MalformedRequest, Violation
from runmeter.receiver.model import RunState, StoredRun
from runmeter.receiver.rpc import status
from runmeter.receiver.wire import reading, writing
from runmeter.v1 import run_pb2, run_service_pb2, token_service_pb2

NAN, INF = math.nan, math.inf


def fields_of(call: Callable[[], Any]) -> list[str]:
    """Return the fields of the violations that a call raises."""
    with pytest.raises(InvalidRequest) as caught:
        call()
    return [violation.field for violation in caught.value.violations]


def test_golden_run_is_itself_again(
    stored_run: run_service_pb2.StoredRun, stored_form: Callable[..., bytes]
) -> None:
    """The golden stored run, read and written, is the same message."""
    payload = stored_form(stored_run.run)
    written = writing.page_to_wire(
        [
            StoredRun(
                id=7,
                state=RunState.COMPLETED,
                received_at_ms=stored_run.received_at.ToMilliseconds(),
                updated_at_ms=stored_run.updated_at.ToMilliseconds(),
                payload=payload,
            )
        ]
    )
    assert list(written.page.runs) == [stored_run]


def test_smallest_run(message: run_pb2.Run, stored_form: Callable[..., bytes]) -> None:
    """Only what the contract requires is enough; the rest stays absent."""
    smallest = run_pb2.Run(
        scope=message.scope,
        push_id=message.push_id,
        state=run_pb2.RUN_STATE_RUNNING,
        revision=1,
        payload=run_pb2.Summary(start_time=Timestamp(), end_time=Timestamp()),
    )
    before = smallest.SerializeToString(deterministic=True)
    assert stored_form(smallest) == before


def test_stored_in_one_form(message: run_pb2.Run, stored_form: Callable[..., bytes]) -> None:
    """The short name of a repository, nanoseconds and unknown fields are not stored."""
    expected = stored_form(message)
    message.scope.repository = "my-repo"
    message.payload.start_time.nanos += 999_999
    message.MergeFromString(b"\xf8\x07\x01")  # field 127, a varint
    assert stored_form(message) == expected


def test_a_missing_scope_lacks_all_four_names() -> None:
    """Without a scope there is nothing to authorise: all four names are required."""
    found = fields_of(lambda: reading.scope_from_wire(run_pb2.Scope(), "run.scope"))
    assert found == [f"run.scope.{n}" for n in ("organization", "repository", "workflow", "job")]


def _scalar(field: Any, source: random.Random) -> Any:
    if field.type == field.TYPE_STRING:
        return _text(source)
    if field.type == field.TYPE_DOUBLE:
        return source.choice((0.0, -0.0, 0.5, 1e308, NAN, INF, -INF, -1.0, 5e-324))
    if field.type == field.TYPE_INT64:
        return source.choice((0, 1, 5, -1, 2**63 - 1, -(2**63)))
    return source.choice((0, 1, 2, 3, -1, 99, 2**31 - 1, -(2**31)))


def _text(source: random.Random) -> str:
    return source.choice(("", "a", "ä", "\0", "x" * 300, "a/b", "\u202e", "😀", "../a"))


@given(seed=st.integers(0, 2**64))
def test_a_good_run_with_anything_in_some_fields(seed: int, golden: Path) -> None:
    """A run with a few bad fields is read, clean, or refused; there is no other result."""
    source = random.Random(seed)
    text = (golden / "stored_run.wire.json").read_text()
    message = json_format.Parse(text, run_service_pb2.StoredRun()).run
    leaves = list(_scalars(message))
    for holder, field in source.sample(leaves, source.choice((0, 1, 2))):
        setattr(holder, field.name, _scalar(field, source))
    try:
        scope = reading.scope_from_wire(message.scope, "run.scope")
        payload = reading.stored_form(message, scope)
    except InvalidRequest:
        return
    _assert_clean(payload, message, scope)


def _scalars(message: Any) -> Iterator[tuple[Any, Any]]:
    for field, value in message.ListFields():
        if field.name == "labels":
            continue
        if field.message_type is None:
            yield message, field
            continue
        for inner in value if field.is_repeated else [value]:
            yield from _scalars(inner)


def _assert_clean(payload: bytes, message: run_pb2.Run, scope: Any) -> None:
    stored = run_pb2.Run.FromString(payload)
    assert stored == message
    values = [getattr(holder, field.name) for holder, field in _scalars(stored)]
    assert all(math.isfinite(v) for v in values if isinstance(v, float))
    assert all(math.copysign(1, v) > 0 for v in values if isinstance(v, float))
    message.MergeFromString(b"\xf8\x07\x01")  # field 127, a varint
    assert reading.stored_form(message, scope) == payload


def test_query_defaults(message: run_pb2.Run) -> None:
    """Nothing but a scope: the newest 1000, completed and interrupted."""
    wanted = reading.filter_from_wire(run_service_pb2.ListRunsRequest(scope=message.scope))
    assert wanted.limit == 1000
    assert wanted.states == {RunState.COMPLETED, RunState.INTERRUPTED}
    assert wanted[2:6] == (None, None, None, None)


def test_query_bounds_are_whole_milliseconds(message: run_pb2.Run) -> None:
    """A bound between two milliseconds counts from the later one on."""
    request = run_service_pb2.ListRunsRequest(scope=message.scope)
    request.since.CopyFrom(Timestamp(seconds=1, nanos=1_000_001))
    request.until.CopyFrom(Timestamp(seconds=1, nanos=1_000_000))
    wanted = reading.filter_from_wire(request)
    assert (wanted.since_ms, wanted.until_ms) == (1002, 1001)


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"limit": 0}, ["limit"]),
        ({"limit": 10001}, ["limit"]),
        ({"before_id": 0}, ["before_id"]),
        ({"run_id": "\n"}, ["run_id"]),
        ({"states": [0]}, ["states[0]"]),
        ({"states": [3, 9]}, ["states[1]"]),
        ({"states": [3] * 33}, ["states"]),
        ({"since": Timestamp(nanos=-1)}, ["since"]),
        ({"until": Timestamp(seconds=2**62)}, ["until"]),
        ({"limit": -5, "before_id": -5}, ["limit", "before_id"]),
    ],
)
def test_bad_queries(message: run_pb2.Run, fields: dict[str, Any], bad: list[str]) -> None:
    """Every bad field of a query is named."""
    request = run_service_pb2.ListRunsRequest(scope=message.scope, **fields)
    assert fields_of(lambda: reading.filter_from_wire(request)) == bad


@pytest.mark.parametrize(
    ("seconds", "allowed", "good"),
    [(1, None, True), (0, None, False), (3153600000, None, True), (3153600001, None, False),
     (60, 60, True), (61, 60, False), (-1, 60, False)],
)  # fmt: skip
def test_life_of_a_token(
    message: run_pb2.Run, seconds: int, allowed: int | None, good: bool
) -> None:
    """1 second to a century, or to the maximum of the receiver."""
    request = token_service_pb2.CreatePushTokenRequest(
        scope=message.scope, expires_in_seconds=seconds
    )
    if good:
        assert reading.lifetime_from_wire(request, allowed)[1] == seconds
    else:
        found = fields_of(lambda: reading.lifetime_from_wire(request, allowed))
        assert found == ["expires_in_seconds"]


def test_violations_are_capped(message: run_pb2.Run, stored_form: Callable[..., bytes]) -> None:
    """4096 bad containers are 100 violations and a count; the status stays small."""
    del message.payload.containers[:]
    for number in range(4096):
        message.payload.containers.add(name=f"c{number}", sample_count=-1)
    with pytest.raises(InvalidRequest) as caught:
        stored_form(message)
    assert len(caught.value.violations) == 100
    assert caught.value.omitted_count == 3996
    found = status.status_of(caught.value, 3)
    assert len(found.SerializeToString()) < 4096
    details = error_details_pb2.BadRequest()
    assert found.details[0].Unpack(details)
    listed = len(details.field_violations) - 1
    assert details.field_violations[-1].description == f"and {4096 - listed} more fields are bad"


def test_status_carries_every_violation_and_readable_text() -> None:
    """Few violations are all in the text and in the details."""
    error = InvalidRequest((Violation("run.push_id", "is required"), Violation("ä", "b")))
    found = status.status_of(error, 3)
    assert found.message == "invalid request: run.push_id: is required; ä: b"
    details = error_details_pb2.BadRequest()
    assert found.details[0].Unpack(details)
    assert [(v.field, v.description) for v in details.field_violations] == list(error.violations)


def test_status_says_when_to_retry() -> None:
    """Errors that pass carry RetryInfo, others carry nothing."""
    info = error_details_pb2.RetryInfo()
    assert status.status_of(Busy(), 8).details[0].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 1000
    assert not status.status_of(MalformedRequest(), 3).details
