"""The program: composition, signals, start and end."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, BinaryIO

import structlog

from runmeter.gateway import events
from runmeter.gateway.api.app import create_app
from runmeter.gateway.config import Settings, environment
from runmeter.gateway.metrics import FOLDER_VARIABLE, Metrics, WorkersMetrics
from runmeter.gateway.readiness import Readiness
from runmeter.gateway.receiver.client import Backend
from runmeter.gateway.rotation import rotation
from runmeter.gateway.web.body import BodyLimits
from runmeter.gateway.web.clients import Proxies
from runmeter.gateway.web.limits import Capacity, Edge, Rates
from runmeter.gateway.web.server import drain, log_level_of, serve_on
from runmeter.gateway.workers import (
    Assignment,
    CannotStart,
    Orphaned,
    Workers,
    report,
)
from runmeter.service import logs, ops
from runmeter.service.reload import Reload
from runmeter.service.signals import Signals
from runmeter.service.sockets import address_of, listen
from runmeter.service.tls import Served

EXIT_CANNOT_SERVE = 1

_log = structlog.get_logger()


def run(settings: Settings, version: str) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    Raises:
        AddressUnusable: an address cannot be listened on.
    """
    _configure_logs(settings)
    sock = listen(settings.addr, "--addr")
    ops_sock = None if settings.ops_addr is None else listen(settings.ops_addr, "--ops-addr")
    serve = _serve_alone if settings.workers == 1 else _serve_with_workers
    return asyncio.run(_with_signals(serve, settings, version, sock, ops_sock))


def run_worker(source: BinaryIO, to: BinaryIO) -> int:
    """Serve as one of several workers; returns the exit status."""
    try:
        settings, version, descriptor = Assignment.read(source)
    except Orphaned:
        return 0
    _configure_logs(settings)
    sock = socket.socket(fileno=descriptor)
    return asyncio.run(_with_signals(_serve_as_worker, settings, version, sock, source, to))


def _configure_logs(settings: Settings) -> None:
    logs.configure(settings.log, sys.stderr, log_level_of)


async def _with_signals(serve: Callable[..., Awaitable[int]], *arguments: object) -> int:
    gc.freeze()  # modules stay: collections while serving need not look through them
    gc.enable()
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
        async with _ops_pages(ops_sock, metrics, readiness):
            _log_started(settings, version, sock, ops_sock)
            await _shutdown_requested(settings, signals, readiness)
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
        async with _ops_pages(ops_sock, metrics, readiness):
            reload = rotation(settings, None, backend)
            following = asyncio.create_task(_reload_all(signals.hung_up, workers, reload))
            try:
                await workers.start()
                _log_started(settings, version, sock, ops_sock)
                await _shutdown_requested(settings, signals, readiness)
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

    loop.add_reader(source, orphaned)  # the parent sends nothing more: this is its end
    async with _api(settings, Metrics(version), sock, signals) as (server, _):
        report(to)
        await signals.first()
        server.app.ctx.stopping = True
        aborted_count = await drain(
            server, settings.shutdown_timeout_seconds, signals.hurried.is_set
        )
    report(to, aborted_count)
    return 0


async def _reload_all(hung_up: asyncio.Event, workers: Workers, reload: Reload[Settings]) -> None:
    """At each SIGHUP make the workers and this process read the certificates again."""
    while True:
        await hung_up.wait()
        hung_up.clear()
        workers.send(signal.SIGHUP)
        await reload.reread()


async def _shutdown_requested(settings: Settings, signals: Signals, readiness: Readiness) -> None:
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
    """Serve the API in this process; yields Sanic's server, which must be drained."""
    backend = Backend(
        settings.receiver.target, observe=metrics.call_finished, tls=settings.receiver_tls
    )
    served = None if settings.tls is None else Served(settings.tls)
    app = create_app(backend, BodyLimits(settings.max_body_bytes), _edge(settings), metrics)
    reload = rotation(settings, served, backend, metrics.certificate_expires)
    server = await serve_on(app, sock, None if served is None else served.context)
    following = asyncio.create_task(reload.follow(signals.hung_up))
    try:
        yield server, backend
    finally:
        following.cancel()


def _ops_pages(
    sock: socket.socket | None, metrics: Metrics | WorkersMetrics, readiness: Readiness
) -> contextlib.AbstractAsyncContextManager[None]:
    async def text() -> bytes:
        return metrics.text()

    return ops.serving(sock, text, readiness.unready_reason)


def _edge(settings: Settings) -> Edge:
    """Take the settings that concern clients."""
    return Edge(
        Proxies(settings.trusted_proxies),
        settings.cors_origins,
        settings.tls is not None,
        None if settings.rate_limit is None else Rates(settings.rate_limit),
        Capacity(settings.max_connections, settings.max_requests),
    )
