"""The program as a process: start, end, settings, malformed requests."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from rig import forks
from rig.gateway import BEARER, HEADERS, RUNS, TOKEN, connect, exchange, head


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    base = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    return forks.run(["gateway", *arguments], text=True, env={**base, **environ})


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        (["--addr=8080"], {}, "--addr '8080' must be host:port"),
        ([], {"GATEWAY_ADDR": "x"}, "GATEWAY_ADDR 'x' must be host:port"),
    ],
)
def test_bad_settings(arguments: list[str], environ: dict[str, str], sentence: str) -> None:
    """A bad setting is one sentence on stderr and exit code 2."""
    done = run(*arguments, **environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"gateway: {sentence}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--unknown"], ["extra"], ["--addr"]])
def test_bad_command_line(arguments: list[str]) -> None:
    """A malformed command line is exit code 2, without a traceback."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_help() -> None:
    """--help names every flag, variable and default, and shows examples."""
    done = run("--help")
    text = re.sub(r"\s+", " ", done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("addr", "receiver", "max-body-bytes", "shutdown-timeout", "log-level"):
        assert f"--{name} " in text
        assert f"GATEWAY_{name.upper().replace('-', '_')}" in text
    for default in (":8080", "grpc://127.0.0.1:50051", "1MiB", "25s", "curl "):
        assert default in text


def test_version() -> None:
    """--version prints the version of the distribution."""
    assert run("--version").stdout == f"gateway {version('runmeter-gateway')}\n"


def test_start_line(gateway: Any) -> None:
    """The start is one line with the real address and the version, and no banner."""
    assert '"event": "server.started"' in gateway.lines[0]
    assert f'"version": "{version("runmeter-gateway")}"' in gateway.lines[0]
    assert not gateway.address.endswith(":0")


@pytest.mark.parametrize("flag", ["--addr", "--ops-addr"])
def test_port_in_use(gateway: Any, flag: str) -> None:
    """An address in use is one sentence and exit code 1."""
    taken = gateway.address if flag == "--addr" else gateway.ops_url.removeprefix("http://")
    done = run("--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", f"{flag}={taken}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"gateway: cannot listen on {taken}: address already in use; "
        f"stop what listens there or choose another {flag}\n"
    )


def test_text_log(start: Any) -> None:
    """--log-format=text writes lines for people."""
    text = subprocess.Popen(
        [
            *(sys.executable, "-m", "runmeter.gateway"),
            *("--addr=127.0.0.1:0", "--ops-addr=none", "--log-format=text"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert text.stderr is not None
    line = text.stderr.readline()
    text.terminate()
    rest = text.communicate(timeout=20)[1]
    assert "server.started" in line
    assert "address=127.0.0.1:" in line
    assert "{" not in line + rest
    assert text.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_when_idle(start: Any, number: int) -> None:
    """SIGTERM and SIGINT end it with 0, with idle connections or without."""
    program = start()
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{program.url}/health").status_code == 200
        program.signal(number)
        assert program.wait() == 0
    assert program.event("shutdown.requested")["signal"] == signal.Signals(number).name
    assert program.event("server.stopped")["aborted_count"] == 0


def test_stop_during_a_request(start: Any, own_double: Any) -> None:
    """A request in flight at SIGTERM is answered; new connections are refused."""
    open_gate, gate = own_double.gate()
    own_double.listing = own_double.streams([], then=gate)
    program = start(f"--receiver=grpc://127.0.0.1:{own_double.port}")
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(httpx.get(program.url + RUNS, headers=HEADERS, timeout=20, trust_env=False))

    thread = threading.Thread(target=ask)
    thread.start()
    own_double.call()
    program.signal()
    program.event("shutdown.requested")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{program.url}/health", trust_env=False)
    open_gate()
    thread.join(20)
    assert (answers[0].status_code, answers[0].text) == (200, "[]")
    assert answers[0].headers["connection"] == "close"
    assert program.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_signals_until_the_very_end(start: Any, own_double: Any, workers: int) -> None:
    """Many signals until the end of the process: it ends with 0."""
    program = start(f"--receiver=grpc://127.0.0.1:{own_double.port}", f"--workers={workers}")
    program.signal()
    while program.process.poll() is None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            program.signal(number)
        time.sleep(0.0002)
    assert program.wait() == 0


@pytest.mark.parametrize("second_signal", [False, True], ids=["timeout", "second-signal"])
def test_stop_cuts_off(start: Any, own_double: Any, second_signal: bool) -> None:
    """Requests that do not end in time, or at a second signal, are cut off; exit code 0."""
    own_double.listing = own_double.streams([], then=own_double.hang)
    program = start(
        f"--receiver=grpc://127.0.0.1:{own_double.port}",
        f"--shutdown-timeout={'1h' if second_signal else '200ms'}",
    )
    with connect(program.address, head()):
        own_double.call()
        program.signal()
        program.event("shutdown.requested")
        if second_signal:
            program.signal(signal.SIGINT)
        assert program.wait() == 0
        assert own_double.cancelled.wait(20)
    assert program.event("server.stopped")["aborted_count"] == 1


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET http:// HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET nothing HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET http://[/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 404),
        (b"GET //health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 404),
        (b"GET /health HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 4_000 + b"\r\n", 431),
        (b"GET /health HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"POST /health HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /health HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
        (
            b"POST /health HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST /health HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\n", 417),
        (
            b"POST /api/v1/metrics HTTP/1.1\r\nHost: h\r\n"
            + BEARER.encode()
            + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
            400,
        ),
    ],
    ids=lambda value: str(value[:40]) if isinstance(value, bytes) else None,
)
def test_malformed_requests(gateway: Any, request_bytes: bytes, status: int) -> None:
    """Malformed requests are answered with a problem, and the connection is closed."""
    received = exchange(gateway.address, request_bytes)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), received
    assert b"content-type: application/problem+json" in head.lower()
    assert b"x-request-id: " in head.lower()
    assert b"Traceback" not in body
    assert httpx.get(f"{gateway.url}/health", trust_env=False).status_code == 200


def test_truncated_body(gateway: Any, double: Any) -> None:
    """A body that ends too early is no push."""
    lines = ("X-Request-ID: truncated", "Content-Type: application/json", "Content-Length: 100")
    sent = head("POST", "/api/v1/metrics", *lines) + b'{"organization"'
    connect(gateway.address, sent).close()
    assert gateway.event("request.finished", request_id="truncated")["status"] == 499
    assert double.calls.empty()


def test_continue(gateway: Any, double: Any) -> None:
    """A client that waits for 100 Continue gets it."""
    body = b'{"organization":"o","repository":"r","workflow":"w","job":"j"}'
    lines = ("Expect: 100-continue", "Content-Type: application/json", "Connection: close")
    sent = head("POST", "/api/v1/token", *lines, f"Content-Length: {len(body)}")
    with connect(gateway.address, sent) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_no_token_is_written(client: httpx.Client, gateway: Any, double: Any) -> None:
    """Neither log nor answers contain a bearer, whatever fails."""
    answers = [
        client.get(RUNS).text,
        client.get(RUNS, params={"bad": "1"}).text,
        client.get("/nowhere").text,
        client.post("/api/v1/token", json={}).text,
        exchange(
            gateway.address, f"GET {RUNS} HTTP/1.1\r\nHost: h\r\n{BEARER}bad\r\n\r\n".encode()
        ).decode(),
    ]
    client.get("/health", headers={"X-Request-ID": "the-last"})
    gateway.event("request.finished", request_id="the-last")
    assert TOKEN not in "".join(answers) + "".join(gateway.lines)
