"""The pages for operators, over real connections."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runmeter.service import ops
from runmeter.service.ops import Cached, serving
from runmeter.service.sockets import listen
from runmeter.service.values import Address

SECONDS = 30  # a test that waits so long has failed


async def metrics() -> bytes:
    """The text of /metrics."""
    return b"up 1\n"


async def ready() -> None:
    """Return no reason: the service is ready."""


async def exchange(port: int, sent: bytes, at_once: bool = True) -> bytes:
    """Send bytes over a new connection; return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in [sent] if at_once else [sent[i : i + 1] for i in range(len(sent))]:
            writer.write(part)
            await asyncio.sleep(0)
        return await asyncio.wait_for(reader.read(), SECONDS)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def served(
    ask: Callable[[int], Awaitable[Any]],
    unready_reason: Callable[[], Awaitable[str | None]] = ready,
    metrics: Callable[[], Awaitable[bytes]] = metrics,
) -> Any:
    """Start a server; return what ``ask`` returns for its port."""

    async def run() -> Any:
        with listen(Address("127.0.0.1", 0), "--ops-addr") as sock:
            async with serving(sock, metrics, unready_reason):
                return await ask(sock.getsockname()[1])

    return asyncio.run(run())


def answer(request: str, **pages: Any) -> tuple[str, dict[str, str], str]:
    """Return status line, headers and body of the answer to a request."""
    raw: bytes = served(lambda port: exchange(port, request.encode()), **pages)
    head, _, body = raw.decode().partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return status, {name.lower(): value for name, value in pairs}, body


@pytest.mark.parametrize(
    ("path", "body"), [("/metrics", "up 1\n"), ("/healthz", "alive\n"), ("/readyz", "ready\n")]
)
def test_pages(path: str, body: str) -> None:
    """There are three pages, for GET and HEAD; they are not cached and end their connection."""
    for target in (path, f"{path}?x=1", f"http://h{path}"):
        status, headers, found = answer(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (status, found) == ("HTTP/1.1 200 OK", body)
        assert headers["content-length"] == str(len(body))
        assert headers["cache-control"] == "no-store"
        assert headers["connection"] == "close"
        assert headers["date"].endswith("GMT")
    _, headers, found = answer(f"HEAD {path} HTTP/1.0\r\n\r\n")
    assert (headers["content-length"], found) == (str(len(body)), "")
    assert headers["content-type"].startswith("text/plain; ")
    if path == "/metrics":
        assert "version=" in headers["content-type"]


def test_other_pages_and_methods() -> None:
    """Other pages are 404, other methods 405, without waiting for a body."""
    status, _, body = answer("GET / HTTP/1.1\r\n\r\n")
    assert status == "HTTP/1.1 404 Not Found"
    assert body == "not found; the pages are /metrics, /healthz, /readyz\n"
    status, headers, body = answer("POST /metrics HTTP/1.1\r\nContent-Length: 99\r\n\r\n")
    assert status == "HTTP/1.1 405 Method Not Allowed"
    assert (headers["allow"], body) == ("GET, HEAD", "only GET and HEAD\n")
    status, _, _ = answer("CONNECT h:1 HTTP/1.1\r\n\r\n")
    assert status.startswith("HTTP/1.1 40")
    status, _, _ = answer("GET /healthz HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert status == "HTTP/1.1 200 OK"


def test_not_ready() -> None:
    """If the service is not ready, /readyz is 503 with the reason."""

    async def unready_reason() -> str:
        return "it is starting"

    status, _, body = answer("GET /readyz HTTP/1.1\r\n\r\n", unready_reason=unready_reason)
    assert (status, body) == ("HTTP/1.1 503 Service Unavailable", "not ready: it is starting\n")


def test_bad_requests() -> None:
    """A malformed request, or too large a head, gets an answer, and the connection ends."""
    assert answer("nonsense\r\n\r\n")[0] == "HTTP/1.1 400 Bad Request"
    large = f"GET /healthz HTTP/1.1\r\nX: {'x' * ops.HEAD_MAX_BYTES}"
    assert answer(large)[0] == "HTTP/1.1 431 Request Header Fields Too Large"


def test_in_parts_and_twice() -> None:
    """A request may arrive byte by byte; of several on a connection the first is answered."""
    request = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
    for sent, at_once in ((request, False), (request + b"GET /readyz HTTP/1.1\r\n\r\n", True)):
        raw = served(lambda port, s=sent, a=at_once: exchange(port, s, a))
        assert raw.count(b"HTTP/1.1 ") == 1
        assert raw.endswith(b"alive\n")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(sent: bytes) -> None:
    """Whatever bytes one connection sends, the next request is answered."""

    async def ask(port: int) -> bytes:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        found = await exchange(port, b"GET /healthz HTTP/1.1\r\n\r\n")
        writer.close()
        return found

    assert served(ask).endswith(b"alive\n")


def test_a_defect() -> None:
    """An unexpected error is a 500 without its text."""

    async def broken() -> bytes:
        raise RuntimeError("secret")

    status, _, body = answer("GET /metrics HTTP/1.1\r\n\r\n", metrics=broken)
    assert status == "HTTP/1.1 500 Internal Server Error"
    assert "secret" not in body


@contextmanager
def limits(connections: int, seconds: float) -> Iterator[None]:
    """Use other limits in this context."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "CONNECTIONS_MAX", connections)
        patch.setattr(ops, "CONNECTION_SECONDS", seconds)
        yield


def test_few_connections() -> None:
    """Connections beyond the limit are closed at once; when others end, new ones are accepted."""

    async def ask(port: int) -> list[bytes]:
        waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        found = [await exchange(port, b"GET /healthz HTTP/1.1\r\n\r\n")]
        for _, writer in waiting:
            writer.close()
        while not (raw := await exchange(port, b"GET /healthz HTTP/1.1\r\n\r\n")):
            await asyncio.sleep(0)
        return [*found, raw[-6:]]

    with limits(2, 1000.0):
        assert served(ask) == [b"", b"alive\n"]


def test_slow_connections() -> None:
    """A connection ends after its time limit, whether its request is complete or not."""

    async def hang() -> None:
        await asyncio.sleep(1000)

    async def ask(port: int) -> list[bytes]:
        silent = asyncio.create_task(exchange(port, b"GET /readyz HTTP/1.1\r\nX-Slow: "))
        return [await exchange(port, b"GET /readyz HTTP/1.1\r\n\r\n"), await silent]

    with limits(64, 0.05):
        assert served(ask, unready_reason=hang) == [b"", b""]


def test_the_end() -> None:
    """Connections that are open when the server ends are cut off."""

    async def run() -> bytes:
        with listen(Address("127.0.0.1", 0), "--ops-addr") as sock:
            port = sock.getsockname()[1]
            async with serving(sock, metrics, ready):
                assert (await exchange(port, b"GET /healthz HTTP/1.1\r\n\r\n")).endswith(b"alive\n")
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await asyncio.wait_for(reader.read(), SECONDS)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    assert asyncio.run(run()) == b""


def test_no_address() -> None:
    """Without a socket there are no pages."""

    async def run() -> str:
        async with serving(None, metrics, ready):
            return "served"

    assert asyncio.run(run()) == "served"


def test_a_check_is_made_when_it_is_stale() -> None:
    """One check runs at a time, and none while its result is fresh, however many ask."""
    now, made = 0.0, 0

    async def check() -> int:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        return made

    async def run() -> None:
        nonlocal now
        cached = Cached(check, 1.0, late=-1, clock=lambda: now)
        assert await asyncio.gather(*(cached.get() for _ in range(50))) == [1] * 50
        now = 0.9
        assert await cached.get() == 1
        now = 1.0
        assert await cached.get() == 2

    asyncio.run(run())


def test_a_check_that_hangs_is_made_once() -> None:
    """It is neither cancelled nor waited for; its result is used as soon as it exists."""
    started = []

    async def run() -> None:
        release = asyncio.Event()

        async def check() -> str:
            started.append(1)
            await release.wait()
            return "found"

        cached = Cached(check, 3600, late="late", wait_seconds=0.01)
        assert [await cached.get() for _ in range(3)] == ["late"] * 3
        release.set()
        while (found := await cached.get()) == "late":
            pass
        assert found == "found"

    asyncio.run(run())
    assert started == [1]


def test_the_socket_is_free_afterwards() -> None:
    """The port can be bound again."""
    with listen(Address("127.0.0.1", 0), "--ops-addr") as sock:
        port = sock.getsockname()[1]

        async def run() -> None:
            async with serving(sock, metrics, ready):
                pass

        asyncio.run(run())
    with socket.create_server(("127.0.0.1", port)):
        pass
