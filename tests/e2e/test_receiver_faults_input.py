"""What no well-meant client sends: refused with a reason, and the receiver serves on."""

import math
import random
import resource
import signal
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from rig import frames
from rig.places import SqlitePlace
from rig.programs import Stage, staged
from rig.pushers import RETRIED, Pushers, a_run
from rig.service import Service, bearer
from rig.stack import Scope

from runmeter.v1 import ingest_service_pb2, run_pb2

PUSH = "/runmeter.v1.IngestService/PushRun"
MAX_BYTES = 4 * 2**20
IDLE_COUNT = 1000
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One receiver for all tests, that takes 4 MiB; each test uses a scope of its own."""
    folder = tmp_path_factory.mktemp("receiver")
    with staged(folder) as stage:
        service = Service(stage, folder / "metrics.db", f"--max-message-bytes={MAX_BYTES}")
        yield service
        SqlitePlace(folder / "metrics.db").check_whole()
        assert not service.receivers[0].events("library.warned")
        service.close()


@pytest.fixture
def push_bytes(service: Service, scope: Scope) -> Callable[[bytes], grpc.Call]:
    """Push bytes as they are; return the call when it has ended."""
    call = service.client.channel().unary_unary(PUSH)
    metadata = bearer(service.token(scope))

    def push(raw: bytes) -> grpc.Call:
        begun = call.future(raw, timeout=60, metadata=metadata)
        begun.code()
        return begun

    return push


@pytest.fixture(autouse=True)
def serving_on(service: Service, scope: Scope) -> Iterator[None]:
    """At the end a push is stored, queries and health are answered."""
    yield
    run = a_run(scope, random.Random("at the end"))
    assert service.client.push(run, scope).receipt is not None
    assert service.client.stored(scope)[run.push_id].run == run
    assert service.client.health() == health_pb2.HealthCheckResponse.SERVING
    service.check_no_defects()


def raw_of(run: run_pb2.Run) -> bytes:
    """Return the request as bytes."""
    return ingest_service_pb2.PushRunRequest(run=run).SerializeToString()


def set_at(run: run_pb2.Run, path: str, value: Any) -> None:
    """Set a field below the run."""
    *parents, name = path.split(".")
    inner: Any = run
    for parent in parents:
        inner = getattr(inner, parent)[0] if parent.endswith("s") else getattr(inner, parent)
    setattr(inner, name, value)


BAD_NUMBERS = [
    (path, value)
    for path in (
        "payload.duration_seconds",
        "payload.cpu_total_percent.p95",
        "payload.containers.cpu_seconds",
        "next_push_within_seconds",
        "payload.coverage.interval_seconds",
    )
    for value in (math.nan, math.inf, -math.inf, -1.0)
]
BAD_TEXTS = [
    (path, value)
    for path in ("run_id", "runner_name", "collector_version", "payload.containers.name")
    for value in ("a\0b", "\n", "\x7f", "\x1b[0m", "x" * 5000)
]


def test_bad_values(service: Service, scope: Scope, push_bytes: Callable[[bytes], Any]) -> None:
    """NaN, infinities, negative numbers, NUL and control characters: INVALID_ARGUMENT, which names
    the field."""
    for path, value in BAD_NUMBERS + BAD_TEXTS:
        run = a_run(scope, random.Random(path), container_count=2)
        run.state = run_pb2.RUN_STATE_RUNNING
        set_at(run, path, value)
        refused = push_bytes(raw_of(run))
        assert refused.code() is Code.INVALID_ARGUMENT, (path, value)
        assert path.rpartition(".")[2] in refused.details(), (path, value)
    assert service.client.stored(scope) == {}


def test_numbers_beyond_the_last(scope: Scope, push_bytes: Callable[[bytes], Any]) -> None:
    """2^63, written as a varint where 2^63-1 is the last: refused."""
    run = a_run(scope, random.Random(0))
    run.ClearField("revision")
    # field 4, revision; inside of request field 1, run
    inner = run.SerializeToString() + b"\x20" + b"\x80" * 9 + b"\x01"
    length = len(inner)
    raw = b"\x0a" + bytes((length & 0x7F | 0x80, length >> 7)) + inner
    assert ingest_service_pb2.PushRunRequest.FromString(raw).run.revision == -(2**63)
    assert push_bytes(raw).code() is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("bad", [b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])
def test_text_that_is_no_text(scope: Scope, push_bytes: Callable[[bytes], Any], bad: bytes) -> None:
    """Bytes that are no UTF-8, surrogates among them, in any text: INVALID_ARGUMENT."""
    run = a_run(scope, random.Random(0), container_count=1)
    run.run_id = run.payload.containers[0].name = run.labels["leg"] = "?" * len(bad)
    run.labels["?" * len(bad)] = "key"
    raw = raw_of(run)
    places = [n for n in range(len(raw)) if raw.startswith(b"?" * len(bad), n)]
    assert len(places) == 4
    for at in places:
        refused = push_bytes(raw[:at] + bad + raw[at + len(bad) :])
        assert refused.code() is Code.INVALID_ARGUMENT


NO_MESSAGES = {
    "empty": b"",
    "ff": b"\xff" * 1000,
    "groups in groups": b"\x0b" * 100_000,
    "a length beyond all": b"\x0a" + b"\xff" * 9 + b"\x01",
    "10 MiB": b"\0" * 10 * 2**20,
}


@pytest.mark.parametrize("name", NO_MESSAGES)
def test_bytes_that_are_no_message(push_bytes: Callable[[bytes], Any], name: str) -> None:
    """Bytes that are no message, or too many: refused by what is wrong with them."""
    code = Code.RESOURCE_EXHAUSTED if name == "10 MiB" else Code.INVALID_ARGUMENT
    assert push_bytes(NO_MESSAGES[name]).code() is code


def test_a_million_containers(
    service: Service, scope: Scope, push_bytes: Callable[[bytes], Any]
) -> None:
    """A message of the allowed size with 10^6 containers is refused, soon, as one violation."""
    run = a_run(scope, random.Random(0), container_count=0)
    run.payload.containers.extend([run_pb2.Container()] * 10**6)
    raw = raw_of(run)
    assert len(raw) < MAX_BYTES
    for _ in range(3):
        refused = push_bytes(raw)
        assert refused.code() is Code.INVALID_ARGUMENT
        assert "run.payload.containers" in refused.details()


def test_changed_messages(
    scope: Scope,
    push_bytes: Callable[[bytes], Any],
    run_count: int,
    seed: str,
    tally: Counter[str],
) -> None:
    """Good messages with a few bytes changed, cut out or put in: taken or refused, no defect."""
    chance = random.Random(seed)
    for _ in range(10 * run_count):
        raw = bytearray(raw_of(a_run(scope, chance)))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(raw))
            raw[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        tally[push_bytes(bytes(raw)).code().name] += 1
    assert tally.keys() <= {"OK", "INVALID_ARGUMENT", "PERMISSION_DENIED", "ALREADY_EXISTS"}
    assert tally["INVALID_ARGUMENT"]


def test_garbage_on_the_socket(service: Service, scope: Scope, seed: str, run_count: int) -> None:
    """Bytes that are not HTTP/2 end their own connection only."""
    chance = random.Random(seed)
    address = service.receivers[0].address
    started = [frames.PREFACE, frames.frame(frames.SETTINGS, 0, 0)]
    random_bytes = [chance.randbytes(chance.randrange(1, 5000)) for _ in range(run_count)]
    with ExitStack() as held, Pushers(service, scope, seed, count=4) as pushers:
        for garbage in frames.GARBAGE.values():
            held.enter_context(frames.connected(address, garbage))
        for garbage in random_bytes:
            before = started if chance.random() < 0.5 else []
            held.enter_context(frames.connected(address, *before, garbage))
        pushers.wait_for_more(20)
    assert not pushers.refusals


def test_calls_begun_and_reset(service: Service, scope: Scope, seed: str) -> None:
    """Thousands of calls that are reset as soon as they are begun delay no other client.

    gRPC's server for asyncio answers a few calls of others CANCELLED meanwhile, without calling a
    handler, also where there is nothing of ours: they are tried again.
    """
    token = service.token(scope)
    address = service.receivers[0].address
    reset = struct.pack(">I", 8)  # CANCEL
    pushers = Pushers(service, scope, seed, count=4, retried=(*RETRIED, Code.CANCELLED))
    with frames.idle(address) as opened, pushers:
        for number in range(2000):
            stream = 2 * number + 1
            begun = frames.call(stream, PUSH, token)
            try:
                opened.sendall(begun + frames.frame(frames.RST_STREAM, 0, stream, reset))
            except OSError:
                break  # the connection was ended for it
        pushers.wait_for_more(20)
    assert {code for code, _ in pushers.refusals} <= {Code.CANCELLED.name}
    assert service.client.stored(scope).keys() == pushers.acknowledged.keys()


def slow_senders(service: Service, scope: Scope, count: int, held: ExitStack) -> None:
    """Begin so many pushes whose message never ends."""
    raw = frames.message(raw_of(a_run(scope, random.Random(0))))
    begun = frames.call(1, PUSH, service.token(scope))
    half = frames.frame(frames.DATA, 0, 1, raw[: len(raw) // 2])
    for _ in range(count):
        opened = frames.idle(service.receivers[0].address)
        held.enter_context(opened)
        opened.sendall(begun + half)


def test_half_messages_that_never_end(service: Service, scope: Scope, seed: str) -> None:
    """Clients that stop in the middle of a message do not affect others."""
    with ExitStack() as held:
        slow_senders(service, scope, 100, held)
        with Pushers(service, scope, seed, count=8) as pushers:
            pushers.wait_for_more(50)
        assert not pushers.refusals
        assert service.client.stored(scope).keys() == pushers.acknowledged.keys()


def test_half_messages_do_not_hold_up_the_end(stage: Stage, scope: Scope, tmp_path: Any) -> None:
    """SIGTERM ends the receiver within --shutdown-timeout, even with unfinished messages."""
    service = Service(stage, tmp_path / "other.db", "--shutdown-timeout=500ms")
    with ExitStack() as held:
        slow_senders(service, scope, 20, held)
        assert service.receivers[0].stop(signal.SIGTERM) == 0
    service.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process, and those it starts, have files enough; or skip."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * IDLE_COUNT + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("needs 2500 files at once")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_idle_connections(
    many_files: None, service: Service, scope: Scope, seed: str
) -> None:
    """A thousand clients that say nothing, while pushes go on; then they leave at once."""
    address = service.receivers[0].address
    opened: list[socket.socket] = []
    try:
        opened += [frames.idle(address) for _ in range(IDLE_COUNT)]
        with Pushers(service, scope, seed, count=8) as pushers:
            pushers.wait_for_more(50)
        assert not pushers.refusals
        # the receiver has greeted each of them
        assert all(connection.recv(9) for connection in opened)
    finally:
        for connection in opened:
            connection.close()
    assert service.client.stored(scope).keys() == pushers.acknowledged.keys()
