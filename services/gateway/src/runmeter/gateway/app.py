"""The program: composition, signals, start and end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, BinaryIO, Final

import structlog

from runmeter.gateway import events, logs
from runmeter.gateway.api.app import create_app
from runmeter.gateway.api.ops import create_ops_app
from runmeter.gateway.config import Settings, environment
from runmeter.gateway.metrics import FOLDER_VARIABLE, Metrics, WorkersMetrics
from runmeter.gateway.proxies import Proxies
from runmeter.gateway.readiness import Readiness
from runmeter.gateway.receiver.client import Backend
from runmeter.gateway.rotation import Rotation
from runmeter.gateway.signals import Signals
from runmeter.gateway.tls import Served
from runmeter.gateway.web.body import BodyLimits
from runmeter.gateway.web.limits import Capacity, Edge, Rates
from runmeter.gateway.web.server import (
    App,
    CannotListen,
    address_of,
    drain,
    listen,
    serve_on,
)
from runmeter.gateway.workers import (
    Assignment,
    CannotStart,
    Orphaned,
    Workers,
    inherited,
    tell_ended,
    tell_ready,
)

EXIT_CANNOT_SERVE: Final = 1

_log = structlog.get_logger()


def run(settings: Settings, version: str) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    logs.configure(settings.log_level, settings.log_format)
    try:
        sock = listen(settings.addr, "--addr")
        ops_sock = None
        if settings.ops_addr is not None:
            ops_sock = listen(settings.ops_addr, "--ops-addr")
    except CannotListen as error:
        print(f"gateway: {error}.", file=sys.stderr)
        return EXIT_CANNOT_SERVE
    serve = _serve_alone if settings.workers == 1 else _serve_with_workers
    return asyncio.run(_signalled(serve, settings, version, sock, ops_sock))


def run_worker(source: BinaryIO, to: BinaryIO) -> int:
    """Serve as one of several workers; returns the exit code."""
    try:
        settings, version, descriptor = Assignment.read(source)
    except Orphaned:
        return 0
    logs.configure(settings.log_level, settings.log_format)
    sock = inherited(descriptor)
    return asyncio.run(_signalled(_serve_as_worker, settings, version, sock, source, to))


async def _signalled(serve: Callable[..., Awaitable[int]], *arguments: object) -> int:
    gc.freeze()  # modules stay: what is collected between answers need not look through them
    with Signals() as signals:
        return await serve(signals, *arguments)


async def _serve_alone(
    signals: Signals,
    settings: Settings,
    version: str,
    sock: socket.socket,
    ops_sock: socket.socket | None,
) -> int:
    metrics = Metrics(version)
    async with _api(settings, metrics, sock, signals) as (server, backend):
        readiness = Readiness(backend.check_serving)
        async with _ops_pages(create_ops_app(metrics.text, readiness), ops_sock):
            _log_started(settings, version, sock, ops_sock)
            await _ending(settings, signals, readiness)
            server.app.ctx.stopping = True
            aborted_count = await drain(
                server, settings.shutdown_timeout_seconds, signals.hurried.is_set
            )
    _log.info(events.SERVER_STOPPED, aborted_count=aborted_count)
    return 0


async def _serve_with_workers(
    signals: Signals,
    settings: Settings,
    version: str,
    sock: socket.socket,
    ops_sock: socket.socket | None,
) -> int:
    backend = Backend(settings.receiver.target, tls=settings.receiver_tls)
    backend.open()
    readiness = Readiness(backend.check_serving)
    with tempfile.TemporaryDirectory(prefix="runmeter-gateway-") as folder:
        metrics = WorkersMetrics(version, folder)
        workers = Workers(
            settings.workers,
            Assignment(settings, version, sock.fileno()),
            environment(**{FOLDER_VARIABLE: folder}),
            metrics.worker_died,
        )
        async with _ops_pages(create_ops_app(metrics.text, readiness), ops_sock):
            rotation = Rotation(settings, None, backend)
            following = asyncio.create_task(_hand_on(signals.hung_up, workers, rotation))
            try:
                await workers.start()
                _log_started(settings, version, sock, ops_sock)
                await _ending(settings, signals, readiness)
                code = 0
            except CannotStart:
                print("gateway: a worker cannot serve; see above.", file=sys.stderr)
                code = EXIT_CANNOT_SERVE
            following.cancel()
            sock.close()
            aborted_count = await workers.stop(settings.shutdown_timeout_seconds, signals.hurried)
    await backend.close()
    _log.info(events.SERVER_STOPPED, aborted_count=aborted_count)
    return code


async def _serve_as_worker(
    signals: Signals,
    settings: Settings,
    version: str,
    sock: socket.socket,
    source: BinaryIO,
    to: BinaryIO,
) -> int:
    loop = asyncio.get_running_loop()

    def orphaned() -> None:
        loop.remove_reader(source)
        signals.end("orphaned")

    loop.add_reader(source, orphaned)  # nothing more is sent: it is the end of the parent
    async with _api(settings, Metrics(version), sock, signals) as (server, _):
        tell_ready(to)
        await signals.first()
        server.app.ctx.stopping = True
        aborted_count = await drain(
            server, settings.shutdown_timeout_seconds, signals.hurried.is_set
        )
    tell_ended(to, aborted_count)
    return 0


async def _hand_on(hung_up: asyncio.Event, workers: Workers, rotation: Rotation) -> None:
    """Have the workers read their files again whenever this process was asked to, and does."""
    while True:
        await hung_up.wait()
        hung_up.clear()
        workers.send(signal.SIGHUP)
        await rotation.reread()


async def _ending(settings: Settings, signals: Signals, readiness: Readiness) -> None:
    """Wait for a signal; from then on this gateway is not ready."""
    name = await signals.first()
    readiness.closing_reason = "it is stopping"
    _log.info(
        events.SHUTDOWN_REQUESTED, signal=name, grace_seconds=settings.shutdown_timeout_seconds
    )


def _log_started(
    settings: Settings, version: str, sock: socket.socket, ops_sock: socket.socket | None
) -> None:
    _log.info(
        events.SERVER_STARTED,
        address=address_of(sock),
        ops_address=ops_sock and address_of(ops_sock),
        version=version,
        receiver=settings.receiver.target,
        tls=settings.tls is not None,
        workers=settings.workers,
    )


@contextlib.asynccontextmanager
async def _api(
    settings: Settings, metrics: Metrics, sock: socket.socket, signals: Signals
) -> AsyncIterator[tuple[Any, Backend]]:
    """Serve the API of one process; yields Sanic's server, which must be drained."""
    backend = Backend(
        settings.receiver.target, observe=metrics.call_finished, tls=settings.receiver_tls
    )
    served = None if settings.tls is None else Served(settings.tls)
    app = create_app(backend, BodyLimits(settings.max_body_bytes), _edge_of(settings), metrics)
    rotation = Rotation(settings, served, backend, metrics.certificate_expires)
    server = await serve_on(app, sock, None if served is None else served.context)
    following = asyncio.create_task(rotation.follow(signals.hung_up))
    try:
        yield server, backend
    finally:
        following.cancel()


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


def _edge_of(settings: Settings) -> Edge:
    """Make of the settings what concerns clients."""
    return Edge(
        Proxies(settings.trusted_proxies),
        settings.cors_origins,
        settings.tls is not None,
        None if settings.rate_limit is None else Rates(settings.rate_limit),
        Capacity(settings.max_connections, settings.max_requests),
    )
