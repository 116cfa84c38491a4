"""runmeter.receiver.wire.lines: the lines of an export."""

import base64
import contextlib
import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.receiver import LineOf

from runmeter.receiver.admin import lines
from runmeter.receiver.errors import LineRejected
from runmeter.receiver.model import Push, Scope
from runmeter.v1 import run_pb2

MAX_MS = 253402300799999  # the last millisecond of the year 9999


def changed(line: bytes, **fields: Any) -> bytes:
    """Return a line with fields set; a field that is None is removed."""
    content = {**json.loads(line), **fields}
    return json.dumps({k: v for k, v in content.items() if v is not None}).encode()


def carrying(line: bytes, payload: bytes) -> bytes:
    """Return a line that holds other bytes and a checksum that is theirs."""
    digest = hashlib.sha256(payload).hexdigest()
    return changed(line, run=base64.b64encode(payload).decode(), sha256=digest)


@pytest.mark.parametrize(
    "times", [(1000, 2000), (-1, -1), (-62135596800000, 0), (0, MAX_MS), (1234, 1234)]
)
def test_a_run_comes_back_as_it_was(
    line_of: LineOf, message: run_pb2.Run, times: tuple[int, int]
) -> None:
    """Content, bytes and both times stay the same, to the millisecond."""
    message.push_id = "00000000-0000-4000-8000-000000000007"
    scope = Scope(*(getattr(message.scope, name) for name in Scope._fields))
    payload = message.SerializeToString(deterministic=True)
    found = lines.parse_line(line_of(7, *times))
    assert found == Push(scope, message, payload, times[1], times[0])


def test_header_and_end_are_known() -> None:
    """The first and the last line are distinguished from runs."""
    assert isinstance(lines.parse_line(lines.header_line()), lines.Header)
    assert lines.parse_line(lines.end_line(3)) == lines.End(3)


def test_whole_floats_are_integers(line_of: LineOf) -> None:
    """``4.0`` is the same as ``4`` in every number beside the run."""
    found = lines.parse_line(changed(line_of(1), id=1.0, revision=4.0))
    assert found == lines.parse_line(line_of(1))
    assert lines.parse_line(changed(lines.end_line(3), run_count=3.0)) == lines.End(3)
    assert isinstance(lines.parse_line(changed(lines.header_line(), version=1.0)), lines.Header)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"received_at": None}, "`received_at` must be a time"),
        ({"received_at": 5}, "`received_at` must be a time"),
        ({"updated_at": "2026-02-06T14:30:00Z"}, "`updated_at` must be a time"),
        ({"updated_at": "2026-02-30T14:30:00.000Z"}, "`updated_at` is not a valid time"),
        ({"updated_at": "1969-01-01T00:00:00.000Z"}, "before `received_at`"),
        ({"organization": "other"}, "`organization` differs from the run"),
        ({"job": None}, "`job` differs from the run"),
        ({"state": 3}, "`state` differs from the run in `run`, which has 'COMPLETED'"),
        ({"revision": 5}, "`revision` differs from the run in `run`, which has 4"),
        ({"sha256": "0" * 64}, "the line is damaged"),
        ({"sha256": None}, "the line is damaged"),
        ({"run": None}, "it has no `run`"),
        ({"run": "*"}, "`run` is not base64"),
        ({"run": 5}, "`run` is not base64"),
        ({"run": "\u00fc"}, "`run` is not base64"),
        ({"format": "other"}, "not the first line of an export of runs"),
        ({"format": "runmeter-runs", "version": 2}, "reads version 1"),
        *(
            ({"end": True, "run_count": count}, "`run_count` must be a whole number")
            for count in ("5", True, 0.5, math.nan, math.inf)
        ),
    ],
)
def test_bad_lines_say_why(line_of: LineOf, fields: dict[str, Any], word: str) -> None:
    """Every line that holds no run of an export is refused with the reason."""
    with pytest.raises(LineRejected) as caught:
        lines.parse_line(changed(line_of(1), **fields))
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"nonsense", b"\xff", b'{"run"', b"[" * 100_000, b'"\\ud800']
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    """Broken, truncated or very deep JSON is refused."""
    with pytest.raises(LineRejected, match="not JSON"):
        lines.parse_line(raw)


@pytest.mark.parametrize("raw", [b"[]", b"5", b"null", b'"x"'])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    """JSON that is no object is refused."""
    with pytest.raises(LineRejected, match="not a JSON object"):
        lines.parse_line(raw)


def test_a_doctored_run_is_checked_as_a_push(line_of: LineOf, message: run_pb2.Run) -> None:
    """A well-formed line whose run breaks the contract is refused."""
    message.payload.duration_seconds = float("nan")
    message.payload.containers[0].name = ""
    with pytest.raises(LineRejected) as caught:
        lines.parse_line(carrying(line_of(1), message.SerializeToString()))
    assert "run.payload.duration_seconds: is not a finite number" in str(caught.value)
    assert "run.payload.containers[0].name: is required" in str(caught.value)
    with pytest.raises(LineRejected, match="not a run of the contract"):
        lines.parse_line(carrying(line_of(1), b"\xff"))
    with pytest.raises(LineRejected, match=r"run\.scope\.organization: is required"):
        lines.parse_line(carrying(line_of(1), b""))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_refused(raw: bytes) -> None:
    """Any bytes are read as a line, or refused."""
    with contextlib.suppress(LineRejected):
        assert isinstance(lines.parse_line(raw), (lines.Header, lines.End, Push))


@given(
    st.dictionaries(
        st.sampled_from(["received_at", "updated_at", "run", "sha256", "format", "end", "version"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=30),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
def test_any_object_is_a_line_or_refused(fields: dict[str, Any]) -> None:
    """Fields of any type are read as a line, or refused."""
    raw = json.dumps(fields).encode()
    with contextlib.suppress(LineRejected):
        assert isinstance(lines.parse_line(raw), (lines.Header, lines.End, Push))
