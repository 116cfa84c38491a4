"""The ``receiver`` program, started and called as its users do."""

import contextlib
import json
import queue
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from rig import forks
from rig.receiver import HMAC_KEY, READ_TOKEN, code, copied, refusal, violations

from runmeter.receiver import events
from runmeter.receiver.rotation import KEY_MIN_BYTES
from runmeter.receiver.tokens import Keyring
from runmeter.receiver.wire import reading
from runmeter.v1 import ingest_service_pb2, run_pb2, run_service_pb2, token_service_pb2

Code = grpc.StatusCode
PUSH = "/runmeter.v1.IngestService/PushRun"
LIST = "/runmeter.v1.RunService/ListRuns"
REPOSITORIES = "/runmeter.v1.RunService/ListRepositories"
JOBS = "/runmeter.v1.RunService/ListJobs"
MINT = "/runmeter.v1.TokenService/CreatePushToken"


def test_push_and_list(receiver: Any, stored_run: run_service_pb2.StoredRun) -> None:
    """A minted token pushes a run, which is answered field by field as it came."""
    run = stored_run.run
    token = receiver.push_token(run.scope)
    assert len(token) == 64
    first = receiver.push(run, token)
    assert (first.id, first.duplicate) == (1, False)
    again = receiver.push(run, token)
    assert (again.id, again.duplicate) == (1, True)
    (stored,) = receiver.stored(run.scope)
    assert stored.run == run
    assert stored.id == 1
    assert stored.received_at == stored.updated_at
    assert stored.received_at.nanos % 1_000_000 == 0
    assert abs(stored.received_at.ToMilliseconds() / 1000 - time.time()) < 60


def bearers(message: run_pb2.Run) -> dict[str, str | None]:
    """Return one bearer of every kind."""
    scope = reading.scope_from_wire(message.scope, "scope")
    keyring = Keyring([HMAC_KEY])
    return {
        "none": None,
        "empty": "",
        "scheme": "Basic " + READ_TOKEN,
        "read": "Bearer " + READ_TOKEN,
        "read-lower": "bearer " + READ_TOKEN,
        "read-cut": "Bearer " + READ_TOKEN[:-1],
        "hmac-key": "Bearer " + HMAC_KEY,
        "push": "Bearer " + keyring.mint(scope),
        "push-later": "Bearer " + keyring.mint(scope, 4102444800),
        "push-expired": "Bearer " + keyring.mint(scope, 1000),
        "push-upper": "Bearer " + keyring.mint(scope).upper(),
        "push-other-scope": "Bearer " + keyring.mint(scope._replace(job="other")),
        "push-other-key": "Bearer " + Keyring(["other"]).mint(scope),
        "push-stretched": "Bearer " + keyring.mint(scope, 1000).split(".")[0] + ".4102444800",
        "zeros": "Bearer " + "0" * 64,
    }


def test_auth_matrix(receiver: Any, message: run_pb2.Run) -> None:
    """Every method with every bearer: only its own opens it, no other reads or writes, none is
    logged."""
    requests = {
        PUSH: ingest_service_pb2.PushRunRequest(run=message),
        LIST: run_service_pb2.ListRunsRequest(scope=message.scope),
        REPOSITORIES: run_service_pb2.ListRepositoriesRequest(),
        JOBS: run_service_pb2.ListJobsRequest(organization="o", repository="r"),
        MINT: token_service_pb2.CreatePushTokenRequest(scope=message.scope),
    }
    opens = {
        PUSH: {"push", "push-later"},
        LIST: {"read", "read-lower"},
        REPOSITORIES: {"read", "read-lower"},
        JOBS: {"read", "read-lower"},
        MINT: {"read", "read-lower"},
    }
    denied = {"push-other-scope", "push-other-key", "push-stretched", "zeros"}
    pushed = False
    for name, value in sorted(bearers(message).items(), key=lambda item: item[0] in opens[PUSH]):
        metadata = () if value is None else (("authorization", value),)
        for method, request in requests.items():
            call = receiver.channel.unary_stream(method)
            found = Code.OK
            try:
                answers = list(call(request.SerializeToString(), metadata=metadata, timeout=30))
            except grpc.RpcError as error:
                found = error.code()
            if name in opens[method]:
                assert found is Code.OK, (name, method)
                assert len(answers) == (2 if method == LIST and pushed else 1)
                pushed |= method == PUSH
            elif method == PUSH and name in denied:
                assert found is Code.PERMISSION_DENIED, (name, method)
            else:
                assert found is Code.UNAUTHENTICATED, (name, method)
            assert len(receiver.stored(message.scope)) == int(pushed)
    assert pushed
    assert receiver.end() == 0
    log = "".join(receiver.output)
    for value in filter(None, bearers(message).values()):
        assert value.split(" ", 1)[-1].split(".")[0] not in log


def test_two_bearers_are_none(receiver: Any, message: run_pb2.Run) -> None:
    """A call with two authorizations is UNAUTHENTICATED."""
    metadata = receiver.bearer("x") + receiver.bearer(READ_TOKEN)
    request = run_service_pb2.ListRunsRequest(scope=message.scope)
    found = code(lambda: list(receiver.runs.ListRuns(request, metadata=metadata)))
    assert found is Code.UNAUTHENTICATED


def test_order_of_refusals(receiver: Any, message: run_pb2.Run) -> None:
    """Bearer's form, size, syntax, scope, HMAC, then the other fields."""
    call = receiver.channel.unary_unary(PUSH)
    large = ingest_service_pb2.PushRunRequest(run=copied(message, run_id="x" * 2**21))
    scope = reading.scope_from_wire(message.scope, "scope")
    good = Keyring([HMAC_KEY]).mint(scope)
    bad_fields = copied(message, revision=0, push_id="")
    bad_scope = copied(bad_fields)
    bad_scope.scope.job = ""
    steps: list[tuple[Any, str, grpc.StatusCode]] = [
        (large, "x", Code.UNAUTHENTICATED),
        (large, "0" * 64, Code.RESOURCE_EXHAUSTED),
        (b"\xff\xff", "0" * 64, Code.INVALID_ARGUMENT),
        (bad_scope, "0" * 64, Code.INVALID_ARGUMENT),
        (bad_fields, "0" * 64, Code.PERMISSION_DENIED),
        (bad_fields, good, Code.INVALID_ARGUMENT),
    ]
    for request, token, expected in steps:
        if isinstance(request, run_pb2.Run):
            request = ingest_service_pb2.PushRunRequest(run=request)
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        found = refusal(lambda raw=raw, token=token: call(raw, metadata=receiver.bearer(token)))
        assert found.code() is expected
    fields = violations(refusal(lambda: receiver.push(bad_scope, "0" * 64)))
    assert list(fields) == ["run.scope.job"]
    assert list(violations(refusal(lambda: receiver.push(bad_fields, good)))) == [
        "run.push_id",
        "run.revision",
    ]
    assert receiver.stored(message.scope) == []


def test_tokens_with_expiry(start_receiver: Callable[..., Any], message: run_pb2.Run) -> None:
    """--max-token-ttl bounds the life of new tokens, also of those asked for without one."""
    receiver = start_receiver("--max-token-ttl=1h")

    def mint(**fields: Any) -> token_service_pb2.CreatePushTokenResponse:
        request = token_service_pb2.CreatePushTokenRequest(scope=message.scope, **fields)
        return receiver.tokens.CreatePushToken(request, metadata=receiver.bearer(READ_TOKEN))

    for answer, seconds in ((mint(), 3600), (mint(expires_in_seconds=60), 60)):
        mac, _, expiry = answer.token.partition(".")
        assert len(mac) == 64
        assert int(expiry) == answer.expires_at.seconds
        assert abs(int(expiry) - time.time() - seconds) < 60
        assert receiver.push(message, answer.token).id == 1
    error = refusal(lambda: mint(expires_in_seconds=3601))
    assert violations(error) == {"expires_in_seconds": "is 3601; must be 1 to 3600"}
    lasting = Keyring([HMAC_KEY]).mint(reading.scope_from_wire(message.scope, "scope"))
    assert receiver.push(message, lasting).duplicate is True


def test_unknown_methods(receiver: Any) -> None:
    """What is no method of ours is UNIMPLEMENTED, with a bearer or without."""
    for method in ("/runmeter.v1.IngestService/Nothing", "/other.Service/Call"):
        for metadata in ((), receiver.bearer(READ_TOKEN)):
            call = receiver.channel.unary_unary(method)
            assert code(lambda c=call, m=metadata: c(b"", metadata=m)) is Code.UNIMPLEMENTED


def test_health_and_reflection_need_no_token(receiver: Any) -> None:
    """Every service is SERVING, and reflection lists them."""
    health = health_pb2_grpc.HealthStub(receiver.channel)
    names = {"runmeter.v1.IngestService", "runmeter.v1.RunService", "runmeter.v1.TokenService"}
    for name in {"", *names}:
        answer = health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(receiver.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([request]))
    assert names < {service.name for service in answer.list_services_response.service}


def test_bytes_that_are_no_message_to_health_and_reflection(receiver: Any) -> None:
    """They are refused, and nothing of them is in the log."""
    for method in (
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ):
        call = receiver.channel.stream_stream(method)
        with pytest.raises(grpc.RpcError) as caught:
            list(call(iter([b"\xff"]), timeout=30))
        assert caught.value.code() is Code.INVALID_ARGUMENT
        assert caught.value.details().startswith("malformed request")
    assert code(lambda: receiver.channel.unary_unary("/grpc.health.v1.Health/X")(b"")) is (
        Code.UNIMPLEMENTED
    )
    assert receiver.end() == 0
    assert [line["event"] for line in receiver.events()] == [
        events.DATABASE_MIGRATED,
        events.SERVER_STARTED,
        events.SHUTDOWN_REQUESTED,
        events.SERVER_STOPPED,
    ]


def test_reflection_ends_in_time(start_receiver: Callable[..., Any]) -> None:
    """--call-timeout ends an open stream of reflection, not a watch of health."""
    receiver = start_receiver("--call-timeout=1s")
    watch = health_pb2_grpc.HealthStub(receiver.channel).Watch(health_pb2.HealthCheckRequest())
    asked = queue.SimpleQueue[reflection_pb2.ServerReflectionRequest]()
    asked.put(reflection_pb2.ServerReflectionRequest(list_services=""))
    stub = reflection_pb2_grpc.ServerReflectionStub(receiver.channel)
    talk = stub.ServerReflectionInfo(iter(asked.get, None), timeout=30)
    assert next(talk).list_services_response.service
    with pytest.raises(grpc.RpcError) as caught:
        next(talk)
    assert caught.value.code() is Code.DEADLINE_EXCEEDED
    assert "longer than 1 s" in caught.value.details()
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    assert watch.is_active()
    watch.cancel()


def test_log_lines_are_documented(receiver: Any, message: run_pb2.Run) -> None:
    """One line per call, with its facts; events and keys are those of runmeter.receiver.events."""
    receiver.push(message)
    code(lambda: receiver.push(message, "x"))
    code(lambda: receiver.push(copied(message, run_id="x" * 2**21)))
    receiver.stored(message.scope)
    assert receiver.end() == 0
    lines = receiver.events()
    for line in lines:
        assert set(line) <= {"event", "level", "timestamp", *events.EVENTS[line["event"]].keys}
    calls = [line for line in lines if line["event"] == events.RPC_FINISHED]
    assert [line["code"] for line in calls] == [
        "OK",
        "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED",
        "OK",
    ]
    first = calls[0]
    assert first["method"] == PUSH
    assert first["peer"].startswith("ipv4:127.0.0.1:")
    assert first["duration_seconds"] > 0
    names = ("organization", "repository", "workflow", "job", "run_id", "push_id", "state")
    assert [first[name] for name in names] == [
        *(getattr(message.scope, name) for name in names[:4]),
        "run-123",
        message.push_id,
        "COMPLETED",
    ]
    assert (first["revision"], first["id"], first["duplicate"]) == (4, 1, False)


def slow_call(receiver: Any, message: run_pb2.Run) -> tuple[Any, sqlite3.Connection]:
    """Return a push that waits for a lock on the database, and the lock."""
    path = receiver.folder / "metrics.db"
    lock = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    return receiver.push_later(message), lock


def test_sigterm_drains(receiver: Any, message: run_pb2.Run) -> None:
    """A call that runs at SIGTERM is answered, health and /readyz say no, the end is orderly."""
    health = health_pb2_grpc.HealthStub(receiver.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    call, lock = slow_call(receiver, message)
    receiver.process.send_signal(signal.SIGTERM)
    assert receiver.wait_for(events.SHUTDOWN_REQUESTED)["signal"] == "SIGTERM"
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert receiver.page("/readyz").text == "not ready: it is shutting down\n"
    assert receiver.page("/readyz").status_code == 503
    assert receiver.page("/healthz").status_code == 200
    assert receiver.page("/metrics").status_code == 200
    lock.execute("ROLLBACK")
    lock.close()
    assert call.result().id == 1
    watch.cancel()
    assert receiver.wait() == 0
    assert receiver.events()[-1]["event"] == events.SERVER_STOPPED


def test_shutdown_timeout_bounds_the_end(
    start_receiver: Callable[..., Any], message: run_pb2.Run
) -> None:
    """A call that does not end in time is cut off, and so is the transaction it waits for."""
    receiver = start_receiver("--shutdown-timeout=100ms")
    call, lock = slow_call(receiver, message)
    assert receiver.end() == 1
    assert receiver.events()[-1]["event"] == events.SERVER_KILLED
    assert call.code() in (Code.UNAVAILABLE, Code.CANCELLED)
    lock.close()


def test_a_second_signal_ends_at_once(receiver: Any, message: run_pb2.Run) -> None:
    """While it drains, another signal ends the program with 128 + its number."""
    call, lock = slow_call(receiver, message)
    receiver.process.send_signal(signal.SIGTERM)
    receiver.wait_for(events.SHUTDOWN_REQUESTED)
    assert receiver.end(signal.SIGINT) == 130
    assert call.code() in (Code.UNAVAILABLE, Code.CANCELLED)  # the second if our channel ends first
    lock.close()


def test_a_locked_database_is_unavailable(receiver: Any, message: run_pb2.Run) -> None:
    """Longer than the busy timeout: UNAVAILABLE with a hint when to retry; reads go on; then all
    works."""
    call, lock = slow_call(receiver, message)
    assert receiver.stored(message.scope) == []
    error = refusal(call.result)
    assert error.code() is Code.UNAVAILABLE
    assert "locked by another process" in error.details()
    info = error_details_pb2.RetryInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    lock.execute("ROLLBACK")
    lock.close()
    assert receiver.push(message).id == 1
    assert receiver.wait_for(events.DATABASE_FAILED)["level"] == "error"


def run_receiver(*arguments: str, folder: Path, **environment: str) -> Any:
    """Run the program to its end."""
    secrets = {
        "RECEIVER_READ_TOKEN": READ_TOKEN,
        "RECEIVER_HMAC_KEY": HMAC_KEY,
        "RECEIVER_OPS_ADDR": "127.0.0.1:0",
    }
    return forks.run(
        ["receiver", *arguments], env={**secrets, **environment}, cwd=folder, text=True
    )


@pytest.mark.parametrize("flag", ["--addr", "--ops-addr"])
def test_a_port_in_use_is_one_sentence(receiver: Any, tmp_path: Path, flag: str) -> None:
    """A second receiver on the same port says so and exits 1, and makes no database; gRPC adds no
    line of its own."""
    before = set(tmp_path.iterdir())
    taken = receiver.address if flag == "--addr" else receiver.ops_url.removeprefix("http://")
    done = run_receiver("--addr=127.0.0.1:0", f"{flag}={taken}", "--db=other.db", folder=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"receiver: cannot listen on {taken}: address already in use")
    assert line.endswith(f"choose another {flag}")
    assert set(tmp_path.iterdir()) == before


def test_a_port_in_use_leaves_an_older_database_alone(receiver: Any, tmp_path: Path) -> None:
    """A receiver that cannot listen does not migrate, either."""
    path = tmp_path / "older.db"
    with contextlib.closing(sqlite3.connect(path)) as older:
        older.executescript((Path(__file__).parents[1] / "store" / "schema_0001.sql").read_text())
    before = path.read_bytes()
    done = run_receiver(f"--addr={receiver.address}", "--db=older.db", folder=tmp_path)
    assert done.returncode == 1
    assert path.read_bytes() == before
    assert not path.with_name("older.db-wal").exists()


def test_bad_configuration_exits_2_before_any_work(tmp_path: Path) -> None:
    """One sentence, no database file."""
    for arguments, environment, text in (
        (["--addr=nowhere"], {}, "--addr 'nowhere' must be host:port"),
        ([], {"RECEIVER_SHUTDOWN_TIMEOUT": "x"}, "RECEIVER_SHUTDOWN_TIMEOUT 'x' must be"),
        ([], {"RECEIVER_READ_TOKEN": ""}, "a read token is required"),
        ([], {"RECEIVER_HMAC_KEY": ""}, "an HMAC key is required"),
        (["--wrong"], {}, "--wrong"),
        (["serve"], {}, "serve"),
    ):
        done = run_receiver(*arguments, folder=tmp_path, **environment)
        assert done.returncode == 2
        assert text in done.stderr
        assert list(tmp_path.iterdir()) == []


def test_the_key_of_the_example_is_long_enough(tmp_path: Path) -> None:
    """The key of the example in --help is long enough."""
    text = run_receiver("--help", folder=tmp_path).stdout
    keys = re.findall(r"--hmac-key ([a-z-]+)$", text, re.MULTILINE)
    assert keys
    assert all(len(key) >= KEY_MIN_BYTES for key in keys)


def test_help_and_version(tmp_path: Path) -> None:
    """Help names every flag with its variable and default; the version is the package's."""
    done = run_receiver("--help", folder=tmp_path)
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    for word in ("--hmac-key-file FILE", "[RECEIVER_ADDR; default :50051]", "migrate"):
        assert word in text
    assert run_receiver("--version", folder=tmp_path).stdout.startswith("receiver 0.")
    assert "--retention DURATION" in text
    assert "--older-than" not in text


@pytest.mark.parametrize(
    ("name", "own", "others"),
    [
        ("migrate", [], ["--migrate", "--older-than", "--addr"]),
        ("prune", ["--older-than", "--dry-run"], ["--retention", "--skip-bad"]),
        ("export", [], ["--migrate", "--skip-bad"]),
        ("import", ["--skip-bad", "--migrate", "[FILE]"], ["--dry-run", "--hmac-key"]),
    ],
)
def test_help_of_commands(name: str, own: list[str], others: list[str], tmp_path: Path) -> None:
    """The help of a command lists only its own flags, and has an example."""
    text = run_receiver(name, "--help", folder=tmp_path).stdout
    assert f"\n    receiver {name} " in text
    for word in ["--db", "--log-level", *own]:
        assert word in text
    assert [word for word in others if word in text] == []


def test_migrate_command(tmp_path: Path) -> None:
    """It makes the schema, needs no secrets, takes flags on either side, and ends."""
    no_secrets = {"RECEIVER_READ_TOKEN": "", "RECEIVER_HMAC_KEY": ""}
    done = run_receiver("migrate", "--db=a.db", folder=tmp_path, **no_secrets)
    assert done.returncode == 0
    assert json.loads(done.stderr)["event"] == events.DATABASE_MIGRATED
    assert run_receiver("--db=b.db", "migrate", folder=tmp_path, **no_secrets).returncode == 0
    assert {"a.db", "b.db"} <= {path.name for path in tmp_path.iterdir()}


def test_text_log_and_short_key(start_receiver: Callable[..., Any], tmp_path: Path) -> None:
    """A short key is warned about by its place; --log-format=text writes text."""
    receiver = start_receiver("--hmac-key=short", "--hmac-key=" + "k" * 16)
    assert receiver.events()[0] == {
        "event": events.KEY_FOUND_SHORT,
        "level": "warning",
        "position": 1,
        "reason": "an HMAC key this short can be guessed",
        "min_bytes": 16,
        "timestamp": receiver.events()[0]["timestamp"],
    }
    done = run_receiver("migrate", "--log-format=text", "--db=c.db", folder=tmp_path)
    assert "database.migrated" in done.stderr
    assert not done.stderr.startswith("{")
