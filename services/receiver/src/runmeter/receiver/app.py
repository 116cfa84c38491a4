"""Start the parts of the program, serve until a signal, stop them in order."""

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

import structlog

from runmeter.receiver import events
from runmeter.receiver.config import ServeConfig
from runmeter.receiver.ending import end_at_second, run_until, writing
from runmeter.receiver.metrics import Metrics
from runmeter.receiver.readiness import Readiness
from runmeter.receiver.retention import keep_retention
from runmeter.receiver.rotation import rotation, warn_of_short_keys
from runmeter.receiver.rpc.callers import Callers
from runmeter.receiver.rpc.failures import Failures
from runmeter.receiver.rpc.interceptors import Policy
from runmeter.receiver.rpc.server import (
    CONNECTION_LIMITS,
    EVERYWHERE,
    FLAG,
    ConnectionLimits,
    Server,
)
from runmeter.receiver.rpc.servicers import PUSH_METHODS, READ_METHODS, UseCases
from runmeter.receiver.store import connections
from runmeter.receiver.store.writer import Writer
from runmeter.receiver.tokens import Keyring, ReadToken
from runmeter.service import ops
from runmeter.service.signals import Signals
from runmeter.service.sockets import check_free, listen
from runmeter.service.values import Address


async def serve(
    config: ServeConfig,
    make_writer: Callable[..., Writer] = Writer,
    connection_limits: ConnectionLimits = CONNECTION_LIMITS,
) -> int:
    """Serve until a signal; return the exit status.

    Raises:
        StartupError: the database or the address cannot be used.
    """
    started_seconds = time.monotonic()
    warn_of_short_keys(config.hmac_keys)
    _allow_many_connections()
    metrics = Metrics(version("runmeter-receiver"), (*PUSH_METHODS, *READ_METHODS))
    writer = make_writer(on_commit=metrics.committed)
    with Signals(end_at_second) as signals:
        await _serve(config, signals, metrics, writer, connection_limits)
        uptime_seconds = round(time.monotonic() - started_seconds, 3)
        structlog.get_logger().info(events.SERVER_STOPPED, uptime_seconds=uptime_seconds)
    return 0


async def _serve(
    config: ServeConfig,
    signals: Signals,
    metrics: Metrics,
    writer: Writer,
    connection_limits: ConnectionLimits,
) -> None:
    log = structlog.get_logger()
    readiness = Readiness(metrics, config.database, writer)
    ops_socket = None if config.ops_address is None else listen(config.ops_address, "--ops-addr")
    async with ops.serving(ops_socket, readiness.metrics_text, readiness.unready_reason):
        keyring, read_token = Keyring(config.hmac_keys), ReadToken(config.read_token)
        use_cases = UseCases(writer, keyring, read_token, config.max_token_ttl_seconds)
        policy = _policy(config, metrics)
        # before the database is opened: if the address is taken, it stays untouched
        check_free(config.address, FLAG)
        if config.migrate:
            await run_until(signals.stop, connections.migrate_database(config.database))
        server = Server(use_cases, config.address, config.tls, policy, connection_limits)
        # the database before calls are taken, in one task: its context is that of every handler
        async with (
            connections.open_store(config.database),
            writing(writer),
            _deleting_expired(config.retention_seconds, writer),
        ):
            metrics.watch_queue(lambda: writer.waiting_count, lambda: writer.waiting_bytes)
            reload = rotation(config, use_cases, server, metrics)
            await server.start()
            readiness.reason = None
            log.info(
                events.SERVER_STARTED,
                address=server.address,
                ops_address=_shown(config.ops_address, ops_socket),
                database=config.database.kind,
                version=version("runmeter-receiver"),
            )
            reloading = asyncio.create_task(reload.follow(signals.hung_up))
            name = await signals.first()
            reloading.cancel()
            grace_seconds = config.shutdown_timeout_seconds
            log.info(events.SHUTDOWN_REQUESTED, signal=name, grace_seconds=grace_seconds)
            readiness.reason = "it is shutting down"
            await server.drain(grace_seconds)


def _shown(address: Address | None, sock: socket.socket | None) -> str | None:
    """Return the address of the pages with the port that was bound."""
    if address is None or sock is None:
        return None
    return str(Address(address.host or EVERYWHERE, sock.getsockname()[1]))


def _allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: the usual 1024 is too low."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _policy(config: ServeConfig, metrics: Metrics) -> Policy:
    mutual = config.tls is not None and config.tls.client_ca is not None
    return Policy(
        max_message_bytes=config.max_message_bytes,
        call_seconds=config.call_timeout_seconds,
        callers=Callers(config.trusted_peers, trust_all=mutual),
        failures=Failures(config.max_auth_failures),
        metrics=metrics,
    )


@asynccontextmanager
async def _deleting_expired(retention_seconds: float | None, writer: Writer) -> AsyncIterator[None]:
    """Delete old runs while the receiver serves."""
    if retention_seconds is None:
        yield
        return
    task = asyncio.create_task(keep_retention(retention_seconds, writer))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
