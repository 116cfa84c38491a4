"""The pusher as a program of its own, against real sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from rig.pusher import start_pusher

from runmeter.collector.log import Log
from runmeter.collector.spool.folder import write_file
from runmeter.collector.spool.format import encode
from runmeter.v1.json_reading import run_from_json

TOKEN = "t0ken-nobody-may-see"
WAIT_SECONDS = 60


class Pusher:
    """Starts the pusher on one spooled run."""

    def __init__(self, file: Path, run: dict[str, Any]) -> None:
        self.file = file
        self.rejected = file.parent / "rejected" / file.name
        self.run = run

    def start(self, endpoint: str, **order: Any) -> subprocess.Popen[str]:
        """Start it with a budget for the push."""
        stored = {"spool_dir": str(self.file.parent), "push_id": self.file.stem}
        return start_pusher(TOKEN, endpoint=endpoint, **stored, **order)

    def __call__(self, endpoint: str, **order: Any) -> tuple[int, dict[str, Any]]:
        """Run it to its end; return exit code and last log line. The token is never shown."""
        return ended(self.start(endpoint, **order))


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Wait for a pusher's end; return its exit code and its last log line."""
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert output == ""
    assert TOKEN not in errors
    line: dict[str, Any] = json.loads(errors.splitlines()[-1])
    return process.returncode, line


@pytest.fixture
def push(tmp_path: Path, golden_run: dict[str, Any]) -> Pusher:
    """Return the pusher of the golden run, spooled."""
    for name in ("id", "received_at", "updated_at"):
        del golden_run[name]
    path = write_file(str(tmp_path / "spool"), golden_run["push_id"], encode(golden_run))
    return Pusher(Path(path), golden_run)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def _aborting(code: grpc.StatusCode, details: str) -> Callable[[Any], Any]:
    def answer(context: Any) -> Any:
        context.abort(code, details)

    return answer


# -- acknowledged -------------------------------------------------------------------------


def test_an_acknowledged_run_leaves_the_spool(push: Pusher, receiver: Any) -> None:
    """The receiver gets the whole run with the token as bearer; the file is dropped."""
    code, line = push(receiver.endpoint)
    assert code == 0
    assert not push.file.exists()
    pushed = receiver.pushes.get_nowait()
    assert pushed.run == run_from_json(push.run)
    assert pushed.authorization == f"Bearer {TOKEN}"
    assert receiver.pushes.empty()
    assert (line["event"], line["id"], line["duplicate"]) == ("run.pushed", 7, False)
    assert line["push_id"] == push.run["push_id"]


@pytest.mark.parametrize(("status", "duplicate"), [(201, False), (200, True)])
def test_an_acknowledged_run_over_http(
    push: Pusher, gateway: Any, status: int, duplicate: bool
) -> None:
    """The gateway gets the run as JSON; stored already is acknowledged as well."""
    gateway.status = status
    gateway.body = json.dumps({"id": 7, "duplicate": duplicate}).encode()
    code, line = push(f"http://127.0.0.1:{gateway.server_port}/api/v1/metrics")
    assert code == 0
    assert not push.file.exists()
    assert gateway.pushes.get_nowait() == (push.run, f"Bearer {TOKEN}")
    assert (line["event"], line["duplicate"]) == ("run.pushed", duplicate)


def test_a_run_in_memory_is_pushed(push: Pusher, receiver: Any) -> None:
    """Where no spool could be written the run comes through a descriptor."""
    descriptor = os.memfd_create("run", 0)
    os.write(descriptor, push.file.read_bytes())
    os.lseek(descriptor, 0, os.SEEK_SET)
    push.file.unlink()
    code, line = push(receiver.endpoint, memory_fd=descriptor, pass_fds=(descriptor,))
    os.close(descriptor)
    assert (code, line["event"]) == (0, "run.pushed")
    assert receiver.pushes.qsize() == 1


def test_a_busy_receiver_is_asked_again(push: Pusher, receiver: Any) -> None:
    """A push that the receiver cannot take now is repeated within the budget."""
    refusals = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]

    def answer(context: Any) -> Any:
        return _aborting(refusals.pop(), "busy")(context) if refusals else receiver.acknowledge(0)

    receiver.answer = answer
    assert push(receiver.endpoint)[0] == 0
    assert receiver.pushes.qsize() == 3
    assert not push.file.exists()


# -- not acknowledged ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "exit_code", "event"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 4, "run.rejected"),
        (grpc.StatusCode.UNAUTHENTICATED, 4, "run.rejected"),
        (grpc.StatusCode.PERMISSION_DENIED, 4, "run.rejected"),
        (grpc.StatusCode.ALREADY_EXISTS, 4, "run.rejected"),
        (grpc.StatusCode.UNIMPLEMENTED, 4, "run.rejected"),
        (grpc.StatusCode.INTERNAL, 3, "run.kept"),
        (grpc.StatusCode.UNAVAILABLE, 3, "run.kept"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_refused_run_is_kept(
    push: Pusher, receiver: Any, status: grpc.StatusCode, exit_code: int, event: str
) -> None:
    """4: the receiver will never accept it as it is; 3: it may later; the run is in the spool.

    What is invalid lies among the rejected, with the reason; all else waits where it was, with
    the reason if the token was refused. The hint says what to do.
    """
    receiver.answer = _aborting(status, "the reason")
    code, line = push(receiver.endpoint, deadline_seconds=2 if exit_code == 3 else 20)
    assert (code, line["event"]) == (exit_code, event)
    assert line["level"] == "error"
    is_invalid = status.name in ("INVALID_ARGUMENT", "ALREADY_EXISTS")
    place = push.rejected if is_invalid else push.file
    assert line["path"] == str(place)
    assert [path.exists() for path in (push.file, push.rejected)] == [not is_invalid, is_invalid]
    document = json.loads(place.read_text())
    assert document["run"] == push.run
    is_token = status.name in ("UNAUTHENTICATED", "PERMISSION_DENIED")
    is_noted = is_invalid or is_token
    assert document.get("reason") == (f"{status.name}: the reason" if is_noted else None)
    again = f"collector push --spool-dir={push.file.parent}"
    assert line["hint"].endswith(f"{again} --rejected" if is_invalid else again)
    needed = ", ".join(
        f"{name} {push.run[name]!r}" for name in ("organization", "repository", "workflow", "job")
    )
    assert (f"a push token for {needed};" in line["hint"]) == is_token
    assert ("--push-endpoint" in line["hint"]) == (status.name == "UNIMPLEMENTED")
    if exit_code == 4:
        assert line["reason"] == f"{status.name}: the reason"


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [*((s, 4) for s in (400, 401, 403, 404, 405, 409, 413, 415)), *((s, 3) for s in (429, 503))],
)
def test_a_run_refused_over_http_is_kept(
    push: Pusher, gateway: Any, status: int, exit_code: int
) -> None:
    """The same over HTTP, with what the problem document says."""
    gateway.status = status
    problem = {"detail": "no", "errors": [{"field": "job", "reason": "is empty"}]}
    gateway.body = json.dumps(problem).encode()
    gateway.headers = {"Retry-After": "3600"}  # past the deadline: it is not asked again
    code, line = push(f"http://127.0.0.1:{gateway.server_port}")
    assert code == exit_code
    assert line["reason"] == f"HTTP {status}: no; job: is empty"
    is_invalid = status in (400, 409, 413, 415)
    assert [path.exists() for path in (push.file, push.rejected)] == [not is_invalid, is_invalid]


@pytest.mark.parametrize(
    "body", [b"", b"<html>\xff</html>", b"[]", b'{"id":"x"}', b'{"detail":1,"errors":7}']
)
@pytest.mark.parametrize("status", [200, 502])
def test_an_answer_of_another_program_keeps_the_run(
    push: Pusher, gateway: Any, body: bytes, status: int
) -> None:
    """A server that is no gateway has not stored anything, whichever answer it gives."""
    gateway.status, gateway.body = status, body
    assert push(f"http://127.0.0.1:{gateway.server_port}", deadline_seconds=1)[0] == 3
    assert push.file.exists()


@pytest.mark.parametrize("is_tls", [False, True])
def test_an_http_port_is_told_from_a_receiver(
    push: Pusher, new_gateway: Any, certificates: Any, is_tls: bool
) -> None:
    """Calls to a port that speaks HTTP/1 are not tried again: what it takes is said."""
    gateway = new_gateway(certificates[0] if is_tls else None)
    authority = f"127.0.0.1:{gateway.server_port}"
    ca = str(certificates[0].cert) if is_tls else ""
    process = push.start(f"grpc{'s' * is_tls}://{authority}", tls_ca=ca)
    _, errors = process.communicate(timeout=WAIT_SECONDS)
    [line] = map(json.loads, errors.splitlines())
    assert (process.returncode, line["event"], push.file.exists()) == (3, "run.kept", True)
    assert line["reason"] == (
        f"{authority} does not speak HTTP/2: for the gateway use http{'s' * is_tls}://{authority}"
        "/api/v1/metrics; for the receiver use its gRPC port"
    )


def test_redirects_are_not_followed(push: Pusher, gateway: Any, new_gateway: Any) -> None:
    """The token goes to the host it was given for and to no other."""
    other = new_gateway()
    gateway.status = 307
    gateway.headers = {"Location": f"http://127.0.0.1:{other.server_port}/api/v1/metrics"}
    code, line = push(f"http://127.0.0.1:{gateway.server_port}")
    assert (code, push.file.exists()) == (3, True)
    assert line["reason"].startswith("HTTP 307")
    assert gateway.pushes.qsize() > 0
    assert other.pushes.empty()


@pytest.mark.parametrize("scheme", ["grpc", "grpcs", "http", "https"])
def test_an_unreachable_receiver_keeps_the_run(push: Pusher, closed_port: int, scheme: str) -> None:
    """Nobody listens: 3, and the file stays."""
    code, line = push(f"{scheme}://127.0.0.1:{closed_port}", deadline_seconds=1)
    assert (code, line["event"], push.file.exists()) == (3, "run.kept", True)


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_host_that_cannot_be_looked_up_keeps_the_run(
    push: Pusher, scheme: str, host: str
) -> None:
    """A host that is no name in DNS is as unreachable as any, and sent a token in the open."""
    process = push.start(f"{scheme}://{host}:1", deadline_seconds=1)
    _, errors = process.communicate(timeout=WAIT_SECONDS)
    lines = [json.loads(line) for line in errors.splitlines()]
    events = [line["event"] for line in lines if line["event"] != "push.retrying"]
    assert events == ["push.unencrypted", "run.kept"]
    assert (process.returncode, push.file.exists()) == (3, True)


def test_a_silent_receiver_costs_the_budget(push: Pusher, receiver: Any) -> None:
    """A receiver that does not answer is waited for until the deadline, no longer."""
    release = threading.Event()
    receiver.answer = lambda context: release.wait(WAIT_SECONDS) and receiver.acknowledge(context)
    code, line = push(receiver.endpoint, deadline_seconds=2)
    release.set()
    assert (code, line["reason"].partition(":")[0]) == (3, "DEADLINE_EXCEEDED")
    assert push.file.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"format":2,"run":{}}', b'{"format":1,"run":{"push_id":"x"}}', None]
)
def test_a_file_that_is_no_run_is_left_alone(
    push: Pusher, receiver: Any, content: bytes | None
) -> None:
    """A damaged, foreign or missing file is reported and not pushed."""
    if content is None:
        push.file = push.file.with_name("none.json")
    else:
        push.file.write_bytes(content)
    code, line = push(receiver.endpoint)
    assert (code, line["event"]) == (3, "run.unreadable")
    assert receiver.pushes.empty()


# -- TLS ----------------------------------------------------------------------------------


@pytest.fixture
def grpcs(new_receiver: Callable[..., Any], certificates: Any) -> Any:
    """Return a receiver that speaks TLS with our certificate."""
    ours = certificates[0]
    pair = (ours.key.read_bytes(), ours.cert.read_bytes())
    return new_receiver(grpc.ssl_server_credentials([pair]))


def test_a_receiver_with_our_ca_is_trusted(push: Pusher, grpcs: Any, certificates: Any) -> None:
    """With the CA that is given the push goes through."""
    assert push(grpcs.endpoint, tls_ca=str(certificates[0].cert))[0] == 0
    assert grpcs.pushes.get_nowait().authorization == f"Bearer {TOKEN}"


@pytest.mark.parametrize("ca", ["{other}", "", "/none"])
def test_a_receiver_of_another_ca_gets_nothing(
    push: Pusher, grpcs: Any, new_gateway: Any, certificates: Any, ca: str
) -> None:
    """With another CA, the system's, or one that cannot be read: kept, no token is sent."""
    https = new_gateway(certificates[0])
    ca = ca.format(other=certificates[1].cert)
    for endpoint in (grpcs.endpoint, f"https://localhost:{https.server_port}"):
        code, line = push(endpoint, tls_ca=ca, deadline_seconds=2)
        assert (code, line["event"], push.file.exists()) == (3, "run.kept", True)
    assert grpcs.pushes.empty()
    assert https.pushes.empty()


def test_a_gateway_with_our_ca_is_trusted(
    push: Pusher, new_gateway: Any, certificates: Any
) -> None:
    """HTTPS with the CA that is given goes through."""
    https = new_gateway(certificates[0])
    ca = str(certificates[0].cert)
    assert push(f"https://localhost:{https.server_port}", tls_ca=ca)[0] == 0


def test_a_certificate_of_ours_is_shown(
    push: Pusher, new_receiver: Callable[..., Any], certificates: Any
) -> None:
    """Where the receiver asks for a client certificate, ours is given; without it: kept."""
    ours, client = certificates
    credentials = grpc.ssl_server_credentials(
        [(ours.key.read_bytes(), ours.cert.read_bytes())],
        root_certificates=client.cert.read_bytes(),
        require_client_auth=True,
    )
    receiver = new_receiver(credentials)
    tls = {"tls_ca": str(ours.cert)}
    assert push(receiver.endpoint, **tls, deadline_seconds=2)[0] == 3
    assert receiver.pushes.empty()
    tls |= {"tls_cert": str(client.cert), "tls_key": str(client.key)}
    assert push(receiver.endpoint, **tls)[0] == 0


# -- signals ------------------------------------------------------------------------------


@pytest.fixture
def held(receiver: Any) -> Iterator[Any]:
    """Return a receiver that holds its answer until the test is over or says so."""
    receiver.release = threading.Event()

    def answer(context: Any) -> Any:
        receiver.release.wait(WAIT_SECONDS)
        return receiver.acknowledge(context)

    receiver.answer = answer
    yield receiver
    receiver.release.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(push: Pusher, held: Any, number: signal.Signals) -> None:
    """While the push goes on the second signal ends it; the file stays."""
    process = push.start(held.endpoint)
    held.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(number)
    process.send_signal(signal.SIGTERM if number == signal.SIGINT else signal.SIGINT)
    code, line = ended(process)
    assert (code, line["event"], line["reason"]) == (3, "run.kept", "ended by a signal")
    assert [path.name for path in push.file.parent.iterdir()] == [push.file.name]


SIGNALLED_AT_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
            except Exception as error:  # as typing_extensions has it
                raise TypeError from error

sys.meta_path.insert(0, Finder())
from runmeter.collector.push.__main__ import main
sys.exit(main())
"""


def test_a_second_signal_within_the_code_of_others(push: Pusher, held: Any) -> None:
    """No library that the pusher is in takes the signal for an error of its own."""
    process = push.start(held.endpoint, program=("-c", SIGNALLED_AT_IMPORT))
    code, line = ended(process)
    assert (code, line["event"], line["reason"]) == (3, "run.kept", "ended by a signal")
    assert push.file.exists()


def test_the_signal_that_ended_the_run_was_the_first(push: Pusher, held: Any) -> None:
    """After a run that a signal ended, one more ends the push."""
    process = push.start(held.endpoint, signal_count=1)
    held.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 3
    assert push.file.exists()


def test_one_signal_does_not_disturb_a_push(push: Pusher, held: Any) -> None:
    """A first signal while pushing lets the push finish."""
    process = push.start(held.endpoint)
    held.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(signal.SIGTERM)
    held.release.set()
    assert ended(process)[0] == 0
    assert not push.file.exists()


def test_signals_sent_while_blocked_are_not_lost(push: Pusher, held: Any) -> None:
    """What arrives before the handlers stand is counted once they do."""
    blocked = {signal.SIGTERM, signal.SIGINT}
    inherited = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        process = push.start(held.endpoint, program=("-m", "runmeter.collector.push"))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, inherited)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 3
    assert push.file.exists()


# -- log lines ----------------------------------------------------------------------------


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_both_programs_log_alike(push: Pusher, gateway: Any, log_format: str) -> None:
    """The pusher writes its log lines in the form of the sampling process."""
    gateway.status = 503
    gateway.headers = {"Retry-After": "3600"}
    gateway.body = b'{"detail":"full"}'
    endpoint = f"http://127.0.0.1:{gateway.server_port}"
    process = push.start(endpoint, log_format=log_format)
    line = process.communicate(timeout=WAIT_SECONDS)[1].splitlines(keepends=True)[-1]
    reading, writing = os.pipe()
    Log(log_format, "info", writing).write(
        "error",
        "run.kept",
        reason="HTTP 503: full",
        push_endpoint=f"{endpoint}/api/v1/metrics",
        path=str(push.file),
        hint="the next collector of this job pushes it, or: "
        f"collector push --spool-dir={push.file.parent}",
    )
    os.close(writing)
    with open(reading) as file:
        expected = file.read()
    start = len('{"timestamp":"') if log_format == "json" else 0
    end = start + len("2026-02-06T14:30:02.185Z")
    assert line[:start] + line[end:] == expected[:start] + expected[end:]
    assert [*map(str.isdigit, line[start:end])] == [*map(str.isdigit, expected[start:end])]


def test_the_log_level_holds_in_the_pusher(push: Pusher, receiver: Any) -> None:
    """Below the level nothing is written."""
    process = push.start(receiver.endpoint, log_level="error")
    assert process.communicate(timeout=WAIT_SECONDS) == ("", "")
    assert process.returncode == 0


def test_a_log_nobody_reads_does_not_lose_the_run(push: Pusher, receiver: Any) -> None:
    """With standard error closed the run is still pushed."""
    process = push.start(receiver.endpoint)
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(WAIT_SECONDS) == 0
    assert process.stdout is not None
    process.stdout.close()
    assert receiver.pushes.qsize() == 1
    assert not push.file.exists()
