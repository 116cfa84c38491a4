"""Lines of an export: a header, a line per run, an end line that counts them. JSON, UTF-8.

The run itself is the protobuf it is stored as, in base64: exact, half the size of
protobuf's JSON mapping, and many times as fast to write and to read. The fields that people look
for are readable beside it, and must agree with it.
"""

import base64
import binascii
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from runmeter.receiver.errors import InvalidRequest, LineRejected
from runmeter.receiver.model import ArchivedRun, Push, RunState, Scope
from runmeter.receiver.wire import reading
from runmeter.v1 import run_pb2

FORMAT = "runmeter-runs"
VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_MILLISECOND = timedelta(milliseconds=1)
_SHOWN_MAX = 200


class Header(NamedTuple):
    """The first line of an export."""


class End(NamedTuple):
    """The last line of an export."""

    run_count: int


def header_line() -> bytes:
    """Return the first line."""
    return _line({"format": FORMAT, "version": VERSION})


def end_line(run_count: int) -> bytes:
    """Return the last line."""
    return _line({"end": True, "run_count": run_count})


def run_line(archived: ArchivedRun) -> bytes:
    """Return the line of a run."""
    names = ("organization", "repository", "workflow", "job", "push_id", "run_id")
    return _line(
        {
            "id": archived.id,
            "received_at": _time_text(archived.received_at_ms),
            "updated_at": _time_text(archived.updated_at_ms),
            **{name: getattr(archived, name) for name in names},
            "state": RunState(archived.state).name,
            "revision": archived.revision,
            "sha256": hashlib.sha256(archived.payload).hexdigest(),
            "run": base64.b64encode(archived.payload).decode("ascii"),
        }
    )


def parse_line(raw: bytes) -> Header | End | Push:
    """Read a line; a run is validated like a pushed one.

    Raises:
        LineRejected: with the reason.
    """
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise LineRejected("it is not JSON, or incomplete") from error
    if not isinstance(line, dict):
        raise LineRejected("it is not a JSON object")
    if "format" in line:
        return _header(line)
    if "end" in line:
        run_count = line.get("run_count")
        if isinstance(run_count, bool) or not isinstance(run_count, int | float) or run_count % 1:
            raise LineRejected("`run_count` must be a whole number")
        return End(int(run_count))
    return _push(line)


def _header(line: dict[str, Any]) -> Header:
    if line["format"] != FORMAT:
        raise LineRejected("it is not the first line of an export of runs")
    if line.get("version") != VERSION:
        raise LineRejected(f"this receiver reads version {VERSION} of the format only")
    return Header()


def _push(line: dict[str, Any]) -> Push:
    received_at_ms = _time_ms(line, "received_at")
    updated_at_ms = _time_ms(line, "updated_at")
    if updated_at_ms < received_at_ms:
        raise LineRejected("`updated_at` is before `received_at`")
    scope, run, payload = _run(_payload(line))
    for name, value in _facts(scope, run).items():
        if line.get(name) != value:
            raise LineRejected(f"`{name}` differs from the run in `run`, which has {_shown(value)}")
    return Push(scope, run, payload, updated_at_ms, received_at_ms)


def _payload(line: dict[str, Any]) -> bytes:
    try:
        payload = base64.b64decode(line["run"], validate=True)
    except KeyError as error:
        raise LineRejected("it has no `run`") from error
    except (binascii.Error, ValueError, TypeError) as error:
        raise LineRejected("`run` is not base64") from error
    if hashlib.sha256(payload).hexdigest() != line.get("sha256"):
        raise LineRejected("`sha256` does not match `run`: the line is damaged")
    return payload


def _run(given: bytes) -> tuple[Scope, run_pb2.Run, bytes]:
    try:
        run = run_pb2.Run.FromString(given)
    except DecodeError as error:
        raise LineRejected("`run` is not a run of the contract") from error
    try:
        scope = reading.scope_from_wire(run.scope, "run.scope")
        return scope, run, reading.stored_form(run, scope)
    except InvalidRequest as error:
        raise LineRejected(str(error)) from error


def _facts(scope: Scope, run: run_pb2.Run) -> dict[str, object]:
    return {
        **scope._asdict(),
        "push_id": run.push_id,
        "run_id": run.run_id,
        "state": RunState(run.state).name,
        "revision": run.revision,
    }


def _line(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _time_text(time_ms: int) -> str:
    text = (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _time_ms(line: dict[str, Any], name: str) -> int:
    text = line.get(name)
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise LineRejected(f"`{name}` must be a time such as 2026-02-06T14:30:00.000Z")
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
    except ValueError as error:
        raise LineRejected(f"`{name}` is not a valid time: {text}") from error


def _shown(value: object) -> str:
    return repr(value)[:_SHOWN_MAX]
