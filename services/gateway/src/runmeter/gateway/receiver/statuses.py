"""Status of a failed gRPC call to `ReceiverError`, with the names of the JSON API."""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from runmeter.gateway.errors import FieldError, ReceiverError

_STATUS_DETAILS = "grpc-status-details-bin"
_NAMES = {"before_id": "before", "states": "state"}
_INDEX = re.compile(r"\[\d+\]")


class Status(NamedTuple):
    """The name of the code, the message, and the trailing metadata with the details."""

    code: str
    message: str
    trailing: Iterable[tuple[str, str | bytes]]


def error_from_wire(status: Status, *, sized: bool = False) -> ReceiverError:
    """Translate a status, its BadRequest and RetryInfo details included.

    ``sized``: RESOURCE_EXHAUSTED without a retry hint means that the request is too large.
    """
    fields: list[FieldError] = []
    retry_after_seconds: float | None = None
    for detail in _details(status):
        bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(bad):
            fields += [FieldError(json_field(v.field), v.description) for v in bad.field_violations]
        elif detail.Unpack(retry):
            delay = retry.retry_delay
            retry_after_seconds = delay.seconds + delay.nanos / 1e9
    return ReceiverError(
        status.code,
        status.message,
        errors=tuple(fields),
        retry_after_seconds=retry_after_seconds,
        too_large=sized and status.code == "RESOURCE_EXHAUSTED" and retry_after_seconds is None,
    )


def _details(status: Status) -> list[any_pb2.Any]:
    """Return the google.rpc details of a status; empty if they are missing or unreadable."""
    for key, value in status.trailing:
        if key == _STATUS_DETAILS and isinstance(value, bytes):
            found = status_pb2.Status()
            with suppress(DecodeError):
                found.ParseFromString(value)
                return list(found.details)
    return []


def json_field(path: str) -> str:
    """Translate a field path of a request: ``run.payload.sample_count`` → ``payload.sample_count``,
    ``run.scope.job`` → ``job``, ``before_id`` → ``before``, ``states[1]`` → ``state``.
    """
    inner = path.removeprefix("run.").removeprefix("scope.")
    return _NAMES.get(_INDEX.sub("", inner), inner)
