"""Start the parts of the program, serve until a signal, stop them in order."""

import asyncio
import functools
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar

import structlog

from runmeter.receiver import events
from runmeter.receiver.admin.streams import Stop
from runmeter.receiver.config import (
    ExportConfig,
    ImportConfig,
    MigrateConfig,
    PruneConfig,
    RenameConfig,
    ServeConfig,
)
from runmeter.receiver.ingest import Ingest
from runmeter.receiver.metrics import Metrics
from runmeter.receiver.query import GroupQuery, RunQuery
from runmeter.receiver.readiness import Readiness
from runmeter.receiver.retention import Clocks, keep_retention
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
from runmeter.receiver.store import connections, expiry, groups, names, probes, runs
from runmeter.receiver.store.database import Database
from runmeter.receiver.store.writer import Writer
from runmeter.receiver.tokens import Keyring, ReadToken
from runmeter.service import ops
from runmeter.service.signals import Signals
from runmeter.service.sockets import check_free, listen
from runmeter.service.values import Address

WRITER_END_SECONDS = 1.0
COMMAND_END_SECONDS = 3.0
_T = TypeVar("_T")
CLOCKS = Clocks(time.time, time.monotonic)


async def migrate(config: MigrateConfig) -> int:
    """Bring the schema up to date; return the exit status."""
    await connections.migrate_database(config.database)
    return 0


async def prune(config: PruneConfig) -> int:
    """Delete old runs; return the exit status."""
    from runmeter.receiver.admin import commands

    return await commands.prune(config, _run_command, CLOCKS)


async def rename(config: RenameConfig) -> int:
    """Give the runs of a repository its new name; return the exit status."""
    from runmeter.receiver.admin import commands

    return await commands.rename(config, _run_command, CLOCKS)


async def export_runs(config: ExportConfig) -> int:
    """Write all runs to standard output; return the exit status."""
    from runmeter.receiver.admin import commands

    return await commands.export_runs(config, _run_command, CLOCKS)


async def import_runs(config: ImportConfig) -> int:
    """Store the runs of a file or of standard input; return the exit status."""
    from runmeter.receiver.admin import commands

    return await commands.import_runs(config, _run_command, CLOCKS, _writing)


async def _run_command(work: Callable[[Stop], Coroutine[Any, Any, int]]) -> int:
    """Do the work of a command until it ends or a signal comes; return the exit status.

    After a signal the work has some seconds to end: a statement may wait for a lock or a server.
    """
    with Signals(_end_at_second, hangup=False) as signals:
        stop = signals.stop

        def give_up() -> NoReturn:
            number = signal.Signals[stop.result()]
            _end_at_once(f"{number.name} was received and a statement does not end", 128 + number)

        return await _end_or_give_up(work(stop), stop, COMMAND_END_SECONDS, give_up)


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
    with Signals(_end_at_second) as signals:
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
    readiness = Readiness(
        metrics,
        lambda: probes.check_writable(config.database, writer.refused_bytes),
        functools.partial(probes.measure, config.database),
    )
    ops_socket = None if config.ops_address is None else listen(config.ops_address, "--ops-addr")
    async with ops.serving(ops_socket, readiness.metrics_text, readiness.unready_reason):
        use_cases = _use_cases(config, writer)
        policy = _policy(config, metrics)
        # before the database is opened: if the address is taken, it stays untouched
        check_free(config.address, FLAG)
        if config.migrate:
            await _migrate_until(signals.stop, config.database)
        server = Server(use_cases, config.address, config.tls, policy, connection_limits)
        # the database before calls are taken, in one task: its context is that of every handler
        async with (
            connections.open_store(config.database),
            _writing(writer),
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


async def _migrate_until(stop: Stop, database: Database) -> None:
    """Migrate; a signal ends it at once, also while it waits for a lock."""

    def give_up() -> NoReturn:
        _end_at_once(f"{stop.result()} before the migration was done", 0)

    await _end_or_give_up(connections.migrate_database(database), stop, 0.0, give_up)


async def _end_or_give_up(
    work: Coroutine[Any, Any, _T],
    stop: Stop,
    wait_seconds: float,
    give_up: Callable[[], NoReturn],
) -> _T:
    """Do some work to its end, or give up some seconds after a signal.

    The database rolls back what was not committed, as after a SIGKILL.
    """
    task = asyncio.create_task(work)
    either: set[asyncio.Future[Any]] = {task, stop}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not (await asyncio.wait({task}, timeout=wait_seconds))[0]:
        give_up()
    return await task


def _allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: the usual 1024 is too low."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _use_cases(config: ServeConfig, writer: Writer) -> UseCases:
    return UseCases(
        ingest=Ingest(writer, time.time),
        query=RunQuery(runs.find_runs, runs.read_runs, names.find_names, time.time),
        groups=GroupQuery(groups.list_groups, names.find_names, time.time),
        keyring=Keyring(config.hmac_keys),
        read_token=ReadToken(config.read_token),
        max_token_ttl_seconds=config.max_token_ttl_seconds,
        clock=time.time,
    )


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
async def _writing(writer: Writer) -> AsyncIterator[Writer]:
    """Run the writer's task; end it when the calls are over.

    If a transaction hangs, on a lock or a slow disk, the program ends without it: none of its
    pushes was acknowledged.
    """
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        writer.abandon()
        if not (await asyncio.wait({task}, timeout=WRITER_END_SECONDS))[0]:
            _end_at_once("a transaction does not end", 1)
        await task


@asynccontextmanager
async def _deleting_expired(retention_seconds: float | None, writer: Writer) -> AsyncIterator[None]:
    """Delete old runs while the receiver serves."""
    if retention_seconds is None:
        yield
        return
    task = asyncio.create_task(
        keep_retention(retention_seconds, expiry.delete_expired, writer, CLOCKS)
    )
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _end_at_second(number: int) -> NoReturn:
    _end_at_once("a second signal", 128 + number)


def _end_at_once(reason: str, status: int) -> NoReturn:
    """End immediately: all acknowledged pushes are committed."""
    structlog.get_logger().warning(events.SERVER_KILLED, reason=reason)
    sys.stderr.flush()
    os._exit(status)
