"""The program: composition, signals, start and end."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, BinaryIO, NamedTuple

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


class _Start(NamedTuple):
    """What a process serves with."""

    settings: Settings
    version: str
    sock: socket.socket
    ops_sock: socket.socket | None = None


def run(settings: Settings, version: str) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    Raises:
        AddressUnusable: an address cannot be listened on.
    """
    _configure_logs(settings)
    sock = listen(settings.addr, "--addr")
    ops_sock = None if settings.ops_addr is None else listen(settings.ops_addr, "--ops-addr")
    serve = _serve_alone if settings.workers == 1 else _serve_with_workers
    return asyncio.run(_with_signals(partial(serve, _Start(settings, version, sock, ops_sock))))


def run_worker(source: BinaryIO, to: BinaryIO) -> int:
    """Serve as one of several workers; returns the exit status."""
    try:
        settings, version, descriptor = Assignment.read(source)
    except Orphaned:
        return 0
    _configure_logs(settings)
    start = _Start(settings, version, socket.socket(fileno=descriptor))
    return asyncio.run(_with_signals(partial(_serve_as_worker, start, source, to)))


def _configure_logs(settings: Settings) -> None:
    logs.configure(settings.log, sys.stderr, log_level_of)


async def _with_signals(serve: Callable[[Signals], Awaitable[int]]) -> int:
    gc.freeze()  # modules stay: collections while serving need not look through them
    gc.enable()
    with Signals() as signals:
        return await serve(signals)


async def _serve_alone(start: _Start, signals: Signals) -> int:
    metrics = Metrics(start.version)
    async with _api(start, metrics, signals) as (server, backend):
        readiness = Readiness(backend.check_serving)
        async with _ops_pages(start, metrics, readiness):
            _log_started(start)
            await _shutdown_requested(start, signals, readiness)
            aborted_count = await _drain(start, server, signals)
    _log.info(events.SERVER_STOPPED, aborted_count=aborted_count)
    return 0


async def _serve_with_workers(start: _Start, signals: Signals) -> int:
    settings = start.settings
    backend = Backend(settings.receiver.target, tls=settings.receiver_tls)
    backend.open()
    readiness = Readiness(backend.check_serving)
    with tempfile.TemporaryDirectory(prefix="runmeter-gateway-") as folder:
        metrics = WorkersMetrics(start.version, folder)
        workers = Workers(
            settings.workers,
            Assignment(settings, start.version, start.sock.fileno()),
            environment(**{FOLDER_VARIABLE: folder}),
            metrics.worker_died,
        )
        async with _ops_pages(start, metrics, readiness):
            reload = rotation(settings, None, backend)
            following = asyncio.create_task(_reload_all(signals.hung_up, workers, reload))
            try:
                await workers.start()
                _log_started(start)
                await _shutdown_requested(start, signals, readiness)
                code = 0
            except CannotStart:
                print("gateway: a worker cannot serve; see above.", file=sys.stderr)
                code = EXIT_CANNOT_SERVE
            following.cancel()
            start.sock.close()
            aborted_count = await workers.stop(settings.shutdown_timeout_seconds, signals.hurried)
    await backend.close()
    _log.info(events.SERVER_STOPPED, aborted_count=aborted_count)
    return code


async def _serve_as_worker(start: _Start, source: BinaryIO, to: BinaryIO, signals: Signals) -> int:
    loop = asyncio.get_running_loop()

    def orphaned() -> None:
        loop.remove_reader(source)
        signals.end("orphaned")

    loop.add_reader(source, orphaned)  # the parent sends nothing more: this is its end
    async with _api(start, Metrics(start.version), signals) as (server, _):
        report(to)
        await signals.first()
        aborted_count = await _drain(start, server, signals)
    report(to, aborted_count)
    return 0


async def _drain(start: _Start, server: Any, signals: Signals) -> int:
    """Let requests finish; returns how many connections were cut off."""
    server.app.ctx.stopping = True
    return await drain(server, start.settings.shutdown_timeout_seconds, signals.hurried.is_set)


async def _reload_all(hung_up: asyncio.Event, workers: Workers, reload: Reload[Settings]) -> None:
    """At each SIGHUP make the workers and this process read the certificates again."""
    while True:
        await hung_up.wait()
        hung_up.clear()
        workers.send(signal.SIGHUP)
        await reload.reread()


async def _shutdown_requested(start: _Start, signals: Signals, readiness: Readiness) -> None:
    """Wait for a signal; from then on this gateway is not ready."""
    name = await signals.first()
    readiness.closing_reason = "it is stopping"
    grace_seconds = start.settings.shutdown_timeout_seconds
    _log.info(events.SHUTDOWN_REQUESTED, signal=name, grace_seconds=grace_seconds)


def _log_started(start: _Start) -> None:
    _log.info(
        events.SERVER_STARTED,
        address=address_of(start.sock),
        ops_address=start.ops_sock and address_of(start.ops_sock),
        version=start.version,
        receiver=start.settings.receiver.target,
        tls=start.settings.tls is not None,
        workers=start.settings.workers,
    )


@contextlib.asynccontextmanager
async def _api(
    start: _Start, metrics: Metrics, signals: Signals
) -> AsyncIterator[tuple[Any, Backend]]:
    """Serve the API in this process; yields Sanic's server, which must be drained."""
    settings = start.settings
    backend = Backend(
        settings.receiver.target, observe=metrics.call_finished, tls=settings.receiver_tls
    )
    served = None if settings.tls is None else Served(settings.tls)
    app = create_app(backend, BodyLimits(settings.max_body_bytes), _edge(settings), metrics)
    reload = rotation(settings, served, backend, metrics.certificate_expires)
    server = await serve_on(app, start.sock, None if served is None else served.context)
    following = asyncio.create_task(reload.follow(signals.hung_up))
    try:
        yield server, backend
    finally:
        following.cancel()


def _ops_pages(
    start: _Start, metrics: Metrics | WorkersMetrics, readiness: Readiness
) -> contextlib.AbstractAsyncContextManager[None]:
    async def text() -> bytes:
        return metrics.text()

    return ops.serving(start.ops_sock, text, readiness.unready_reason)


def _edge(settings: Settings) -> Edge:
    """Take the settings that concern clients."""
    return Edge(
        Proxies(settings.trusted_proxies),
        settings.cors_origins,
        settings.tls is not None,
        None if settings.rate_limit is None else Rates(settings.rate_limit),
        Capacity(settings.max_connections, settings.max_requests),
    )
