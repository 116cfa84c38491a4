"""What a caller cannot do to others: refused bearers, slow calls, floods, idle connections."""

import contextlib
import resource
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st
from rig.receiver import READ_TOKEN, copied, push_id, refusal

from runmeter.receiver import events
from runmeter.receiver.rpc.callers import Callers, caller_key
from runmeter.receiver.rpc.failures import WINDOW_SECONDS, Excess, Failures
from runmeter.service.clients import networks
from runmeter.v1 import ingest_service_pb2, run_pb2, run_service_pb2

Code = grpc.StatusCode
PUSH = "/runmeter.v1.IngestService/PushRun"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # an empty frame


# -- who calls ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded", "client", "key"),
    [
        ("ipv4:10.1.2.3:999", ["192.0.2.7"], "192.0.2.7", "192.0.2.7"),
        ("ipv4:10.1.2.3:999", ["192.0.2.8, 192.0.2.7"], "192.0.2.7", "192.0.2.7"),
        ("ipv4:10.1.2.3:999", ["192.0.2.8", "192.0.2.7"], "192.0.2.7", "192.0.2.7"),
        ("ipv4:10.1.2.3:999", ["2001:db8::7"], "2001:db8::7", "2001:db8::/64"),
        ("ipv6:%5B::1%5D:999", ["192.0.2.7"], "192.0.2.7", "192.0.2.7"),
        ("ipv6:[::ffff:10.1.2.3]:999", ["192.0.2.7"], "192.0.2.7", "192.0.2.7"),
        ("ipv4:10.1.2.3:999", [], None, "10.1.2.3"),
        ("ipv4:10.1.2.3:999", ["nobody", b"192.0.2.7"], None, "10.1.2.3"),
        ("ipv4:10.1.2.3:999", ["192.0.2.7,"], None, "10.1.2.3"),
        ("ipv4:11.1.2.3:999", ["192.0.2.7"], None, "11.1.2.3"),
        ("ipv6:%5B2001:db8:1:2:3::4%5D:9", ["192.0.2.7"], None, "2001:db8:1:2::/64"),
        ("unix:/run/socket", ["192.0.2.7"], None, "unix:/run/socket"),
    ],
)
def test_forwarded_addresses(peer: str, forwarded: list[Any], client: str | None, key: str) -> None:
    """The last forwarded address counts, from trusted peers only, and if it is an address."""
    callers = Callers(networks("10.0.0.0/8,::1"), trust_all=False)
    assert callers.client(peer, forwarded) == client
    assert caller_key(peer, client) == key


def test_mutual_tls_trusts_every_peer() -> None:
    """A peer with a certificate is trusted."""
    callers = Callers((), trust_all=True)
    assert callers.client("ipv4:11.1.2.3:9", ["192.0.2.7"]) == "192.0.2.7"
    assert Callers((), trust_all=False).client("ipv4:11.1.2.3:9", ["192.0.2.7"]) is None


# -- counting -----------------------------------------------------------------------------


def test_too_many_failures_of_a_caller_or_bearer() -> None:
    """Both are counted, for a minute from the first one on; the first excess is marked."""
    now = [1000.0]
    failures = Failures(3, lambda: now[0])
    assert [failures.failed("a", f"bearer-{n}") for n in range(3)] == [None] * 3
    now[0] += 10
    assert failures.failed("a", "bearer") == Excess(WINDOW_SECONDS - 10, True)
    assert failures.failed("a", None) == Excess(WINDOW_SECONDS - 10, False)
    assert failures.failed("b", "bearer") is None
    assert failures.failed("c", "bearer") is None
    assert failures.failed("d", "bearer") == Excess(WINDOW_SECONDS, True)
    assert failures.failed("e", None) is None
    now[0] += WINDOW_SECONDS - 9
    assert failures.failed("a", None) is None


def test_counts_are_bounded() -> None:
    """The table has a bounded size, and is empty after a minute."""
    now = [1000.0]
    failures = Failures(3, lambda: now[0], keys_max=100)
    for number in range(10_000):
        failures.failed(f"caller-{number}", f"bearer-{number}")
    assert len(failures) == 100
    now[0] += WINDOW_SECONDS + 1
    failures.failed("another", None)
    assert len(failures) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 40)), max_size=80))
def test_never_limited_within_the_allowed(steps: list[tuple[str, float]]) -> None:
    """A caller is not limited within the allowed failures of the last minute."""
    now = [0.0]
    failures = Failures(3, lambda: now[0])
    seen: dict[str, list[float]] = {}
    for caller, pause in steps:
        now[0] += pause
        times = seen.setdefault(caller, [])
        times.append(now[0])
        recent = [at for at in times if at > now[0] - WINDOW_SECONDS]
        if failures.failed(caller, None) is not None:
            assert len(recent) > 3


# -- refused bearers ----------------------------------------------------------------------


def metric(receiver: Any, name: str) -> float:
    """Return a number of /metrics that has no labels."""
    text = httpx.get(f"{receiver.ops_url}/metrics", trust_env=False).text
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


def test_too_many_refused_bearers(start_receiver: Callable[..., Any], message: run_pb2.Run) -> None:
    """Beyond the limit they are RESOURCE_EXHAUSTED with a hint; good bearers always pass."""
    receiver = start_receiver("--max-auth-failures=5")
    good = receiver.push_token(message.scope)
    found = [refusal(lambda n=n: receiver.push(message, f"wrong-{n}")) for n in range(20)]
    codes = [error.code() for error in found]
    assert codes == [Code.UNAUTHENTICATED] * 5 + [Code.RESOURCE_EXHAUSTED] * 15
    assert "the bearer is not a push token" in found[-1].details()
    info = error_details_pb2.RetryInfo()
    assert rpc_status.from_call(found[-1]).details[0].Unpack(info)
    assert 1 <= info.retry_delay.ToSeconds() <= WINDOW_SECONDS
    assert refusal(lambda: receiver.push(message, "0" * 64)).code() is Code.RESOURCE_EXHAUSTED
    listing = run_service_pb2.ListRunsRequest(scope=message.scope)
    denied = receiver.runs.ListRuns(listing, metadata=receiver.bearer("x"))
    assert denied.code() is Code.RESOURCE_EXHAUSTED
    assert receiver.push(message, good).id == 1
    assert receiver.stored(message.scope)[0].id == 1
    other = copied(message)
    other.scope.job = "another"
    assert refusal(lambda: receiver.push(other, good)).code() is Code.RESOURCE_EXHAUSTED
    assert receiver.push(message, good).duplicate is True
    assert metric(receiver, "runmeter_receiver_authentications_limited_total") == 18
    assert receiver.end() == 0
    calls = [line for line in receiver.events() if line["event"] == events.RPC_FINISHED]
    assert [line["code"] for line in calls].count("RESOURCE_EXHAUSTED") == 0
    limited = [line for line in receiver.events() if line["event"] == events.CALLER_LIMITED]
    assert [(line["caller"], line["level"]) for line in limited] == [("127.0.0.1", "warning")]


# -- slow calls ---------------------------------------------------------------------------


@pytest.fixture
def never() -> Iterator[Iterator[bytes]]:
    """A stream of requests that sends nothing until the test is over."""
    over = threading.Event()

    def requests() -> Iterator[bytes]:
        over.wait(120)
        yield from ()

    yield requests()
    over.set()


def test_a_call_that_never_sends(
    start_receiver: Callable[..., Any], message: run_pb2.Run, never: Iterator[bytes]
) -> None:
    """A stream that opens and stays silent ends as DEADLINE_EXCEEDED, deadline or not."""
    receiver = start_receiver("--call-timeout=1s")
    token = receiver.push_token(message.scope)
    call = receiver.channel.stream_unary(PUSH)
    error = refusal(lambda: call(never, metadata=receiver.bearer(token)))
    assert error.code() is Code.DEADLINE_EXCEEDED
    assert "longer than 1 s" in error.details()
    assert receiver.push(message, token).id == 1
    assert receiver.end() == 0
    finished = [line for line in receiver.events() if line["event"] == events.RPC_FINISHED]
    assert [line["code"] for line in finished] == ["OK", "DEADLINE_EXCEEDED", "OK"]


def test_a_push_that_waits_too_long(
    start_receiver: Callable[..., Any], message: run_pb2.Run
) -> None:
    """A push behind a lock ends in time, and the receiver works on when the lock is gone."""
    receiver = start_receiver("--call-timeout=1s")
    path = receiver.folder / "metrics.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        calls = [receiver.push_later(message) for _ in range(3)]
        assert {call.code() for call in calls} == {Code.DEADLINE_EXCEEDED}
        lock.execute("ROLLBACK")
    until = time.monotonic() + 60
    while True:  # the writer still tries the earlier ones
        with contextlib.suppress(grpc.RpcError):
            assert receiver.push(message).id == 1
            break
        assert time.monotonic() < until
    assert receiver.end() == 0


@pytest.mark.slow
def test_a_call_that_never_reads(start_receiver: Callable[..., Any], message: run_pb2.Run) -> None:
    """An answer that is not read ends in time, and delays neither other calls nor the end."""
    receiver = start_receiver("--call-timeout=2s")
    filler = message.payload.containers[0]
    del message.payload.containers[:]
    for number in range(900):
        container = message.payload.containers.add()
        container.CopyFrom(filler)
        container.name = f"{number}-{'x' * 100}"
    for number in range(60):
        message.push_id = push_id(number)
        receiver.push(message)
    request = run_service_pb2.ListRunsRequest(scope=message.scope)
    with grpc.insecure_channel(receiver.address) as channel:
        list_runs = channel.unary_stream(
            "/runmeter.v1.RunService/ListRuns",
            run_service_pb2.ListRunsRequest.SerializeToString,
        )
        reading = list_runs(request, metadata=receiver.bearer(READ_TOKEN))
        next(reading)
        line = receiver.wait_for(events.RPC_FINISHED)
        while not line["method"].endswith("ListRuns"):
            line = receiver.wait_for(events.RPC_FINISHED)
        assert line["code"] == "DEADLINE_EXCEEDED"
        message.push_id = "00000000-0000-4000-8000-00000000ffff"
        assert receiver.push(message).id == 61
        # what has arrived is still read; the missing part is an error
        cut_off = refusal(lambda: list(reading)).code()
        assert cut_off in (Code.DEADLINE_EXCEEDED, Code.CANCELLED)
        assert receiver.end() == 0


# -- connections --------------------------------------------------------------------------


def connect(receiver: Any) -> socket.socket:
    """Return a connection that has begun HTTP/2 and does nothing."""
    host, _, port = receiver.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(PREFACE + SETTINGS)
    return connection


def test_too_much_metadata(receiver: Any, message: run_pb2.Run) -> None:
    """A call with more than 8 KiB of it is refused, one with much less is not."""
    request = ingest_service_pb2.PushRunRequest(run=message)
    bearer = receiver.bearer(receiver.push_token(message.scope))
    assert receiver.ingest.PushRun(request, metadata=(*bearer, ("x", "y" * 4000))).id == 1
    error = refusal(lambda: receiver.ingest.PushRun(request, metadata=(*bearer, ("x", "y" * 9000))))
    assert error.code() is Code.RESOURCE_EXHAUSTED


def test_a_thousand_idle_connections(
    start_receiver: Callable[..., Any], message: run_pb2.Run
) -> None:
    """A thousand connections without a call change nothing for others, at a low soft limit too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("needs 2048 open files")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        receiver = start_receiver()
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(connect(receiver)) for _ in range(1000)]
            for connection in idle:
                assert connection.recv(1)  # its SETTINGS: the connection is served
            assert receiver.push(message).id == 1
            assert receiver.push(message).duplicate is True
            assert metric(receiver, "process_open_fds") > 1000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert receiver.end() == 0
