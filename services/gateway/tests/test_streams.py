"""Listings while they run: slow, broken, abandoned; and a receiver that comes and goes."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from typing import Any

import grpc
import httpx
import pytest

from runmeter.v1 import run_service_pb2

RUNS = "/api/v1/metrics/repo/o/r/w/j"
TOKEN = "a-token-nobody-may-see-0123456789"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": "identity"}


def test_slow_stream(client: httpx.Client, double: Any, golden_stored: Any) -> None:
    """Pages are passed on as they come, not when all are there."""
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
    """A stream that fails after its first page is a broken transfer, never a whole array."""
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
    """A stream that fails before its first page is a problem, though it had a header."""
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
    """A client that leaves in the middle ends the call to the receiver."""
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
    """A client that leaves while the receiver still thinks ends the call too."""
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
        head = f"POST /api/v1/metrics HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n"
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


def test_http_1_0_broken(gateway: Any, double: Any, golden_stored: Any) -> None:
    """An HTTP/1.0 client could not tell a broken array from a whole one: it gets a problem."""
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
    """While a client does not read, the gateway does not fetch everything into memory."""
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
    """While the receiver is away calls are 503s at once; when it is back they work again."""
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
