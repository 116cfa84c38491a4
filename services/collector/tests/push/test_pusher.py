"""The pusher and one run, over real sockets: answers, retries, TLS, signals, its log."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import Any

import grpc
import pytest
from rig.proxy import Fault, Proxy

from runmeter.v1 import ingest_service_pb2
from runmeter.v1.json_reading import run_from_json

TOKEN = "t0ken-nobody-may-see"
WAIT_SECONDS = 60


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def _run(spool: Any) -> dict[str, Any]:
    return dict(json.loads(spool.content(1))["run"])


def _places(spool: Any) -> list[bool]:
    """Return whether the run waits, and whether it is rejected."""
    return [spool.file(1).exists(), spool.file(1, "rejected").exists()]


# -- acknowledged -------------------------------------------------------------------------


def test_an_acknowledged_run_leaves_the_spool(spooled: Any, receiver: Any) -> None:
    """The receiver gets the whole run, with the token as bearer; the file is removed."""
    done = spooled.push(1, receiver.endpoint)
    assert (done.code, spooled.names()) == (0, [])
    pushed = receiver.pushes.get_nowait()
    assert pushed.run == run_from_json(_run(spooled))
    assert pushed.authorization == f"Bearer {TOKEN}"
    assert receiver.pushes.empty()
    assert (done.last["event"], done.last["id"], done.last["duplicate"]) == ("run.pushed", 7, False)
    assert done.last["push_id"] == spooled.push_id(1)


def test_whole_floats_are_pushed_as_integers(spooled: Any, receiver: Any) -> None:
    """A stored run of another tool may have ``5368709120.0`` and fractions of bytes."""
    payload = _run(spooled)["payload"]
    sizes = dict.fromkeys(("peak", "p99", "p95", "p75", "p50", "avg"), 5368709120.0) | {"avg": 2.5}
    payload |= {"sample_count": 11.0, "mem_used_bytes": sizes}
    spooled.add(1, revision=4.0, payload=payload)
    assert spooled.push(1, receiver.endpoint).code == 0
    run = receiver.pushes.get_nowait().run
    assert (run.revision, run.payload.sample_count) == (4, 11)
    assert (run.payload.mem_used_bytes.peak, run.payload.mem_used_bytes.avg) == (5368709120, 2)


@pytest.mark.parametrize(("status", "duplicate"), [(201, False), (200, True)])
def test_an_acknowledged_run_over_http(
    spooled: Any, gateway: Any, status: int, duplicate: bool
) -> None:
    """The gateway gets the run as JSON; a duplicate is acknowledged as well."""
    gateway.status = status
    gateway.body = json.dumps({"id": 7, "duplicate": duplicate}).encode()
    done = spooled.push(1, f"{gateway.endpoint}/api/v1/metrics")
    assert (done.code, spooled.names()) == (0, [])
    assert gateway.pushes.get_nowait() == (_run(spooled), f"Bearer {TOKEN}")
    assert (done.last["event"], done.last["duplicate"]) == ("run.pushed", duplicate)


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
    spooled: Any, receiver: Any, status: grpc.StatusCode, exit_code: int, event: str
) -> None:
    """4: the receiver will never accept it as it is; 3: it may later; the run is in the spool.

    An invalid run is in rejected/, with the reason; others stay where they are, with the reason if
    the token was refused. The hint says what to do. Only a busy receiver is asked again.
    """
    receiver.answer = lambda context: context.abort(status, "the reason")
    done = spooled.push(1, receiver.endpoint, deadline_seconds=2 if exit_code == 3 else 20)
    (line,) = (line for line in done.lines if line["event"] != "push.retrying")
    assert (done.code, line["event"], line["level"]) == (exit_code, event, "error")
    assert (receiver.pushes.qsize() == 1) == (status is not grpc.StatusCode.UNAVAILABLE)
    is_invalid = status.name in ("INVALID_ARGUMENT", "ALREADY_EXISTS")
    place = spooled.file(1, "rejected" if is_invalid else "")
    assert line["path"] == str(place)
    assert _places(spooled) == [not is_invalid, is_invalid]
    document = json.loads(place.read_text())
    assert document["run"] == _run(spooled)
    is_token = status.name in ("UNAUTHENTICATED", "PERMISSION_DENIED")
    is_noted = is_invalid or is_token
    assert document.get("reason") == (f"{status.name}: the reason" if is_noted else None)
    again = f"collector push --spool-dir={spooled.path}"
    assert line["hint"].endswith(f"{again} --rejected" if is_invalid else again)
    needed = ", ".join(
        f"{name} {spooled.run[name]!r}"
        for name in ("organization", "repository", "workflow", "job")
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
    spooled: Any, gateway: Any, status: int, exit_code: int
) -> None:
    """The same over HTTP; the reason is that of the problem document.

    If the gateway asks for a wait beyond the deadline, the push ends at once.
    """
    gateway.status = status
    problem = {"detail": "no", "errors": [{"field": "job", "reason": "is empty"}]}
    gateway.body = json.dumps(problem).encode()
    gateway.headers = {"Retry-After": "3600"}
    done = spooled.push(1, gateway.endpoint)
    assert (done.code, gateway.pushes.qsize()) == (exit_code, 1)
    assert done.last["reason"] == f"HTTP {status}: no; job: is empty"
    is_invalid = status in (400, 409, 413, 415)
    assert _places(spooled) == [not is_invalid, is_invalid]


@pytest.mark.parametrize(
    "body", [b"", b"<html>\xff</html>", b"[]", b'{"id":"x"}', b'{"detail":1,"errors":7}']
)
@pytest.mark.parametrize("status", [200, 502])
def test_an_answer_of_another_program_keeps_the_run(
    spooled: Any, gateway: Any, body: bytes, status: int
) -> None:
    """A server that is not a gateway has stored nothing, whatever it answers."""
    gateway.status, gateway.body = status, body
    assert spooled.push(1, gateway.endpoint, deadline_seconds=1).code == 3
    assert spooled.file(1).exists()


@pytest.mark.parametrize("is_tls", [False, True])
def test_an_http_port_is_told_from_a_receiver(
    spooled: Any, new_gateway: Any, certificates: Any, is_tls: bool
) -> None:
    """gRPC to a port that speaks HTTP/1 is tried once; the reason names the right endpoints."""
    gateway = new_gateway(certificates[0] if is_tls else None)
    authority = f"127.0.0.1:{gateway.server_port}"
    ca = str(certificates[0].cert) if is_tls else ""
    done = spooled.push(1, f"grpc{'s' * is_tls}://{authority}", tls_ca=ca)
    [line] = done.lines
    assert (done.code, line["event"], spooled.file(1).exists()) == (3, "run.kept", True)
    assert line["reason"] == (
        f"{authority} does not speak HTTP/2: for the gateway use http{'s' * is_tls}://{authority}"
        "/api/v1/metrics; for the receiver use its gRPC port"
    )


def test_redirects_are_not_followed(spooled: Any, gateway: Any, new_gateway: Any) -> None:
    """The token is sent to the given host only."""
    other = new_gateway()
    gateway.status = 307
    gateway.headers = {"Location": f"{other.endpoint}/api/v1/metrics"}
    done = spooled.push(1, gateway.endpoint)
    assert (done.code, spooled.file(1).exists()) == (3, True)
    assert done.last["reason"].startswith("HTTP 307")
    assert gateway.pushes.qsize() == 1
    assert other.pushes.empty()


@pytest.mark.parametrize("scheme", ["grpc", "grpcs", "http", "https"])
def test_an_unreachable_receiver_keeps_the_run(spooled: Any, closed_port: int, scheme: str) -> None:
    """If nothing listens, the exit code is 3 and the file stays."""
    done = spooled.push(1, f"{scheme}://127.0.0.1:{closed_port}", deadline_seconds=1)
    assert (done.code, done.last["event"], spooled.file(1).exists()) == (3, "run.kept", True)


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_host_that_cannot_be_looked_up_keeps_the_run(
    spooled: Any, scheme: str, host: str
) -> None:
    """A host that is not a DNS name counts as unreachable; without TLS a warning comes first."""
    done = spooled.push(1, f"{scheme}://{host}:1", deadline_seconds=1)
    events = [line["event"] for line in done.lines if line["event"] != "push.retrying"]
    assert events == ["push.unencrypted", "run.kept"]
    assert (done.code, spooled.file(1).exists()) == (3, True)


def test_a_silent_receiver_costs_the_budget(spooled: Any, held: Any) -> None:
    """If the receiver does not answer, the push ends at its deadline."""
    done = spooled.push(1, held.endpoint, deadline_seconds=2)
    assert (done.code, done.last["reason"].partition(":")[0]) == (3, "DEADLINE_EXCEEDED")
    assert spooled.file(1).exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"format":2,"run":{}}', b'{"format":1,"run":{"push_id":"x"}}', None]
)
def test_a_file_that_is_no_run_is_left_alone(
    spooled: Any, receiver: Any, content: bytes | None
) -> None:
    """A damaged, foreign or missing file is logged and not pushed."""
    if content is None:
        spooled.file(1).unlink()
    else:
        spooled.file(1).write_bytes(content)
    done = spooled.push(1, receiver.endpoint)
    assert (done.code, done.last["event"]) == (3, "run.unreadable")
    assert receiver.pushes.empty()


# -- retries ------------------------------------------------------------------------------


def test_a_busy_receiver_is_asked_again(spooled: Any, receiver: Any) -> None:
    """A receiver that is unavailable five times gets the run at the sixth; each wait is logged."""
    left = [5]

    def answer(context: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        return receiver.acknowledge(context)

    receiver.answer = answer
    done = spooled.push(1, receiver.endpoint)
    assert (done.code, receiver.pushes.qsize(), spooled.names()) == (0, 6, [])
    retries = done.events("push.retrying")
    assert [line["attempt"] for line in retries] == [1, 2, 3, 4, 5]
    assert {line["reason"] for line in retries} == {"UNAVAILABLE: starting"}
    assert all(0 < line["delay_seconds"] <= 4 for line in retries)


def test_a_busy_gateway_is_asked_again(spooled: Any, gateway: Any) -> None:
    """Over HTTP as well: 503 is tried again, and each wait is logged."""
    gateway.status = 503
    process = spooled.start(1, gateway.endpoint)
    lines = [json.loads(process.stderr.readline()) for _ in range(2)]
    gateway.status = 201
    assert [line["event"] for line in lines] == ["push.retrying"] * 2
    assert lines[0]["reason"].startswith("HTTP 503")
    assert (spooled.end(process).code, spooled.names()) == (0, [])


def test_the_receivers_hint_is_honoured(spooled: Any, receiver: Any) -> None:
    """If the receiver asks for a wait of 1.5 s, it is not asked again earlier."""
    # google.rpc.Status{code 8, details: RetryInfo{retry_delay: 1.5 s}} as gRPC carries it
    delay = b"\x08\x01\x10\x80\xca\xb5\xee\x01"
    info = b"\x0a" + bytes([len(delay)]) + delay
    url = b"type.googleapis.com/google.rpc.RetryInfo"
    detail = b"\x0a" + bytes([len(url)]) + url + b"\x12" + bytes([len(info)]) + info
    status = b"\x08\x08\x1a" + bytes([len(detail)]) + detail
    times: list[int] = []

    def answer(context: Any) -> Any:
        times.append(monotonic_ns())
        if len(times) == 1:
            context.set_trailing_metadata((("grpc-status-details-bin", status),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return receiver.acknowledge(context)

    receiver.answer = answer
    done = spooled.push(1, receiver.endpoint)
    assert done.code == 0
    assert times[1] - times[0] >= 1_500_000_000
    assert done.events("push.retrying")[0]["delay_seconds"] >= 1.5


@pytest.mark.parametrize("way", ["receiver", "gateway"])
def test_a_lost_acknowledgement_is_asked_for_again(
    spooled: Any, request: pytest.FixtureRequest, way: str
) -> None:
    """If the connection is reset after the run was read, the same push is sent again."""
    server = request.getfixturevalue(way)
    if way == "receiver":
        server.answer = lambda _: ingest_service_pb2.PushRunResponse(id=7, duplicate=True)
    server.body = b'{"id":7,"duplicate":true}'
    scheme, _, target = server.endpoint.partition("://")
    with Proxy(target, [Fault.LOSE_ANSWER]) as proxy:
        done = spooled.push(1, f"{scheme}://{proxy.address}")
    first, second = (server.pushes.get_nowait().run for _ in range(2))
    assert first == second
    assert len(done.events("push.retrying")) == 1
    assert (done.code, done.last["duplicate"], spooled.names()) == (0, True, [])


def test_a_receiver_that_comes_back_is_reached(spooled: Any, receiver: Any) -> None:
    """A receiver that starts to listen before the deadline gets the run."""
    with Proxy(receiver.endpoint.removeprefix("grpc://"), is_up=False) as proxy:
        process = spooled.start(1, f"grpc://{proxy.address}")
        lines = [json.loads(process.stderr.readline()) for _ in range(3)]
        assert {line["event"] for line in lines} == {"push.retrying"}
        proxy.up()
        assert (spooled.end(process).code, spooled.names()) == (0, [])


# -- TLS ----------------------------------------------------------------------------------


@pytest.fixture(params=["grpcs", "https"])
def server(
    request: pytest.FixtureRequest,
    new_receiver: Callable[..., Any],
    new_gateway: Callable[..., Any],
    certificates: Any,
) -> Any:
    """Return a receiver or a gateway with our certificate."""
    make = {"grpcs": new_receiver, "https": new_gateway}[request.param]
    return make(certificates[0])


@pytest.mark.parametrize("ca", ["{other}", "", "/none"])
def test_an_untrusted_certificate_is_named(
    spooled: Any, server: Any, certificates: Any, ca: str
) -> None:
    """With another CA, the system's, or none: kept at once, no token sent, the flag is named."""
    done = spooled.push(1, server.endpoint, tls_ca=ca.format(other=certificates[1].cert))
    [line] = done.lines
    assert (done.code, line["event"], spooled.file(1).exists()) == (3, "run.kept", True)
    if ca != "/none":
        assert line["reason"].startswith("TLS with ")
        assert "--tls-ca" in line["reason"]
    assert server.pushes.empty()


def test_the_certificates_name_can_be_given(spooled: Any, server: Any, certificates: Any) -> None:
    """The name in the certificate must be the endpoint's host, or the given one."""
    tls = {"tls_ca": str(certificates[0].cert)}
    wrong = spooled.push(1, server.endpoint, tls_server_name="elsewhere", **tls)
    assert (wrong.code, wrong.last["event"]) == (3, "run.kept")
    assert "--tls-server-name" in wrong.last["reason"]
    elsewhere = server.endpoint.replace("localhost", "127.0.0.1")
    assert spooled.push(1, elsewhere, tls_server_name="localhost", **tls).code == 0
    spooled.add(1)
    assert spooled.push(1, server.endpoint, **tls).code == 0


def test_a_client_certificate_is_sent(
    spooled: Any, new_receiver: Callable[..., Any], certificates: Any
) -> None:
    """A receiver that requires a client certificate gets ours; without one the run is kept."""
    ours, client = certificates
    receiver = new_receiver(ours, client.cert)
    tls = {"tls_ca": str(ours.cert)}
    assert spooled.push(1, receiver.endpoint, **tls, deadline_seconds=2).code == 3
    assert receiver.pushes.empty()
    tls |= {"tls_cert": str(client.cert), "tls_key": str(client.key)}
    assert spooled.push(1, receiver.endpoint, **tls).code == 0


# -- signals ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(spooled: Any, held: Any, number: signal.Signals) -> None:
    """The second signal ends the push; the file stays."""
    process = spooled.start(1, held.endpoint)
    held.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(number)
    process.send_signal(signal.SIGTERM if number == signal.SIGINT else signal.SIGINT)
    done = spooled.end(process)
    assert (done.code, done.last["event"]) == (3, "run.kept")
    assert done.last["reason"] == "ended by a signal"
    assert spooled.names() == [spooled.file(1).name]


SIGNALLED_AT_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)
            except Exception as error:  # as typing_extensions has it
                raise TypeError from error

sys.meta_path.insert(0, Finder())
from runmeter.collector.push.__main__ import main
sys.exit(main())
"""


def test_a_second_signal_within_the_code_of_others(spooled: Any, held: Any) -> None:
    """A library that catches ``Exception`` does not catch the second signal."""
    process = spooled.start(1, held.endpoint, program=("-c", SIGNALLED_AT_IMPORT))
    done = spooled.end(process)
    assert (done.code, done.last["reason"]) == (3, "ended by a signal")
    assert spooled.file(1).exists()


def test_one_signal_does_not_disturb_a_push(spooled: Any, held: Any) -> None:
    """After the first signal the push goes on."""
    process = spooled.start(1, held.endpoint)
    held.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(signal.SIGTERM)
    held.release.set()
    assert (spooled.end(process).code, spooled.names()) == (0, [])


def test_a_repeated_signal_does_not_disturb_a_push(spooled: Any, held: Any) -> None:
    """The signal that ended the run, sent twice at once, is not a second one."""
    soon_ns = time.monotonic_ns() + 3600 * 10**9
    order = {"signal_count": 1, "signal_number": signal.SIGTERM, "signal_ns": soon_ns}
    process = spooled.start(1, held.endpoint, **order)
    held.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(signal.SIGTERM)
    held.release.set()
    assert (spooled.end(process).code, spooled.names()) == (0, [])


def test_signals_sent_while_blocked_are_not_lost(spooled: Any, held: Any) -> None:
    """Signals that arrive before the handlers are set are counted afterwards."""
    blocked = {signal.SIGTERM, signal.SIGINT}
    inherited = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        process = spooled.start(1, held.endpoint, program=("-m", "runmeter.collector.push"))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, inherited)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert spooled.end(process).code == 3
    assert spooled.file(1).exists()


# -- log lines ----------------------------------------------------------------------------


def test_the_order_sets_format_and_level_of_the_log(spooled: Any, receiver: Any) -> None:
    """The pusher logs in the given format, and nothing below the given level."""
    for level, shown in (("info", " info    run.pushed id=7 "), ("error", "")):
        spooled.add(1)
        process = spooled.start(1, receiver.endpoint, log_format="text", log_level=level)
        output, errors = process.communicate(timeout=WAIT_SECONDS)
        assert (process.returncode, output) == (0, "")
        assert shown in errors
        assert bool(shown) == bool(errors)


def test_a_closed_log_does_not_lose_the_run(spooled: Any, receiver: Any) -> None:
    """If nothing reads standard error, the run is still pushed."""
    process = spooled.start(1, receiver.endpoint)
    process.stderr.close()
    assert process.wait(WAIT_SECONDS) == 0
    process.stdout.close()
    assert (receiver.pushes.qsize(), spooled.names()) == (1, [])
