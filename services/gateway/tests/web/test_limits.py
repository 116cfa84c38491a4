"""Limits of one client: requests per second, requests and connections at once, and time."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from rig.gateway import HEADERS, RUNS, WAIT_SECONDS, connect, head, until

from runmeter.gateway.api.app import create_app
from runmeter.gateway.receiver.client import Backend
from runmeter.gateway.web.body import BodyLimits
from runmeter.gateway.web.limits import Edge, Rates, Timeouts
from runmeter.gateway.web.server import drain, serve_on
from runmeter.service.sockets import listen
from runmeter.service.values import Address
from runmeter.v1 import run_service_pb2


def problem(response: httpx.Response, status: int) -> str:
    """Check a refusal; return its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["status"] == status
    return str(response.json()["detail"])


def client_of(address: str) -> dict[str, str]:
    """Return headers of another client, as a trusted proxy sends them."""
    return HEADERS | {"X-Forwarded-For": address}


# -- requests a second --------------------------------------------------------------------


def test_rate(start: Any, own_double: Any) -> None:
    """Beyond its rate a client gets 429 and Retry-After; others, and /health, do not."""
    program = start(
        f"--receiver=grpc://127.0.0.1:{own_double.port}",
        "--rate-limit=1",
        "--trusted-proxies=127.0.0.1",
    )
    with httpx.Client(base_url=program.url, trust_env=False) as client:
        one, other = client_of("2001:db8::1"), client_of("2001:db8:0:1::1")
        answers = [client.get(RUNS, headers=one) for _ in range(6)]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        assert answers[-1].headers["retry-after"] == "1"
        assert problem(answers[-1], 429) == "A client may send 1 requests per second."
        # of IPv6 the network counts
        assert client.get(RUNS, headers=client_of("2001:db8::2")).status_code == 429
        assert client.get(RUNS, headers=other).status_code == 200
        assert {client.get("/health", headers=one).status_code for _ in range(9)} == {200}
        until(lambda: client.get(RUNS, headers=one).status_code == 200)
    text = httpx.get(f"{program.ops_url}/metrics", trust_env=False).text
    assert 'runmeter_gateway_requests_refused_total{reason="rate"}' in text


def test_rate_of_everything(start: Any) -> None:
    """Unknown routes and refused requests are counted as well."""
    program = start("--rate-limit=1")
    with httpx.Client(base_url=program.url, trust_env=False) as client:
        assert [client.get("/nowhere").status_code for _ in range(2)] == [404, 404]
        assert client.post("/api/v1/token", content=b"x" * 1000).status_code == 429


def test_rates_of_many_clients() -> None:
    """Clients beyond the maximum take no more memory, and no thread."""
    script = """if True:
        import resource, threading
        from runmeter.gateway.web.limits import CLIENTS_MAX, Rates
        rates = Rates(100)
        def ask(numbers):
            for number in numbers:
                rates.wait_seconds(f"2001:db8:{number >> 16:x}:{number & 65535:x}::/64", 0.0)
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        first = ask(range(CLIENTS_MAX))
        print(ask(range(CLIENTS_MAX, 3 * CLIENTS_MAX)) - first, threading.active_count())
    """
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True
    )
    more_kib, threads = map(int, done.stdout.split())
    assert more_kib < 8 * 1024
    assert threads == 1


def test_a_client_is_not_forgotten_by_asking() -> None:
    """A client that asks all the time is not forgotten, however many others come."""
    rates = Rates(1, clients_max=10)
    found = []
    for number in range(100):
        found.append(rates.wait_seconds("busy", 0.0) > 0)
        rates.wait_seconds(f"other-{number}", 0.0)
    assert found[:3] == [False, False, True]
    assert sum(not refused for refused in found) < 50


# -- requests at once ---------------------------------------------------------------------


def test_requests_at_once(start: Any, own_double: Any) -> None:
    """One client may have half of the requests at once, all together all; open ones end in
    order.
    """
    program = start(
        f"--receiver=grpc://127.0.0.1:{own_double.port}",
        "--max-requests=4",
        "--trusted-proxies=127.0.0.1",
    )
    own_double.listing = own_double.streams([], then=own_double.hang)
    with httpx.Client(base_url=program.url, trust_env=False) as client, ExitStack() as open_ones:
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"):
            sent = head("GET", RUNS, f"X-Forwarded-For: {address}")
            open_ones.enter_context(connect(program.address, sent))
            own_double.call()
            if address == "192.0.2.1":
                continue
            refused = client.get(RUNS, headers=client_of("192.0.2.1"))
            assert "at the same time" in problem(refused, 429)
        assert "busy" in problem(client.get(RUNS, headers=client_of("192.0.2.3")), 503)
        assert client.get("/health").status_code == 200
        open_ones.close()
        own_double.listing = own_double.streams([])
        again = client_of("192.0.2.1")
        until(lambda: client.get(RUNS, headers=again).status_code == 200)


# -- connections --------------------------------------------------------------------------


def test_connections_at_once(start: Any, own_double: Any) -> None:
    """A new connection replaces one that waits; if all are busy it gets 503."""
    program = start(f"--receiver=grpc://127.0.0.1:{own_double.port}", "--max-connections=3")
    own_double.listing = own_double.streams([], then=own_double.hang)

    def opened(data: bytes) -> socket.socket:
        return open_ones.enter_context(connect(program.address, data))

    with ExitStack() as open_ones:
        idle = opened(head("GET", "/health"))
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        half = opened(b"GET /hea")
        for _ in range(3):  # the second and third put the others out
            opened(head())
            own_double.call()
        for waiting in (idle, half):
            with suppress(ConnectionResetError):
                assert waiting.recv(100) == b""
        refused = httpx.get(f"{program.url}/health", trust_env=False)
        assert "busy" in problem(refused, 503)
        assert refused.headers["connection"] == "close"
        assert refused.headers["x-content-type-options"] == "nosniff"
        assert refused.headers["x-request-id"] == refused.json()["request_id"]
        assert program.event("connection.refused")["limit"] == 3
        text = httpx.get(f"{program.ops_url}/metrics", trust_env=False).text
        assert "runmeter_gateway_connections_refused_total 1.0" in text
        assert "runmeter_gateway_connections 3.0" in text
    until(lambda: httpx.get(f"{program.url}/health", trust_env=False).status_code == 200)


# -- time ---------------------------------------------------------------------------------

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(
    name: str, timeouts: Timeouts, target: str = "127.0.0.1:1", body_seconds: float = 30.0
) -> AsyncIterator[Callable[[], Awaitable[Connection]]]:
    """Serve with short timeouts; yield what opens a connection."""
    sock = listen(Address("127.0.0.1", 0), "--addr")
    edge = Edge(timeouts=timeouts)
    app = create_app(Backend(target), BodyLimits(1_000_000, body_seconds), edge, name=name)
    app.config.TOUCHUP = False  # Sanic does it for one application of a process
    server = await serve_on(app, sock)
    try:
        yield lambda: asyncio.open_connection(*sock.getsockname())
    finally:
        await drain(server, 0, lambda: True)


async def trickle(writer: asyncio.StreamWriter, part: bytes) -> None:
    """Send small parts until the connection is closed."""
    while not writer.is_closing():
        writer.write(part)
        try:
            await writer.drain()
        except ConnectionError:
            return
        await asyncio.sleep(0.02)


def answer(
    timeouts: Timeouts,
    name: str,
    start_line: bytes,
    part: bytes,
    seconds: float = 30.0,
    ends: tuple[type[Exception], ...] = (),
) -> Any:
    """Return the answer to a client that sends ``start_line`` and then ``part`` without end.

    Unless its connection may end by one of ``ends``, it can still send after the answer.
    """

    async def exchange() -> tuple[int, Any]:
        async with served(name, timeouts, body_seconds=seconds) as connect:
            reader, writer = await connect()
            writer.write(start_line)
            trickling = asyncio.create_task(trickle(writer, part))
            try:
                text = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_SECONDS)
                length = int(text.lower().partition(b"content-length: ")[2].split()[0])
                body = await reader.readexactly(length)
                with suppress(*ends):
                    assert await asyncio.wait_for(reader.read(), WAIT_SECONDS) == b""
                await asyncio.sleep(0.1)  # of several parts, the second would be an error
                assert ends or not trickling.done()
                return int(text.split()[1]), json.loads(body)
            finally:
                trickling.cancel()
                writer.close()

    return asyncio.run(exchange())


def test_head_that_never_ends() -> None:
    """Headers that arrive too slowly are answered with 408, which a client that sends can read."""
    begun = head("GET", "/health").removesuffix(b"\r\n")
    status, body = answer(Timeouts(head_seconds=0.3), "slow-head", begun, b"X: y\r\n")
    assert (status, body["status"]) == (408, 408)
    assert "headers" in body["detail"]


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/v1/token"), ("GET", "/health")])
def test_body_that_trickles(method: str, path: str) -> None:
    """A body that arrives too slowly is 408, on a route with a body and on one without."""
    sent = head(method, path, "Content-Type: application/json", "Content-Length: 900000")
    status, body = answer(Timeouts(), f"slow-body-{method}", sent, b" ", seconds=0.3)
    assert (status, body["status"]) == (408, 408)
    assert "body" in body["detail"]


def test_body_after_its_answer() -> None:
    """A client that keeps sending after its answer is cut off."""
    sent = b"POST /api/v1/token HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n"
    timeouts = Timeouts(drain_seconds=0.3)
    status, _ = answer(timeouts, "slow-drain", sent, b" ", ends=(ConnectionError,))
    assert status == 401


def test_idle_connection() -> None:
    """A connection without requests is closed."""

    async def wait() -> bytes:
        async with served("idle", Timeouts(idle_seconds=0.3)) as connect:
            reader, writer = await connect()
            try:
                return await asyncio.wait_for(reader.read(), WAIT_SECONDS)
            finally:
                writer.close()

    assert asyncio.run(wait()) == b""


def test_reader_that_stops(own_double: Any, golden_stored: Any) -> None:
    """A client that stops reading its answer is cut off, and the query ends."""
    cancelled = own_double.cancelled

    async def endless(request: Any, context: Any) -> Any:
        try:
            yield run_service_pb2.ListRunsResponse(header={"etag": "e"})
            while True:
                yield page
        except (asyncio.CancelledError, GeneratorExit):
            cancelled.set()
            raise

    page = run_service_pb2.ListRunsResponse(page={"runs": [golden_stored] * 100})
    own_double.listing = endless

    async def stall() -> bytes:
        target = f"127.0.0.1:{own_double.port}"
        async with served("stall", Timeouts(write_seconds=0.3), target) as connect:
            reader, writer = await connect()
            try:
                writer.write(head())
                begin = await asyncio.wait_for(reader.readexactly(1000), WAIT_SECONDS)
                assert await asyncio.to_thread(cancelled.wait, WAIT_SECONDS)
                with suppress(ConnectionError):
                    while part := await asyncio.wait_for(reader.read(1 << 20), WAIT_SECONDS):
                        begin += part
                return begin
            finally:
                writer.close()

    received = asyncio.run(stall())
    assert b"200 OK" in received[:20]
    assert not received.endswith(b"0\r\n\r\n")
