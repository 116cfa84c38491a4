"""The HTTP server: composition, signals, start and end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import structlog
from sanic import HTTPResponse, Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.config import Config
from sanic.http import Http
from sanic.http.constants import HTTP
from sanic.response import BaseHTTPResponse

from runmeter.gateway import events, logs
from runmeter.gateway.api.edge import Edge
from runmeter.gateway.api.headers import preflight, secure, share
from runmeter.gateway.api.health import health_blueprint
from runmeter.gateway.api.media import BodyLimits
from runmeter.gateway.api.metrics import metrics_blueprint
from runmeter.gateway.api.request import REQUEST_ID_HEADER, GatewayRequest
from runmeter.gateway.api.runs import runs_blueprint
from runmeter.gateway.api.tokens import tokens_blueprint
from runmeter.gateway.backend import Backend
from runmeter.gateway.config import Settings
from runmeter.gateway.problems import ProblemHandler
from runmeter.gateway.proxies import Proxies
from runmeter.gateway.values import Address

App = Sanic[Config, SimpleNamespace]

EXIT_CANNOT_LISTEN: Final = 1
DRAIN_BYTES: Final = 8 * 1024 * 1024
"""So much of a body that is not wanted is still read: a client that only reads the answer after
sending gets it. Beyond that the connection is closed."""
BACKLOG: Final = 1024
_POLL_SECONDS: Final = 0.02

_log = structlog.get_logger()


def create_app(
    backend: Backend,
    limits: BodyLimits,
    edge: Edge = Edge(),  # noqa: B008 - a constant
    *,
    name: str = "gateway",
    clock: Callable[[], float] = time.monotonic,
) -> App:
    """Compose the application; nothing is opened before the server starts."""
    settings = Config(env_prefix=None)  # not from SANIC_…: `config` reads the environment
    settings.update(
        {
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,
            "MOTD": False,
            "REQUEST_MAX_SIZE": limits.max_bytes + DRAIN_BYTES,
        }
    )
    app: App = Sanic(
        name,
        config=settings,
        ctx=SimpleNamespace(clock=clock, stopping=False, edge=edge),
        error_handler=ProblemHandler(),
        request_class=GatewayRequest,
        configure_logging=False,
    )
    app.blueprint(health_blueprint())
    app.blueprint(metrics_blueprint(backend, limits))
    app.blueprint(tokens_blueprint(backend, limits))
    app.blueprint(runs_blueprint(backend))

    async def open_backend(app: App) -> None:
        backend.open()

    async def close_backend(app: App) -> None:
        await backend.close()

    app.register_listener(open_backend, "before_server_start")
    app.register_listener(close_backend, "after_server_stop")
    if edge.cors_origins:
        app.register_middleware(_preflight, "request")
    app.register_middleware(_finish, "response")
    return app


async def _preflight(request: GatewayRequest) -> HTTPResponse | None:
    return preflight(request, request.app.ctx.edge.cors_origins)


async def _finish(request: GatewayRequest, response: BaseHTTPResponse) -> None:
    """Complete every answer, whoever made it."""
    edge: Edge = request.app.ctx.edge
    response.headers[REQUEST_ID_HEADER] = request.request_id
    secure(response, edge.has_tls)
    share(request, response, edge.cors_origins)
    if request.app.ctx.stopping and isinstance(request.stream, Http):
        request.stream.keep_alive = False
    if not request.streams:
        request.log_finished(response.status)


def listen(address: Address) -> socket.socket:
    """Bind the listening socket; without a host on IPv6 and IPv4 alike where there is IPv6.

    Raises:
        OSError: the address is taken, not ours, or not allowed.
    """
    if address.host is None and socket.has_dualstack_ipv6():
        sock = socket.create_server(
            ("::", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
        )
    else:
        host = address.host or "0.0.0.0"
        family = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0][0]
        sock = socket.create_server((host, address.port), family=family, backlog=BACKLOG)
    # connections inherit it; asyncio sets it only where the protocol was named. Without it the
    # second part of every streamed answer waits 40 ms for an acknowledgement
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _reason(error: OSError) -> str:
    # asyncio and socket put the address into strerror; names that do not resolve have no errno
    known = isinstance(error, socket.gaierror) or error.errno is None
    return (str(error.strerror) if known else os.strerror(error.errno or 0)).lower()


def run(settings: Settings, version: str) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    logs.configure(settings.log_level, settings.log_format)
    try:
        sock = listen(settings.addr)
    except OSError as error:
        print(f"gateway: cannot listen on {settings.addr}: {_reason(error)}.", file=sys.stderr)
        return EXIT_CANNOT_LISTEN
    asyncio.run(_serve(settings, version, sock))
    return 0


async def _serve(settings: Settings, version: str, sock: socket.socket) -> None:
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    edge = Edge(Proxies(settings.trusted_proxies), settings.cors_origins)
    app = create_app(Backend(settings.receiver), BodyLimits(settings.max_body_bytes), edge)
    server = await serve_on(app, sock)
    host, port = sock.getsockname()[:2]
    _log.info(
        events.SERVER_STARTED,
        address=str(Address(host, port)),
        version=version,
        receiver=settings.receiver,
    )
    received = await signals.get()
    app.ctx.stopping = True
    _log.info(
        events.SERVER_STOPPING,
        signal=received.name,
        timeout_seconds=settings.shutdown_timeout_seconds,
    )
    aborted_count = await _drained(server, signals, settings.shutdown_timeout_seconds)
    await server.before_stop()
    await server.after_stop()
    _log.info(events.SERVER_STOPPED, aborted_count=aborted_count)


async def serve_on(app: App, sock: socket.socket) -> Any:
    """Start to take requests; returns Sanic's AsyncioServer, whose methods have no types."""
    # create_server leaves this out; without it every answer has an empty alt-svc header
    app.state.server_info.append(ApplicationServerInfo({"version": HTTP.VERSION_1}))
    server: Any = await app.create_server(
        sock=sock, return_asyncio_server=True, asyncio_server_kwargs={"start_serving": False}
    )
    await server.startup()
    await server.before_start()
    await server.start_serving()
    await server.after_start()
    return server


async def _drained(server: Any, signals: asyncio.Queue[Any], timeout_seconds: float) -> int:
    """Take no more connections and let requests end; returns how many had to be cut off.

    A second signal ends the waiting. Idle connections are closed again and again: one that was
    busy becomes idle when its request ends.
    """
    server.close()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while server.connections and loop.time() < deadline and signals.empty():
        for connection in tuple(server.connections):
            connection.close_if_idle()
        await asyncio.sleep(_POLL_SECONDS)
    left = tuple(server.connections)
    for connection in left:
        connection.abort()
    await asyncio.sleep(0)  # their tasks see the end of the connection
    return len(left)
