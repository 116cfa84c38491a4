"""Sanic's servers on listening sockets: start, drain, end."""

import asyncio
import logging
import socket
from collections.abc import Callable
from ssl import SSLContext
from types import SimpleNamespace
from typing import Any, TypeAlias

from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.config import Config
from sanic.http.constants import HTTP

from runmeter.gateway.metrics import Metrics
from runmeter.gateway.web.connection import GatewayProtocol
from runmeter.gateway.web.limits import Edge, Gate
from runmeter.service.sockets import BACKLOG

App: TypeAlias = Sanic[Config, SimpleNamespace]

_SANIC_ADVICE = "Sanic is running in PRODUCTION mode"  # about a flag that we do not have
_POLL_SECONDS = 0.02
_TLS = {"ssl_handshake_timeout": 10.0, "ssl_shutdown_timeout": 5.0}


def context(
    edge: Edge, metrics: Metrics, body_seconds: float, clock: Callable[[], float]
) -> SimpleNamespace:
    """Make the context of an application, with everything that its connections use."""
    return SimpleNamespace(
        clock=clock,
        stopping=False,
        edge=edge,
        metrics=metrics,
        gate=Gate(edge, metrics, clock),
        body_seconds=body_seconds,
        refused=set(),
    )


def log_level_of(record: logging.LogRecord) -> int | None:
    """Return the level to log a library's record at; None for Sanic's advice on --debug."""
    return None if _SANIC_ADVICE in record.getMessage() else record.levelno


async def serve_on(app: App, sock: socket.socket, tls: SSLContext | None = None) -> Any:
    """Start serving; returns Sanic's AsyncioServer, whose methods have no types.

    The context of the application is one of `context`.
    """
    # create_server does not do this; without it every answer has an empty alt-svc header
    app.state.server_info.append(ApplicationServerInfo({"version": HTTP.VERSION_1}))
    server: Any = await app.create_server(
        sock=sock,
        ssl=tls,
        protocol=GatewayProtocol,
        backlog=1,  # accepted at a time: so idle workers get more than busy ones
        return_asyncio_server=True,
        asyncio_server_kwargs={"start_serving": False, **({} if tls is None else _TLS)},
    )
    await server.startup()
    await server.before_start()
    await server.start_serving()
    sock.listen(BACKLOG)  # asyncio has set it to 1
    await server.after_start()
    return server


async def drain(server: Any, timeout_seconds: float, is_hurried: Callable[[], bool]) -> int:
    """Accept no more connections and let requests finish; returns how many were cut off.

    ``is_hurried`` ends the wait early. Idle connections are closed in a loop: a busy one becomes
    idle when its request ends.
    """
    server.close()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while server.connections and loop.time() < deadline and not is_hurried():
        for connection in tuple(server.connections):
            connection.close_if_idle()
        await asyncio.sleep(_POLL_SECONDS)
    left = tuple(server.connections)
    for connection in left:
        connection.abort()
    await asyncio.sleep(0)  # lets their tasks see the end of the connection
    await server.before_stop()
    await server.after_stop()
    return len(left)
