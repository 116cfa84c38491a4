"""Listings while they run: slow, broken, aborted; and a receiver that restarts."""

import http.client
import json
import re
import socket
import struct
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from runmeter.v1 import run_service_pb2

RUNS = "/api/v1/metrics/repo/o/r/w/j"
TOKEN = "5ec4e7ba" * 8  # of a push token's form
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": "identity"}


def test_slow_stream(client: httpx.Client, double: Any, golden_stored: Any) -> None:
    """Each page is sent when it arrives."""
    open_gate, gate = double.gate()
    double.listing = double.streams([[golden_stored]], then=gate)
    with client.stream("GET", RUNS) as response:
        chunks = response.iter_raw()
        received = next(chunks)
        assert received.startswith(b'[{"id":7,')
        assert not received.endswith(b"]")
        open_gate()
        received += b"".join(chunks)
    assert len(json.loads(received)) == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
def test_broken_after_a_page(
    client: httpx.Client, gateway: Any, double: Any, golden_stored: Any, code: grpc.StatusCode
) -> None:
    """A stream that fails after its first page breaks the transfer; the array is never complete."""
    double.listing = double.streams([[golden_stored]], then=double.fails(code, "lost"))
    request_id = f"broken-{code.name}"
    with client.stream("GET", RUNS, headers={"X-Request-ID": request_id}) as response:
        assert response.status_code == 200
        chunks = response.iter_raw()
        received = next(chunks)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            received += b"".join(chunks)
    assert received.startswith(b'[{"id":7,')
    assert not received.endswith(b"]")
    assert gateway.event("request.failed", request_id=request_id)["code"] == code.name
    assert gateway.event("request.finished", request_id=request_id)["broken"] is True


def test_broken_before_a_page(client: httpx.Client, double: Any) -> None:
    """A stream that fails before its first page becomes a problem, even after its header."""
    double.listing = double.streams([], then=double.fails(grpc.StatusCode.UNAVAILABLE))
    response = client.get(RUNS)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert "etag" not in response.headers


def test_header_missing(client: httpx.Client, double: Any) -> None:
    """A stream without header breaks the contract: 500."""

    async def silent(request: Any, context: Any) -> Any:
        for nothing in ():
            yield nothing

    double.listing = silent
    assert client.get(RUNS).status_code == 500


def test_client_leaves(gateway: Any, double: Any, golden_stored: Any) -> None:
    """A client that disconnects in the middle ends the call to the receiver."""
    double.listing = double.streams([[golden_stored]], then=double.hang)
    with (
        httpx.Client(trust_env=False, headers=HEADERS) as client,
        client.stream("GET", gateway.url + RUNS, headers={"X-Request-ID": "leaves"}) as response,
    ):
        chunks = response.iter_raw()  # held: it would close the response at its own end
        assert next(chunks).startswith(b"[")
        assert not double.cancelled.is_set()
    assert double.cancelled.wait(20)
    assert gateway.event("request.finished", request_id="leaves")["broken"] is True


def test_client_leaves_before_the_answer(gateway: Any, double: Any) -> None:
    """A client that disconnects before the answer ends the call as well."""
    double.listing = double.streams([], then=double.hang)
    host, _, port = gateway.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = f"GET {RUNS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        connection.sendall(f"{head}X-Request-ID: left-early\r\n\r\n".encode())
        double.call()
    assert double.cancelled.wait(20)
    assert gateway.event("request.finished", request_id="left-early")["status"] == 499


def test_client_leaves_a_push(gateway: Any, double: Any, golden_run: Any) -> None:
    """A client that resets its connection during a push cancels the call."""
    double.push = double.hang
    host, _, port = gateway.address.rpartition(":")
    body = json.dumps(golden_run)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        head = f"POST /api/v1/metrics HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        double.call()
    assert double.cancelled.wait(20)


def test_http_1_0(gateway: Any, double: Any, golden_run: Any, golden_stored: Any) -> None:
    """An HTTP/1.0 client, which knows no chunks, gets the array with its length."""
    double.listing = double.streams([[golden_stored]] * 3)
    host, _, port = gateway.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = f"GET {RUNS} HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        connection.sendall(head.encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.getheader("transfer-encoding") is None
        body = response.read()
        assert response.getheader("content-length") == str(len(body))
    assert json.loads(body) == [golden_run] * 3


def test_http_1_0_head(gateway: Any, double: Any, golden_stored: Any) -> None:
    """HEAD over HTTP/1.0 has the length of GET and no chunks."""
    double.listing = double.streams([[golden_stored]] * 3)
    host, _, port = gateway.address.rpartition(":")
    lengths = []
    for method in ("HEAD", "GET"):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            head = f"{method} {RUNS} HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            connection.sendall(head.encode())
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            assert response.getheader("transfer-encoding") is None
            lengths.append(response.getheader("content-length"))
            assert (response.read() == b"") == (method == "HEAD")
            assert connection.recv(1) == b""
    assert lengths[0] == lengths[1]
    assert int(lengths[0]) > 2


def test_http_1_0_broken(gateway: Any, double: Any, golden_stored: Any) -> None:
    """An HTTP/1.0 client gets a problem: it could not recognise an incomplete array."""
    failing = double.fails(grpc.StatusCode.UNAVAILABLE)
    double.listing = double.streams([[golden_stored]], then=failing)
    host, _, port = gateway.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = f"GET {RUNS} HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        connection.sendall(head.encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert (response.status, json.loads(response.read())["status"]) == (503, 503)


def test_reader_that_stops(gateway: Any, double: Any, golden_stored: Any) -> None:
    """While a client does not read, the gateway does not load the whole listing into memory."""
    sent = 0

    async def endless(request: Any, context: Any) -> Any:
        nonlocal sent
        async for message in double.streams([])(request, context):
            yield message
        while True:
            yield page
            sent += 1

    page = run_service_pb2.ListRunsResponse(page={"runs": [golden_stored] * 100})
    double.listing = endless
    with (
        httpx.Client(trust_env=False, headers=HEADERS) as client,
        client.stream("GET", gateway.url + RUNS, headers={"X-Request-ID": "stops"}) as response,
    ):
        chunks = response.iter_raw()
        assert next(chunks).startswith(b"[")
        # it serves others meanwhile; each answer takes a turn of its loop
        before = -1
        while before != sent:
            before = sent
            for _ in range(20):
                assert client.get(gateway.url + "/health").status_code == 200
    assert sent < 500
    gateway.event("request.finished", request_id="stops")


def test_receiver_restarts(start: Any, own_double: Any) -> None:
    """While the receiver is away calls are 503 at once; when it is back they work."""
    program = start(f"--receiver=grpc://127.0.0.1:{own_double.port}")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=program.url, headers=headers, timeout=20, trust_env=False) as client:
        assert client.get(RUNS).status_code == 200
        own_double.stop()
        gone = client.get(RUNS)
        assert (gone.status_code, gone.headers["retry-after"]) == (503, "1")
        assert str(own_double.port) not in gone.text
        assert client.get("/health").status_code == 200
        own_double.start()
        statuses = []
        # reconnecting is bounded by two seconds of back-off; asking is not what it waits for
        while not statuses or (statuses[-1] != 200 and len(statuses) < 20_000):
            statuses.append(client.get(RUNS).status_code)
        assert set(statuses) <= {200, 503}
        assert statuses[-1] == 200


def peak_bytes(program: Any) -> int:
    """Return the peak memory of the program."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    (found,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found) * 1024


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_ten_thousand_runs(start: Any, own_double: Any, golden_stored: Any, coding: str) -> None:
    """While 10 000 runs, 100 MB, go to a slow reader the memory of the gateway does not grow."""
    golden_stored.run.labels.update({f"key-{n}": "\u00e4" * 127 for n in range(30)})
    page = run_service_pb2.ListRunsResponse(page={"runs": [golden_stored] * 100})

    async def listing(request: Any, context: Any) -> Any:
        yield run_service_pb2.ListRunsResponse(header={"etag": "e"})
        for _ in range(100):
            yield page

    own_double.listing = listing
    # a fork has less of the libraries in memory at first
    program = start(f"--receiver=grpc://127.0.0.1:{own_double.port}", forked=False)
    headers = HEADERS | {"Accept-Encoding": coding}
    received, run_count, before = 0, 0, 0
    end = b""
    with (
        httpx.Client(base_url=program.url, trust_env=False, timeout=60) as client,
        client.stream("GET", RUNS, headers=headers) as response,
    ):
        for number, chunk in enumerate(response.iter_bytes(1 << 20)):
            received += len(chunk)
            run_count += (end + chunk).count(b'"push_id"')  # a name that is cut in two, too
            end = chunk[-8:]
            if number == 5:  # its buffers are as large as they get
                before = peak_bytes(program)
            for _ in range(5):  # meanwhile it could go on
                assert client.get("/health").status_code == 200
    assert received > 90_000_000
    assert run_count == 10_000
    assert end.endswith(b"]")
    assert peak_bytes(program) - before < 16 * 2**20


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_receiver_dies_in_the_middle(
    start: Any, own_double: Any, golden_stored: Any, coding: str
) -> None:
    """A receiver that dies in the middle breaks the transfer; the next request is 503, and
    requests work when it is back.
    """
    program = start(f"--receiver=grpc://127.0.0.1:{own_double.port}")
    own_double.listing = own_double.streams([[golden_stored]], then=own_double.hang)
    headers = HEADERS | {"Accept-Encoding": coding}
    with httpx.Client(base_url=program.url, headers=headers, trust_env=False) as client:
        with client.stream("GET", RUNS) as response:
            assert response.status_code == 200
            chunks = response.iter_raw()
            next(chunks)
            own_double.stop()
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                b"".join(chunks)
        assert client.get(RUNS).status_code == 503
        own_double.listing = own_double.streams([[golden_stored]])
        own_double.start()
        statuses = (client.get(RUNS).status_code for _ in range(20_000))
        assert 200 in statuses
        assert len(client.get(RUNS).json()) == 1
