"""Listings while they run: slow, broken, aborted; and a receiver that restarts."""

import gzip
import http.client
import json
import re
import socket
import struct
import zlib
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from rig.gateway import HEADERS, RUNS, connect, head, until

from runmeter.v1 import run_service_pb2

CODINGS = pytest.mark.parametrize("coding", ["identity", "gzip"])


class Reader:
    """Reads an answer part by part, as plain text."""

    def __init__(self, response: httpx.Response) -> None:
        is_gzip = response.headers.get("content-encoding") == "gzip"
        self._decoder = zlib.decompressobj(31) if is_gzip else None
        self._chunks = response.iter_raw()  # held: it would close the response at its own end
        self.received = b""

    def first(self) -> bytes:
        """Read up to the end of the first run."""
        while not self.received.endswith(b"}"):
            self._take(next(self._chunks))
        return self.received

    def rest(self) -> bytes:
        """Read all."""
        for chunk in self._chunks:
            self._take(chunk)
        return self.received

    @property
    def is_complete(self) -> bool:
        """Whether an array or a gzip has its end."""
        is_end = self._decoder is None or self._decoder.eof
        return is_end and self.received.endswith(b"]")

    def _take(self, chunk: bytes) -> None:
        self.received += chunk if self._decoder is None else self._decoder.decompress(chunk)


@CODINGS
def test_slow_stream(client: httpx.Client, double: Any, golden_stored: Any, coding: str) -> None:
    """Each page is sent, and can be read, when it arrives."""
    open_gate, gate = double.gate()
    double.listing = double.streams([[golden_stored]], then=gate)
    with client.stream("GET", RUNS, headers={"Accept-Encoding": coding}) as response:
        reader = Reader(response)
        assert reader.first().startswith(b'[{"id":7,')
        assert not reader.is_complete
        open_gate()
        assert len(json.loads(reader.rest())) == 1
        assert reader.is_complete


@CODINGS
@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
def test_broken_after_a_page(
    client: httpx.Client,
    gateway: Any,
    double: Any,
    golden_stored: Any,
    code: grpc.StatusCode,
    coding: str,
) -> None:
    """A stream that fails after its first page breaks the transfer; the array is never complete."""
    double.listing = double.streams([[golden_stored]], then=double.fails(code, "lost"))
    request_id = f"broken-{code.name}-{coding}"
    headers = {"X-Request-ID": request_id, "Accept-Encoding": coding}
    with client.stream("GET", RUNS, headers=headers) as response:
        assert response.status_code == 200
        reader = Reader(response)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            reader.rest()
    assert reader.received.startswith(b'[{"id":7,')
    assert not reader.is_complete
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
    with connect(gateway.address, head("GET", RUNS, "X-Request-ID: left-early")):
        double.call()
    assert double.cancelled.wait(20)
    assert gateway.event("request.finished", request_id="left-early")["status"] == 499


def test_client_leaves_a_push(gateway: Any, double: Any, golden_run: Any) -> None:
    """A client that resets its connection during a push cancels the call."""
    double.push = double.hang
    body = json.dumps(golden_run)
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    sent = head("POST", "/api/v1/metrics", *lines) + body.encode()
    with connect(gateway.address, sent) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        double.call()
    assert double.cancelled.wait(20)


def old_answer(
    gateway: Any, method: str = "GET", coding: str = "identity"
) -> tuple[http.client.HTTPResponse, bytes]:
    """Return the answer to an HTTP/1.0 client, and its body."""
    sent = head(method, RUNS, f"Accept-Encoding: {coding}", version="1.0")
    with connect(gateway.address, sent) as connection:
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        body = response.read()
        assert connection.recv(1) == b""
    return response, body


@CODINGS
def test_http_1_0(
    gateway: Any, double: Any, golden_run: Any, golden_stored: Any, coding: str
) -> None:
    """An HTTP/1.0 client, which knows no chunks, gets the array with its length, also by HEAD."""
    double.listing = double.streams([[golden_stored]] * 3)
    response, body = old_answer(gateway, coding=coding)
    plain = gzip.decompress(body) if coding == "gzip" else body
    assert json.loads(plain) == [golden_run] * 3
    answers = (response, old_answer(gateway, "HEAD", coding)[0])
    for answer in answers:
        assert answer.getheader("transfer-encoding") is None
        assert answer.getheader("content-length") == str(len(body))


def test_http_1_0_broken(gateway: Any, double: Any, golden_stored: Any) -> None:
    """An HTTP/1.0 client gets a problem: it could not recognise an incomplete array."""
    failing = double.fails(grpc.StatusCode.UNAVAILABLE)
    double.listing = double.streams([[golden_stored]], then=failing)
    response, body = old_answer(gateway)
    assert (response.status, json.loads(body)["status"]) == (503, 503)


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


def peak_bytes(program: Any) -> int:
    """Return the peak memory of the program."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    (found,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found) * 1024


@pytest.mark.slow
@CODINGS
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


@CODINGS
def test_receiver_dies_in_the_middle(
    start: Any, own_double: Any, golden_stored: Any, coding: str
) -> None:
    """A receiver that dies in the middle breaks the transfer; requests are 503 at once until it
    is back, and then work.
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
        gone = client.get(RUNS)
        assert (gone.status_code, gone.headers["retry-after"]) == (503, "1")
        assert str(own_double.port) not in gone.text
        assert client.get("/health").status_code == 200
        own_double.listing = own_double.streams([[golden_stored]])
        own_double.start()
        statuses = set()

        def answers() -> bool:
            statuses.add(client.get(RUNS).status_code)
            return 200 in statuses

        until(answers)
        assert statuses <= {200, 503}
        assert len(client.get(RUNS).json()) == 1
