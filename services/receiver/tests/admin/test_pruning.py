"""Deleting what is old: ``receiver prune``, ``--retention``, and how the writer fits it in."""

import asyncio
import concurrent.futures
import contextlib
import functools
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from rig.forks import Fork
from rig.receiver import Command, Fill, LineOf, Log, WithWriter, copied, push_id

from runmeter.receiver import events
from runmeter.receiver.admin import retrying
from runmeter.receiver.errors import ShuttingDown, StoreUnavailable
from runmeter.receiver.model import Push
from runmeter.receiver.store import expiry
from runmeter.receiver.store.writer import BATCH_MAX, Writer
from runmeter.v1 import run_pb2

DAY_MS = 86_400_000
RUNNING = 1


def now_ms() -> int:
    """Return the time as the receiver takes it."""
    return int(time.time() * 1000)


def pushed(message: run_pb2.Run, number: int) -> run_pb2.Run:
    """Return the golden run as one that is pushed."""
    return copied(message, push_id=push_id(10_000 + number), run_id="pushed")


def days_ago(line_of: LineOf, number: int, first: float, last: float, **changes: Any) -> bytes:
    """Make a run that was pushed first and last so many days ago."""
    now = now_ms()
    return line_of(number, now - int(first * DAY_MS), now - int(last * DAY_MS), **changes)


def names(kept: Any) -> list[str]:
    """Return the run_id of every run."""
    return sorted(kept.column("SELECT run_id FROM run"))


def test_old_runs_go_with_their_containers(
    kept: Any, fill: Fill, command: Command, line_of: LineOf, log: Log
) -> None:
    """Age counts from the last push; a running run that is not overdue stays at any age."""
    day = {"next_push_within_seconds": 86_400.0, "state": RUNNING}
    minute = {"next_push_within_seconds": 60.0, "state": RUNNING}
    fill(
        kept,
        [
            days_ago(line_of, 1, 95, 91, run_id="old"),
            days_ago(line_of, 2, 95, 89, run_id="old-but-pushed-again"),
            days_ago(line_of, 3, 89, 89, run_id="new"),
            days_ago(line_of, 4, 92, 91, run_id="running-not-overdue", **day),
            days_ago(line_of, 5, 92, 91, run_id="running-long-silent", **minute),
            days_ago(line_of, 6, 95, 0, run_id="running", **minute),
        ],
    )
    # three days of silence count as overdue after a day's promise
    kept.execute(f"UPDATE run SET silent_after_ms = {now_ms() + DAY_MS} WHERE run_id LIKE '%not%'")
    dry = command("prune", "--older-than=90d", f"--db={kept.where}", "--dry-run")
    (line,) = log(dry.stderr)
    assert (dry.returncode, line["event"], line["run_count"]) == (0, events.RUNS_COUNTED, 2)
    assert len(names(kept)) == 6
    done = command("prune", "--older-than=90d", f"--db={kept.where}")
    (line,) = log(done.stderr)
    assert (done.returncode, line["event"], line["run_count"]) == (0, events.RUNS_DELETED, 2)
    assert names(kept) == ["new", "old-but-pushed-again", "running", "running-not-overdue"]
    assert kept.column("SELECT COUNT(*) FROM run_container") == ["8"]
    orphans = "SELECT id FROM run_container WHERE run_id NOT IN (SELECT id FROM run)"
    assert kept.column(orphans) == []
    again = command("prune", "--older-than=90d", f"--db={kept.where}")
    assert log(again.stderr)[0]["run_count"] == 0


@pytest.mark.slow
def test_transactions_are_small(
    kept: Any, fill: Fill, command: Command, line_of: LineOf, log: Log
) -> None:
    """At most 500 runs, and 4 MiB of them, go in one transaction."""
    fill(kept, (days_ago(line_of, n, 9, 9) for n in range(1203)))
    done = command("prune", "--older-than=1d", f"--db={kept.where}")
    (line,) = log(done.stderr)
    assert (line["run_count"], line["transaction_count"]) == (1203, 3)
    fill(kept, (days_ago(line_of, n, 9, 9) for n in range(10)))
    kept.execute(f"UPDATE run SET payload_size_bytes = {3 * 2**20}")
    done = command("prune", "--older-than=1d", f"--db={kept.where}")
    (line,) = log(done.stderr)
    assert (line["run_count"], line["transaction_count"]) == (10, 10)


def test_old_runs_are_found_by_the_index(kept: Any, fill: Fill, line_of: LineOf) -> None:
    """Among many runs the old ones are found without reading the others."""
    fill(kept, (days_ago(line_of, n, 9, 9) for n in range(500)))
    statement = (
        "SELECT id, payload_size_bytes FROM run WHERE received_at_ms < 5 AND updated_at_ms < 5 "
        "AND (silent_after_ms IS NULL OR silent_after_ms < 9) ORDER BY received_at_ms LIMIT 500"
    )
    plan = kept.plan(statement)
    assert "run_received" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.slow
def test_pruning_beside_a_receiver_under_pushes(
    kept: Any,
    fill: Fill,
    start_receiver: Callable[..., Any],
    command: Command,
    message: run_pb2.Run,
    line_of: LineOf,
    log: Log,
) -> None:
    """While threads push, everything old goes in small transactions and every push is stored."""
    fill(kept, (days_ago(line_of, n, 9, 9) for n in range(3000)))
    receiver = start_receiver(f"--db={kept.where}")

    def push(thread: int) -> int:
        for n in range(50):
            assert receiver.push(pushed(message, 1000 * thread + n)).duplicate is False
        return 50

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        pushing = [pool.submit(push, thread) for thread in range(4)]
        done = command("prune", "--older-than=1d", f"--db={kept.where}")
        assert sum(future.result() for future in pushing) == 200
    assert done.returncode == 0, done.stderr
    line = log(done.stderr)[-1]
    assert line["run_count"] == 3000
    assert line["transaction_count"] >= 6
    assert names(kept) == ["pushed"] * 200
    assert kept.column("SELECT COUNT(*) FROM run_container") == ["400"]
    assert [x for x in receiver.events() if x["level"] not in ("info",)] == []


def test_a_receiver_with_retention_deletes_what_is_old(
    kept: Any,
    fill: Fill,
    start_receiver: Callable[..., Any],
    message: run_pb2.Run,
    line_of: LineOf,
) -> None:
    """It deletes from the start on, again later, and logs how many; pushes go on."""
    fill(kept, (days_ago(line_of, n, 3, 3) for n in range(700)))
    receiver = start_receiver(f"--db={kept.where}", "--retention=2d12h")
    receiver.push(pushed(message, 1))
    line = receiver.wait_for(events.RUNS_DELETED)
    assert (line["run_count"], line["transaction_count"]) == (700, 2)
    assert line["older_than_seconds"] == 2.5 * 86_400
    assert names(kept) == ["pushed"]
    assert receiver.end() == 0


def test_retention_goes_on(
    kept: Any, fill: Fill, start_receiver: Callable[..., Any], line_of: LineOf
) -> None:
    """What grows old while the receiver serves is deleted as well."""
    receiver = start_receiver(f"--db={kept.where}", "--migrate", "--retention=1s")
    for _ in range(2):
        fill(kept, [line_of(1)])
        assert receiver.wait_for(events.RUNS_DELETED)["run_count"] == 1
    assert receiver.end() == 0


def test_a_locked_database_is_waited_for(
    make_kept: Callable[[str], Any], fill: Fill, line_of: LineOf, log: Log
) -> None:
    """Prune logs the lock, tries again, and succeeds when it is released."""
    kept = make_kept("sqlite")
    fill(kept, (days_ago(line_of, n, 9, 9) for n in range(10)))
    with contextlib.closing(sqlite3.connect(kept.where, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        line = ["receiver", "prune", "--older-than=1d"]
        line += [f"--db={kept.where}", "--log-format=json"]
        with Fork(line, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            (failed,) = log(process.stderr.readline())
            assert failed["event"] == events.DATABASE_FAILED
            assert failed["reason"] == "it is locked by another process"
            blocker.execute("ROLLBACK")
            assert log(process.stderr.read())[-1]["run_count"] == 10
            assert process.wait() == 0
    assert names(kept) == []


def test_a_signal_ends_it_between_transactions(
    kept: Any, fill: Fill, line_of: LineOf, log: Log
) -> None:
    """What was deleted stays deleted; the last line has how many and the signal."""
    fill(kept, (days_ago(line_of, n, 9, 9) for n in range(600)))
    # every run alone in its transaction: there is time for a signal
    kept.execute(f"UPDATE run SET payload_size_bytes = {5 * 2**20}")
    line = ["receiver", "prune", "--older-than=1d"]
    line += [f"--db={kept.where}", "--log-format=json"]
    with Fork(line, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while kept.column("SELECT COUNT(*) FROM run") == ["600"]:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        (ended,) = log(process.stderr.read())
        assert process.wait() == 128 + signal.SIGTERM
    assert ended["signal"] == "SIGTERM"
    assert 0 < ended["run_count"] < 600
    assert len(names(kept)) == 600 - ended["run_count"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["prune", "--older-than=1s"],
        ["prune", "--older-than=1s", "--dry-run"],
        ["export"],
        ["import"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_signal_while_a_statement_waits(
    make_kept: Callable[[str], Any],
    fill: Fill,
    line_of: LineOf,
    export_of: Callable[[Iterable[bytes]], bytes],
    arguments: list[str],
) -> None:
    """The program ends although another transaction has the lock, and nothing is half done."""
    kept = make_kept("postgres")
    fill(kept, [days_ago(line_of, 1, 9, 9)])
    line = ["receiver", *arguments, f"--db={kept.where}"]

    async def end_it() -> int:
        lock = await asyncpg.connect(kept.where)
        async with lock.transaction():
            await lock.execute("LOCK TABLE run")
            with Fork(
                line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as process:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError), process.stdin:
                    process.stdin.write(export_of([line_of(2)]))
                while not await lock.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'run'::regclass"
                ):
                    assert process.poll() is None
                process.send_signal(signal.SIGTERM)
                status = process.wait(30)
        await lock.close()
        return status

    assert asyncio.run(end_it()) == 128 + signal.SIGTERM
    assert kept.column("SELECT COUNT(*) FROM run") == ["1"]


@pytest.mark.parametrize("until_seconds", [0.3, 60.0])
def test_patience(monkeypatch: pytest.MonkeyPatch, until_seconds: float) -> None:
    """Work with an unavailable database is tried again until the time is over."""
    monkeypatch.setattr(retrying, "RETRY_SECONDS", 1.0)
    monkeypatch.setattr(retrying, "REST_SECONDS", 0.01)
    started = time.monotonic()
    tries = []

    async def work() -> str:
        tries.append(time.monotonic() - started)
        if tries[-1] < until_seconds:
            raise StoreUnavailable("it is away")
        return "done"

    async def tried() -> str:
        return await retrying.retry_while_unavailable(
            work, asyncio.get_running_loop().create_future()
        )

    if until_seconds < 1:
        assert asyncio.run(tried()) == "done"
        return
    with pytest.raises(StoreUnavailable):
        asyncio.run(tried())
    assert tries[-1] >= 1.0
    assert len(tries) > 12


def test_runs_that_are_being_written_are_left_alone(postgres: Any, with_writer: WithWriter) -> None:
    """On PostgreSQL a run that another transaction holds is not waited for."""
    url = postgres.create_database()

    async def use(writer: Writer) -> None:
        for number in range(3):
            postgres.execute(
                "INSERT INTO run (organization, repository, workflow, job, push_id, run_id, state,"
                " revision, received_at_ms, updated_at_ms, started_at_ms, "
                "duration_seconds, payload_size_bytes, payload) VALUES "
                f"('o', 'o/r', 'w', 'j', '{number}', '', 3, 1, 5, 5, 0, 0, 0, '')",
                database=url,
            )
        other = await asyncpg.connect(url)
        try:
            async with other.transaction():
                await other.execute("SELECT 1 FROM run WHERE push_id = '1' FOR UPDATE")
                assert await expiry.delete_expired(2000, 2000) == 2
                assert await expiry.delete_expired(2000, 2000) == 0
            assert await expiry.delete_expired(2000, 2000) == 1
        finally:
            await other.close()

    with_writer(url, use)


# -- the writer ---------------------------------------------------------------------------


@pytest.fixture
def push_of(make: Callable[..., Push]) -> Callable[[int], Push]:
    """Make pushes of the golden run as many runs."""
    return lambda number: make(push_id=push_id(number))


def test_pushes_go_before_chores_but_not_for_ever(
    kept: Any, push_of: Callable[[int], Push], with_writer: WithWriter
) -> None:
    """A chore is done at once, or after eight batches while pushes wait."""

    async def count() -> int:
        return await expiry.count_expired(2000, 2000)

    async def use(writer: Writer) -> None:
        pushes = [asyncio.create_task(writer.write(push_of(n))) for n in range(12 * BATCH_MAX)]
        await asyncio.sleep(0)  # each has handed its push over
        assert await writer.between_pushes(count) == 8 * BATCH_MAX
        await asyncio.gather(*pushes)
        assert await writer.between_pushes(count) == 12 * BATCH_MAX

    with_writer(kept.where, use)


def test_a_chore_that_fails_fails_alone(
    kept: Any, push_of: Callable[[int], Push], with_writer: WithWriter
) -> None:
    """Its caller gets the error; pushes go on, over a connection that works."""
    delete = functools.partial(expiry.delete_expired, 2000, 2000)

    async def use(writer: Writer) -> None:
        await writer.write(push_of(1))
        kept.execute("ALTER TABLE run_container RENAME TO gone")
        with pytest.raises(StoreUnavailable):
            await writer.between_pushes(delete)
        kept.execute("ALTER TABLE gone RENAME TO run_container")
        await writer.write(push_of(2))
        assert await writer.between_pushes(delete) == 2
        assert await writer.between_pushes(delete) == 0
        writer.abandon()
        with pytest.raises(ShuttingDown):
            await writer.between_pushes(delete)

    with_writer(kept.where, use)


def test_a_cancelled_chore_is_finished(
    kept: Any, push_of: Callable[[int], Push], with_writer: WithWriter
) -> None:
    """If the caller is cancelled the transaction is finished, and writing goes on."""
    delete = functools.partial(expiry.delete_expired, 2000, 2000)

    async def use(writer: Writer) -> None:
        for turns in range(12):
            await writer.write(push_of(turns))
            chore = asyncio.create_task(writer.between_pushes(delete))
            for _ in range(turns):
                await asyncio.sleep(0)
            chore.cancel()
            await asyncio.wait({chore})
        await writer.write(push_of(100))
        await writer.between_pushes(delete)
        assert kept.column("SELECT COUNT(*) FROM run") == ["0"]

    with_writer(kept.where, use)
