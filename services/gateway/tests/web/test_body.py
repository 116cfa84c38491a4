"""JSON bodies to types, or every bad field by name."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from runmeter.gateway.errors import ERRORS_MAX, InvalidRequest
from runmeter.gateway.receiver.messages import push_from_json
from runmeter.gateway.web.body import decode_body
from runmeter.v1.json_reading import (
    create_push_token_request_from_json as token_request_from_json,
)
from runmeter.v1.json_reading import run_from_json

SCOPE = {"organization": "o", "repository": "r", "workflow": "w", "job": "j"}


def refused(value: Any) -> dict[str, str]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(InvalidRequest) as caught:
        decode_body(push_from_json, body)
    return dict(caught.value.errors)


def test_all_bad_fields_at_once(golden_run: Any) -> None:
    """Every missing or bad field is named with its path."""
    del golden_run["organization"]
    golden_run["labels"]["os"] = 1
    payload = golden_run["payload"]
    del payload["containers"][0]["cpu_cores"]["p95"]
    payload["containers"][1]["name"] = None
    payload["start_time"] = 1770388202
    payload["end_time"] = "2026-02-06T14:30:22.190"
    payload["sample_count"] = "5"
    payload["duration_seconds"] = "20"
    payload["host"] = []
    payload["top_cpu_processes"] = {}
    payload["top_mem_processes"][1]["pid"] = True
    payload["percentile_method"] = "guess"
    assert sorted(refused(golden_run)) == [
        "labels[os]",
        "organization",
        "payload.containers[0].cpu_cores.p95",
        "payload.containers[1].name",
        "payload.duration_seconds",
        "payload.end_time",
        "payload.host",
        "payload.percentile_method",
        "payload.sample_count",
        "payload.start_time",
        "payload.top_cpu_processes",
        "payload.top_mem_processes[1].pid",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("5368709120.0", 5368709120),
        ("5.36870912e9", 5368709120),
        ("9007199254740993.0", 9007199254740993),
        ("922337203685477580.7e1", 2**63 - 1),
        ("1e18", 10**18),
        ("-0.0", 0),
    ],
)
def test_integers_are_exact(golden_run: Any, text: str, expected: int) -> None:
    """An integer is read exactly, also with a point or an exponent, where a float is not exact."""
    golden_run["payload"]["sample_count"] = "NUMBER"
    body = json.dumps(golden_run).replace('"NUMBER"', text).encode()
    assert decode_body(run_from_json, body).payload.sample_count == expected


def test_unknown_fields_are_ignored(golden_run: Any) -> None:
    """Unknown fields are ignored on every level, and so are those that only answers have."""
    known = decode_body(push_from_json, json.dumps(golden_run).encode())
    golden_run["flavour"] = golden_run["payload"]["host"]["colour"] = {"deep": [1, None]}
    golden_run["id"] = "not even a number"
    assert decode_body(push_from_json, json.dumps(golden_run).encode()) == known


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"nonsense",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b'{"job": NaN}',
        b'{"revision": Infinity}',
        b'{"job": "\xff"}',
        b'{"ignored": "\xff"}',
        b'{"job": "\\ud800"}',
        b'{"job": "\\ud800\\u0041"}',
        b'{"labels": {"\\udfff": ""}}',
        b'{"job": 1, "x": [',
        b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"job": 1, "x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b"[]",
        b"null",
        b'"text"',
    ],
    ids=lambda body: body[:24].decode(errors="backslashreplace"),
)
def test_malformed(body: bytes) -> None:
    """A body that is not one JSON object in UTF-8 is refused without naming a field."""
    assert refused(body) == {}


def test_malformed_message_is_about_the_body() -> None:
    """The text is about the body, not about our code."""
    with pytest.raises(InvalidRequest) as caught:
        decode_body(token_request_from_json, b'{"job": tru}')
    assert "byte" in caught.value.detail
    assert "msgspec" not in caught.value.detail


def test_overlong_number_beside_a_bad_field() -> None:
    """A number out of every range does not hide bad fields; in an unknown field it is ignored."""
    assert refused(b'{"organization": 1, "ignored": 1e999}') == {
        "organization": "must be a string, not a number",
        **dict.fromkeys(("repository", "workflow", "job", "run_id", "payload"), "is required"),
    }
    assert refused(b'{"ignored": 1e999, "other": NaN}') == {}
    body = b'{"organization":"o","repository":"r","workflow":"w","job":"j","x":1e999,"y":1%s}'
    assert decode_body(token_request_from_json, body % (b"0" * 5000)).scope.job == "j"
    golden = {**SCOPE, "expires_in_seconds": 1}
    text = json.dumps(golden).encode()
    with pytest.raises(InvalidRequest) as caught:
        decode_body(token_request_from_json, text.replace(b": 1", b": 1" + b"0" * 5000))
    assert [field for field, _ in caught.value.errors] == ["expires_in_seconds"]


def test_list_of_errors_is_bounded(golden_run: Any) -> None:
    """At most a hundred bad fields are listed."""
    golden_run["payload"]["containers"] = [{}] * 1000
    assert len(refused(golden_run)) == ERRORS_MAX


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(value=JSON_VALUES, chance=st.randoms(use_true_random=False))
def test_any_value_anywhere(golden: dict[str, Any], value: object, chance: random.Random) -> None:
    """Any JSON in place of a field is accepted, or refused by its name."""
    record = json.loads(json.dumps(golden))
    places: list[tuple[Any, Any, str]] = []
    collect(record, "", places.append)
    holder, key, path = chance.choice(places)
    holder[key] = value
    outcome = read_or_refuse(push_from_json, json.dumps(record).encode())
    if isinstance(outcome, InvalidRequest):
        assert outcome.errors
        top = path.split(".")[0].split("[")[0]
        assert all(field.startswith(top) for field, _ in outcome.errors)


def read_or_refuse(read: Any, body: bytes) -> Any:
    try:
        return decode_body(read, body)
    except InvalidRequest as error:
        return error


def collect(value: Any, path: str, place: Callable[[tuple[Any, Any, str]], None]) -> None:
    if isinstance(value, dict):
        for key in value:
            here = f"{path}.{key}" if path else key
            place((value, key, here))
            collect(value[key], here, place)
    elif isinstance(value, list):
        for index in range(len(value)):
            here = f"{path}[{index}]"
            place((value, index, here))
            collect(value[index], here, place)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """The documented scope with a payload that has something of everything."""
    rates = dict.fromkeys(("peak", "p99", "p95", "p75", "p50", "avg"), 1.5)
    return {
        **SCOPE,
        "run_id": "",
        "labels": {"a": "b"},
        "payload": {
            "start_time": "2026-02-06T14:30:02.185Z",
            "end_time": "2026-02-06T14:30:22.190Z",
            "duration_seconds": 20.0,
            "sample_count": 11,
            "cpu_total_percent": rates,
            "containers": [{"name": "runner", "cpu_cores": rates}],
            "top_cpu_processes": [{"pid": 1, "name": "a", "container": "runner"}],
        },
    }


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    """Any bytes are a token request or an InvalidRequest."""
    assert isinstance(read_or_refuse(token_request_from_json, body), Message | InvalidRequest)
