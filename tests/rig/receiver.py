"""What tests of the receiver share: its secrets, its runs, the errors of its calls."""

import subprocess
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from runmeter.v1 import run_pb2

READ_TOKEN = "read-token-that-no-log-shows"
HMAC_KEY = "hmac-key-that-no-log-shows"

LineOf = Callable[..., bytes]
Command = Callable[..., subprocess.CompletedProcess[bytes]]
Log = Callable[[bytes], list[dict[str, Any]]]
Fill = Callable[..., None]
WithWriter = Callable[..., None]


def push_id(number: int) -> str:
    """Return a UUID."""
    return f"00000000-0000-4000-8000-{number:012x}"


def copied(message: run_pb2.Run, **changes: Any) -> run_pb2.Run:
    """Return a changed copy of a run."""
    changed = run_pb2.Run()
    changed.CopyFrom(message)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def refusal(call: Callable[[], Any]) -> grpc.RpcError:
    """Return the error that a call ends in."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def code(call: Callable[[], Any]) -> grpc.StatusCode:
    """Return the status that a call is refused with."""
    return refusal(call).code()


def violations(error: Any) -> dict[str, str]:
    """Return the field violations in an error's details."""
    details = error_details_pb2.BadRequest()
    (packed,) = rpc_status.from_call(error).details
    assert packed.Unpack(details)
    return {found.field: found.description for found in details.field_violations}
