"""The program: composition, signals, start and end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog
from sanic import HTTPResponse, Sanic
from sanic.config import Config
from sanic.http import Http
from sanic.response import BaseHTTPResponse

from runmeter.gateway import events, logs
from runmeter.gateway.api.connection import HEAD_BYTES_MAX
from runmeter.gateway.api.edge import Capacity, Edge
from runmeter.gateway.api.headers import preflight, secure, share
from runmeter.gateway.api.health import health_blueprint
from runmeter.gateway.api.media import BodyLimits
from runmeter.gateway.api.metrics import metrics_blueprint
from runmeter.gateway.api.ops import create_ops_app
from runmeter.gateway.api.request import REQUEST_ID_HEADER, GatewayRequest
from runmeter.gateway.api.runs import runs_blueprint
from runmeter.gateway.api.serving import (
    App,
    CannotListen,
    address_of,
    context,
    drain,
    listen,
    serve_on,
)
from runmeter.gateway.api.tokens import tokens_blueprint
from runmeter.gateway.backend import Backend
from runmeter.gateway.config import Settings
from runmeter.gateway.metrics import Metrics
from runmeter.gateway.ops import Readiness
from runmeter.gateway.problems import ProblemHandler
from runmeter.gateway.proxies import Proxies
from runmeter.gateway.rates import Rates
from runmeter.gateway.rotation import Rotation
from runmeter.gateway.tls import Served

EXIT_CANNOT_LISTEN: Final = 1
DRAIN_BYTES: Final = 8 * 1024 * 1024
"""So much of a body that is not wanted is still read: a client that only reads the answer after
sending gets it. Beyond that the connection is closed."""

_log = structlog.get_logger()


def create_app(
    backend: Backend,
    limits: BodyLimits,
    edge: Edge = Edge(),  # noqa: B008 - a constant
    metrics: Metrics | None = None,
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
            "KEEP_ALIVE_TIMEOUT": edge.patience.idle_seconds,
            "REQUEST_MAX_HEADER_SIZE": HEAD_BYTES_MAX,
            "REQUEST_MAX_SIZE": limits.max_bytes + DRAIN_BYTES,
        }
    )
    app: App = Sanic(
        name,
        config=settings,
        ctx=context(edge, metrics or Metrics(), limits.timeout_seconds, clock),
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
        if request.method != "HEAD":
            request.app.ctx.metrics.body_sent(len(response.body or b""))
        request.log_finished(response.status)


def run(settings: Settings, version: str) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    logs.configure(settings.log_level, settings.log_format)
    try:
        sock = listen(settings.addr)
        ops_sock = None if settings.ops_addr is None else listen(settings.ops_addr)
    except CannotListen as error:
        print(f"gateway: {error}.", file=sys.stderr)
        return EXIT_CANNOT_LISTEN
    asyncio.run(_serve(settings, version, sock, ops_sock))
    return 0


async def _serve(
    settings: Settings, version: str, sock: socket.socket, ops_sock: socket.socket | None
) -> None:
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    hung_up = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    metrics = Metrics(version)
    backend = Backend(
        settings.receiver.target, observe=metrics.call_finished, tls=settings.receiver_tls
    )
    served = None if settings.tls is None else Served(settings.tls)
    edge = Edge(
        Proxies(settings.trusted_proxies),
        settings.cors_origins,
        served is not None,
        None if settings.rate_limit is None else Rates(settings.rate_limit),
        Capacity(settings.max_connections, settings.max_requests),
    )
    app = create_app(backend, BodyLimits(settings.max_body_bytes), edge, metrics)
    readiness = Readiness(backend.check_serving)
    server = await serve_on(app, sock, None if served is None else served.context)
    rotation = loop.create_task(Rotation(settings, served, backend, metrics).follow(hung_up))
    async with _ops_pages(create_ops_app(metrics.text, readiness), ops_sock):
        _log.info(
            events.SERVER_STARTED,
            address=address_of(sock),
            ops_address=ops_sock and address_of(ops_sock),
            version=version,
            receiver=settings.receiver.target,
            tls=served is not None,
        )
        received = await signals.get()
        app.ctx.stopping = True
        readiness.closing_reason = "it is stopping"
        _log.info(
            events.SERVER_STOPPING,
            signal=received.name,
            timeout_seconds=settings.shutdown_timeout_seconds,
        )
        rotation.cancel()
        aborted_count = await drain(
            server, settings.shutdown_timeout_seconds, lambda: not signals.empty()
        )
    _log.info(events.SERVER_STOPPED, aborted_count=aborted_count)


@contextlib.asynccontextmanager
async def _ops_pages(app: App, sock: socket.socket | None) -> AsyncIterator[None]:
    """Serve the pages; their requests are cut off at the end. No socket: do nothing."""
    if sock is None:
        yield
        return
    server = await serve_on(app, sock)
    try:
        yield
    finally:
        await drain(server, 0, lambda: True)
