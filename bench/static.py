"""Sanic that answers every GET with the bytes of a file: ``python -m bench.static FILE``."""

import asyncio
import json
import socket
import sys
from pathlib import Path

from sanic import HTTPResponse, Request, Sanic


async def serve(body: bytes) -> None:
    """Serve for ever; says where, as the services do."""
    app = Sanic("static", configure_logging=False)
    app.config.ACCESS_LOG = False
    app.config.MOTD = False

    @app.get("/<path:path>")
    async def answer(request: Request, path: str) -> HTTPResponse:
        return HTTPResponse(body, content_type="application/json")

    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = await app.create_server(sock=sock, return_asyncio_server=True)
    assert server is not None
    await server.startup()
    await server.before_start()
    await server.start_serving()
    address = "{}:{}".format(*sock.getsockname())
    print(json.dumps({"event": "server.started", "address": address}), file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).read_bytes()))
