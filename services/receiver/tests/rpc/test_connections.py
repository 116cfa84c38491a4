"""How long connections last: silent, old or noisy ones end, and no call fails for it."""

import socket
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rig.receiver import push_id

from runmeter.receiver import events
from runmeter.receiver.rpc.server import CONNECTION_LIMITS
from runmeter.v1 import run_pb2

WAIT_SECONDS = 60.0  # for a loaded machine
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# the program's own parts, with other limits
SERVE = """
import sys
import uvloop
from runmeter.receiver import config
config.quiet_grpc()
from runmeter.receiver import app
from runmeter.receiver.rpc.server import ConnectionLimits
from runmeter.service import logs
addresses = {"addr": "127.0.0.1:0", "ops_addr": "127.0.0.1:0"}
logs.configure(logs.LogConfig("info", "json"), sys.stderr)
limits = ConnectionLimits(%s)
sys.exit(uvloop.run(app.serve(config.load_serve(addresses), connection_limits=limits)))
"""


@pytest.fixture
def start_limited(start_receiver: Callable[..., Any]) -> Callable[..., Any]:
    """Start a receiver whose connections have these limits."""

    def start(**limits: float) -> Any:
        given = ", ".join(f"{name}={value!r}" for name, value in limits.items())
        return start_receiver(code=SERVE % given)

    return start


@pytest.mark.parametrize("sent", [b"", PREFACE[:7], PREFACE], ids=["nothing", "half", "preface"])
def test_a_silent_connection_is_closed(
    start_limited: Callable[..., Any], message: run_pb2.Run, sent: bytes
) -> None:
    """A client that does not begin HTTP/2 is cut off; others are served meanwhile."""
    receiver = start_limited(handshake_seconds=1.0)
    assert CONNECTION_LIMITS.handshake_seconds <= 30
    host, _, port = receiver.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as connection:
        connection.sendall(sent)
        assert receiver.push(message).id == 1
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert receiver.push(message).duplicate is True


def ports(receiver: Any) -> set[str]:
    """Return the connections that pushes came over, by the client's port."""
    lines = [line for line in receiver.events() if line["event"] == events.RPC_FINISHED]
    assert {line["code"] for line in lines} <= {"OK"}  # the first line may come after the answer
    return {line["peer"] for line in lines}


@pytest.mark.slow
def test_an_old_connection_is_left_without_a_failed_call(
    start_limited: Callable[..., Any], message: run_pb2.Run
) -> None:
    """A client that pushes all the time is moved to new connections, and no call fails."""
    receiver = start_limited(age_seconds=0.5)
    until = time.monotonic() + WAIT_SECONDS
    number = 0
    while len(ports(receiver)) < 4:
        assert time.monotonic() < until
        number += 1
        message.push_id = push_id(number)
        assert receiver.push(message).id == number
    assert len(receiver.stored(message.scope)) == min(number, 1000)


def watch(address: str, ping_seconds: float, wait_seconds: float) -> grpc.RpcError:
    """Wait in one long call, with pings so often; return what ends it."""
    options = [
        ("grpc.keepalive_time_ms", round(ping_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", round(WAIT_SECONDS * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with grpc.insecure_channel(address, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answers = stub.Watch(health_pb2.HealthCheckRequest(), timeout=wait_seconds)
        with pytest.raises(grpc.RpcError) as caught:
            list(answers)
    return caught.value


def test_a_client_that_pings_too_often_is_cut_off(receiver: Any, message: run_pb2.Run) -> None:
    """Its call ends as UNAVAILABLE, for too many pings; others are not disturbed."""
    error = watch(receiver.address, 0.1, WAIT_SECONDS)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "many pings" in error.details()
    assert receiver.push(message).id == 1


@pytest.mark.slow
def test_a_client_that_pings_as_ours_do_is_not(start_limited: Callable[..., Any]) -> None:
    """Pings half as often as allowed, like the collector's, end no call but at its deadline."""
    receiver = start_limited(ping_seconds=CONNECTION_LIMITS.ping_seconds / 10)
    error = watch(receiver.address, 1.0, 6.0)  # the collector's 10 s, a tenth of it
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
