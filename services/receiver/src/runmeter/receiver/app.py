"""Composition and life of the program: start, serve until a signal, end in order."""

import asyncio
import functools
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar

import structlog

from runmeter.receiver import events
from runmeter.receiver.admin import commands
from runmeter.receiver.admin.streams import Stop
from runmeter.receiver.config import (
    ExportConfig,
    ImportConfig,
    MigrateConfig,
    PruneConfig,
    ServeConfig,
)
from runmeter.receiver.ingest import Ingest
from runmeter.receiver.metrics import Metrics
from runmeter.receiver.peers import Callers
from runmeter.receiver.query import GroupQuery, RunQuery
from runmeter.receiver.readiness import Ops, serving
from runmeter.receiver.retention import Clocks, keep_retention
from runmeter.receiver.rotation import Rotation, warn_of_short_keys
from runmeter.receiver.rpc.failures import Failures
from runmeter.receiver.rpc.interceptors import Policy
from runmeter.receiver.rpc.server import CONNECTION_LIMITS, ConnectionLimits, Server, check_address
from runmeter.receiver.rpc.servicers import PUSH_METHODS, READ_METHODS, UseCases
from runmeter.receiver.store import connections, expiry, groups, probes, runs
from runmeter.receiver.store.database import Database
from runmeter.receiver.store.writer import Writer
from runmeter.receiver.tokens import Keyring, ReadToken

WRITER_END_SECONDS = 1.0
COMMAND_END_SECONDS = 3.0
_T = TypeVar("_T")
CLOCKS = Clocks(time.time, time.monotonic)


async def migrate(config: MigrateConfig) -> int:
    """Bring the schema up to date; return the exit status."""
    await commands.migrate(config.database)
    return 0


async def prune(config: PruneConfig) -> int:
    """Delete what is old; return the exit status."""
    return await commands.prune(config, _run_command, CLOCKS)


async def export_runs(config: ExportConfig) -> int:
    """Write all runs to standard output; return the exit status."""
    return await commands.export_runs(config, _run_command, CLOCKS)


async def import_runs(config: ImportConfig) -> int:
    """Store what a file or standard input holds; return the exit status."""
    return await commands.import_runs(config, _run_command, CLOCKS, _writing)


async def _run_command(work: commands.Work) -> int:
    """Do the work of a command, and tell it of the first signal; return the exit status.

    A statement that still waits for a lock or a server some seconds later is not waited for.
    """
    stop = _Signals().stop

    def give_up() -> NoReturn:
        number = signal.Signals[stop.result()]
        _end_at_once(f"{number.name}, and a statement does not end", 128 + number)

    return await _unless_it_hangs(work(stop), stop, COMMAND_END_SECONDS, give_up)


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
    signals, hangup = _Signals(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    log = structlog.get_logger()
    warn_of_short_keys(config.hmac_keys)
    _allow_many_connections()
    metrics = Metrics(version("runmeter-receiver"), (*PUSH_METHODS, *READ_METHODS))
    writer = make_writer(on_commit=metrics.committed)
    ops = Ops(
        metrics,
        lambda: probes.check_writable(config.database, writer.refused_bytes),
        functools.partial(probes.measure, config.database),
    )
    async with serving(ops, config.ops_address) as ops_address:
        use_cases = _use_cases(config, writer)
        policy = _policy(config, metrics)
        check_address(config.address)  # first: who finds it taken leaves the database alone
        if config.migrate:
            await _migrate_until(signals.stop, config.database)
        server = Server(use_cases, config.address, config.tls, policy, connection_limits)
        # the database before calls are taken, in one task: its context is that of every handler
        async with (
            connections.open_store(config.database),
            _writing(writer),
            _keeping(config.retention_seconds, writer),
        ):
            metrics.watch_queue(lambda: writer.waiting_count, lambda: writer.waiting_bytes)
            rotation = Rotation(config, use_cases, server, metrics)
            await server.start()
            ops.unready_reason = None
            log.info(
                events.SERVER_STARTED,
                address=server.address,
                ops_address=ops_address,
                database=config.database.kind,
                version=version("runmeter-receiver"),
            )
            rotating = asyncio.create_task(rotation.follow(hangup))
            name = await signals.first()
            rotating.cancel()
            grace_seconds = config.shutdown_timeout_seconds
            log.info(events.SHUTDOWN_REQUESTED, signal=name, grace_seconds=grace_seconds)
            ops.unready_reason = "it is shutting down"
            await server.drain(grace_seconds)
    uptime_seconds = round(time.monotonic() - started_seconds, 3)
    log.info(events.SERVER_STOPPED, uptime_seconds=uptime_seconds)
    return 0


async def _migrate_until(stop: Stop, database: Database) -> None:
    """Migrate; a signal is heeded at once, not when the wait for a lock or a large table ends."""

    def give_up() -> NoReturn:
        _end_at_once(f"{stop.result()} before the migration was done", 0)

    await _unless_it_hangs(commands.migrate(database), stop, 0.0, give_up)


async def _unless_it_hangs(
    work: Coroutine[Any, Any, _T],
    stop: Stop,
    patience_seconds: float,
    give_up: Callable[[], NoReturn],
) -> _T:
    """Do some work to its end, or give up so long after a signal.

    What was not committed is undone by the database, as after a SIGKILL.
    """
    task = asyncio.create_task(work)
    either: set[asyncio.Future[Any]] = {task, stop}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not (await asyncio.wait({task}, timeout=patience_seconds))[0]:
        give_up()
    return await task


def _allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: 1024, as often set, are few here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _use_cases(config: ServeConfig, writer: Writer) -> UseCases:
    return UseCases(
        ingest=Ingest(writer, time.time),
        query=RunQuery(runs.find_runs, runs.read_runs, time.time),
        groups=GroupQuery(groups.list_groups, time.time),
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
    """Run the writer's task, and end it when the calls are over and nobody waits any more.

    A transaction that hangs, on a lock or a slow disk, is not waited for: none of its pushes
    was acknowledged.
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
async def _keeping(retention_seconds: float | None, writer: Writer) -> AsyncIterator[None]:
    """Delete what is old as long as the receiver serves."""
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


class _Signals:
    """SIGTERM and SIGINT: the first asks to end, the second ends at once."""

    def __init__(self) -> None:
        self.stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._received, number)

    async def first(self) -> str:
        """Wait for a signal; return its name."""
        return await self.stop

    def _received(self, number: signal.Signals) -> None:
        if not self.stop.done():
            self.stop.set_result(number.name)
            return
        _end_at_once("a second signal", 128 + number)


def _end_at_once(reason: str, status: int) -> NoReturn:
    """End without order: what was acknowledged is committed."""
    structlog.get_logger().warning(events.SERVER_KILLED, reason=reason)
    sys.stderr.flush()
    os._exit(status)
