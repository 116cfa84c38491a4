"""The commands prune, rename, export and import: each returns the exit status.

A signal ends each of them cleanly, unless the database hangs.
"""

import functools
import os
import signal
import stat
import sys
import time
from collections.abc import Coroutine
from typing import Any, NamedTuple, TextIO

import structlog

from runmeter.receiver import events
from runmeter.receiver.admin.batches import Batches
from runmeter.receiver.admin.exporting import Exporting
from runmeter.receiver.admin.importing import Importing
from runmeter.receiver.admin.progress import Progress
from runmeter.receiver.admin.streams import Lines, wait_or_stop
from runmeter.receiver.config import DatabaseConfig, ImportConfig, PruneConfig, RenameConfig
from runmeter.receiver.ending import Stop, run_command, writing
from runmeter.receiver.errors import Interrupted, StoreUnavailable, StreamUnusable
from runmeter.receiver.retention import bounds
from runmeter.receiver.store import connections, expiry, renaming
from runmeter.receiver.store.writer import Writer
from runmeter.service.errors import ConfigurationError

_UNREAD = 128 + signal.SIGPIPE


async def migrate(config: DatabaseConfig) -> int:
    """Bring the schema up to date; return the exit status."""
    await connections.migrate_database(config.database)
    return 0


async def prune(config: PruneConfig) -> int:
    """Delete old runs; return the exit status."""
    progress = Progress("deleting", _terminal())

    async def work(stop: Stop) -> int:
        async with connections.open_store(config.database, serving=False):
            if config.dry_run:
                count = wait_or_stop(stop, _count(config.older_than_seconds))
                return (await _finished(count, progress)).status
            job = Batches(progress)
            delete = functools.partial(expiry.delete_expired, *bounds(config.older_than_seconds))
            outcome = await _finished(job.run(delete, stop), progress)
        structlog.get_logger().info(
            events.RUNS_DELETED,
            **job.done._asdict(),
            older_than_seconds=config.older_than_seconds,
            **outcome.facts,
        )
        return outcome.status

    return await run_command(work)


async def _count(older_than_seconds: float) -> None:
    run_count = await expiry.count_expired(*bounds(older_than_seconds))
    structlog.get_logger().info(
        events.RUNS_COUNTED, run_count=run_count, older_than_seconds=older_than_seconds
    )


async def rename(config: RenameConfig) -> int:
    """Give the runs of a repository its new name; return the exit status."""
    progress = Progress("renaming", _terminal())
    names = {"from": config.rename.source, "to": config.rename.target}

    async def work(stop: Stop) -> int:
        job = Batches(progress)

        async def count_or_rename() -> None:
            counted = await wait_or_stop(stop, renaming.count(config.rename))
            if config.dry_run:
                structlog.get_logger().info(events.RUNS_COUNTED, **counted._asdict(), **names)
            else:
                await job.run(functools.partial(renaming.rename_some, config.rename), stop)

        async with connections.open_store(config.database, serving=False):
            outcome = await _finished(count_or_rename(), progress)
        if not config.dry_run:
            structlog.get_logger().info(
                events.RUNS_RENAMED, **job.done._asdict(), **names, **outcome.facts
            )
        return outcome.status

    return await run_command(work)


async def export_runs(config: DatabaseConfig) -> int:
    """Write all runs to standard output; return the exit status."""
    # the database would get its descriptor, and the export would overwrite it
    if sys.stdout is None:
        raise StreamUnusable("write standard output", "it is closed")
    # in a pipe, the reading program shows progress
    shown = _terminal() if stat.S_ISREG(os.fstat(1).st_mode) else None
    progress = Progress("exporting", shown)

    async def work(stop: Stop) -> int:
        async with connections.open_store(config.database, serving=False):
            job = Exporting(progress)
            outcome = await _finished(job.run(stop), progress)
        if outcome.status != _UNREAD:
            structlog.get_logger().info(
                events.RUNS_EXPORTED, run_count=job.run_count, **outcome.facts
            )
        return outcome.status

    return await run_command(work)


async def import_runs(config: ImportConfig) -> int:
    """Store the runs of a file or standard input; return the exit status."""
    descriptor = _opened(config.source)
    if config.migrate:
        await connections.migrate_database(config.database)
    progress = Progress("importing", _terminal())

    async def work(stop: Stop) -> int:
        async with (
            connections.open_store(config.database, serving=False),
            writing(Writer()) as writer,
        ):
            read = Lines(descriptor).read
            job = Importing(read, writer, config.skip_bad, config.rename, progress)
            outcome = await _finished(job.run(stop), progress)
        structlog.get_logger().info(
            events.RUNS_IMPORTED, **job.counts._asdict(), complete=job.complete, **outcome.facts
        )
        return outcome.status or (0 if job.complete else 1)

    return await run_command(work)


class _Outcome(NamedTuple):
    status: int
    facts: dict[str, object]


async def _finished(work: Coroutine[Any, Any, None], progress: Progress) -> _Outcome:
    """Do the work of a command; return its exit status and facts to log."""
    started_seconds = time.monotonic()
    status = 0
    facts: dict[str, object] = {}
    try:
        await work
    except Interrupted as interrupted:
        status = 128 + signal.Signals[interrupted.signal_name]
        facts["signal"] = interrupted.signal_name
    except StoreUnavailable:
        status = 1  # it is logged
    except BrokenPipeError:
        status = _UNREAD
    finally:
        progress.close()
    facts["duration_seconds"] = round(time.monotonic() - started_seconds, 3)
    return _Outcome(status, facts)


def _terminal() -> TextIO | None:
    return sys.stderr if sys.stderr.isatty() else None


def _opened(source: str | None) -> int:
    """Return a descriptor to read from; it stays open until the program ends."""
    if source is None:
        if sys.stdin is None:
            raise StreamUnusable("read standard input", "it is closed")
        if os.isatty(0):
            raise ConfigurationError(
                "name the file to import, or pipe an export in: receiver import runs.jsonl"
            )
        return 0
    try:
        return os.open(source, os.O_RDONLY)
    except OSError as error:
        raise StreamUnusable(f"read {source}", error.strerror or str(error)) from error
