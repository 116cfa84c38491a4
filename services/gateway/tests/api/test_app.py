"""The application in the loop of the test, with settings that have no flag."""

import asyncio
import json
import socket

from runmeter.gateway.api.app import create_app
from runmeter.gateway.receiver.client import Backend
from runmeter.gateway.web.body import BodyLimits
from runmeter.gateway.web.server import serve_on
from runmeter.service.sockets import listen
from runmeter.service.values import Address


async def exchange(name: str, data: bytes) -> tuple[int, bytes]:
    """Serve with a short timeout for bodies; return status and body of the answer."""
    sock = listen(Address("127.0.0.1", 0), "--addr")
    app = create_app(Backend("127.0.0.1:1"), BodyLimits(1000, 0.05), name=name)
    server = await serve_on(app, sock)
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    try:
        writer.write(data)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        return int(head.split()[1]), await reader.readexactly(length)
    finally:
        writer.close()
        await writer.wait_closed()
        server.close()
        while server.connections:
            await asyncio.sleep(0)
        await server.before_stop()
        await server.after_stop()


def test_slow_body() -> None:
    """A body that does not arrive is answered with 408."""
    head = b"POST /api/v1/token HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x\r\n"
    head += b"Connection: close\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    status, body = asyncio.run(exchange("slow-body", head))
    assert status == json.loads(body)["status"] == 408


def test_connections_do_not_wait_to_send() -> None:
    """Accepted connections have TCP_NODELAY: a streamed answer is several small writes."""
    with (
        listen(Address("127.0.0.1", 0), "--addr") as server,
        socket.create_connection(server.getsockname()),
    ):
        accepted, _ = server.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_address_is_of_its_family() -> None:
    """An address with a host listens on that host only."""
    with listen(Address("127.0.0.1", 0), "--addr") as server:
        assert server.family == socket.AF_INET
        assert server.getsockname()[0] == "127.0.0.1"
