"""runmeter.receiver.store and .writer on real SQLite files."""

import asyncio
import importlib
import random
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from runmeter.receiver import store
from runmeter.receiver.databases import Database, parse_database
from runmeter.receiver.errors import (
    Busy,
    DatabaseUnusable,
    PushConflict,
    ShuttingDown,
    StoreUnavailable,
)
from runmeter.receiver.model import (
    Push,
    Receipt,
    Run,
    RunFilter,
    RunState,
    Scope,
    content_digest,
    push_rank,
)
from runmeter.receiver.wire import writing
from runmeter.receiver.writer import Writer
from runmeter.v1 import run_pb2

ALL = frozenset(RunState)
IDS = [f"00000000-0000-4000-8000-{n:012x}" for n in range(200)]
MakePush = Callable[..., Push]


@pytest.fixture
def make(message: run_pb2.Run, read: Callable[..., Run]) -> MakePush:
    """Make a push of the golden run with some fields changed."""
    golden = read(message)

    def push(arrived_at_ms: int = 1000, **changes: Any) -> Push:
        run = golden._replace(**changes)
        return Push(run, content_digest(run), writing.run_bytes(run), arrived_at_ms)

    return push


def with_writer(
    database: Database, use: Callable[[Writer], Awaitable[None]], **limits: int
) -> None:
    """Migrate and open the database, run a writer, use it, end it."""

    async def run() -> None:
        await store.migrate_database(database)
        async with store.open_store(database):
            writer = Writer(**limits)
            task = asyncio.create_task(writer.run())
            try:
                await use(writer)
            finally:
                writer.close()
                await task

    asyncio.run(run())


async def listed(
    scope: Scope, now_ms: int = 10**6, states: frozenset[RunState] = ALL, **bounds: Any
) -> list[Any]:
    """Return what a query finds."""
    defaults: dict[str, Any] = dict.fromkeys(("before_id", "since_ms", "until_ms", "run_id"))
    wanted = RunFilter(scope=scope, states=states, **{**defaults, "limit": 1000, **bounds})
    return await store.find_runs(wanted, now_ms)


@contextmanager
def opened(database: Database) -> Iterator[sqlite3.Connection]:
    """Look into a database from outside."""
    connection = sqlite3.connect(database.location)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def indexes(connection: sqlite3.Connection, table: str) -> dict[tuple[str, ...], bool]:
    """Return the columns of each index of a table, and whether it is unique."""
    return {
        tuple(row[2] for row in connection.execute(f'PRAGMA index_info("{name}")')): bool(unique)
        for _, name, unique, *_ in connection.execute(f'PRAGMA index_list("{table}")')
    }


SCOPE_COLUMNS = ("organization", "repository", "workflow", "job")


def assert_schema(database: Database) -> None:
    """Check the indexes that queries and pushes live by."""
    with opened(database) as connection:
        run = indexes(connection, "run")
        assert run[(*SCOPE_COLUMNS, "id")] is False
        assert run[("push_id", *SCOPE_COLUMNS)] is True
        assert run[("received_at_ms",)] is False
        assert ("run_id",) in indexes(connection, "run_container")
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA page_size").fetchone() == (8192,)


def test_migrating_makes_the_schema_once(database: Database) -> None:
    """A new file gets every migration, tables with their indexes; a second time nothing."""
    names = {
        path.stem
        for path in Path(importlib.import_module("runmeter.receiver.migrations").__path__[0]).glob(
            "0*.py"
        )
    }
    assert set(asyncio.run(store.migrate_database(database))) == names
    assert_schema(database)
    assert asyncio.run(store.migrate_database(database)) == []
    assert_schema(database)


def test_a_database_of_the_first_schema_keeps_rows_and_indexes(
    database: Database, make: MakePush
) -> None:
    """A file in the state of the first migration, with rows, is brought up to date."""
    first = sqlite3.connect(database.location)
    first.executescript((Path(__file__).parent / "schema_0001.sql").read_text())
    push = make()
    columns = {
        **push.run.scope._asdict(),
        "push_id": push.run.push_id,
        "run_id": push.run.run_id,
        "state": 3,
        "revision": 4,
        "digest": push.digest,
        "received_at_ms": 5,
        "updated_at_ms": 6,
        "started_at_ms": 7,
        "duration_seconds": 8.0,
        "payload_size_bytes": len(push.payload),
        "payload": push.payload,
    }
    marks = ", ".join("?" * len(columns))
    first.execute(f"INSERT INTO run ({', '.join(columns)}) VALUES ({marks})", [*columns.values()])
    first.commit()
    first.close()

    async def use(writer: Writer) -> None:
        assert await writer.write(push) == Receipt(1, duplicate=True)
        assert (await store.read_runs([1], 0))[1].payload == push.payload
        assert (await listed(push.run.scope))[0][3:5] == (5, 6)

    with_writer(database, use)
    with opened(database) as connection:
        run = indexes(connection, "run")
        assert run[(*SCOPE_COLUMNS, "id")] is False
        assert run[("push_id", *SCOPE_COLUMNS)] is True
        assert run[("received_at_ms",)] is False
        assert ("run_id",) in indexes(connection, "run_container")


def test_schema_file_is_what_the_first_migration_makes(database: Database) -> None:
    """The recorded first schema is the real one: no test migrates from an invented state."""
    asyncio.run(store.migrate_database(database))
    with opened(database) as connection:
        query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        made = {_plain(sql) for (sql,) in connection.execute(query)}
    with contextmanager(lambda: iter([sqlite3.connect(":memory:")]))() as fresh:
        fresh.executescript((Path(__file__).parent / "schema_0001.sql").read_text())
        recorded = {_plain(sql) for (sql,) in fresh.execute(query)}
        fresh.close()
    assert recorded <= made


def _plain(sql: str) -> str:
    return " ".join(sql.replace("IF NOT EXISTS ", "").split())


def test_queries_use_the_index_and_do_not_sort(database: Database, make: MakePush) -> None:
    """The documented query walks the index of the scope backwards."""

    async def use(writer: Writer) -> None:
        await writer.write(make())

    with_writer(database, use)
    with opened(database) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT id, state FROM run WHERE organization='o' AND "
            "repository='o/r' AND workflow='w' AND job='j' AND id < 9 AND (state = 3 OR state = 2 "
            "OR (state = 1 AND silent_after_ms < 7)) ORDER BY id DESC LIMIT 51"
        ).fetchall()
    text = " ".join(row[3] for row in plan)
    assert "run_scope" in text
    assert "TEMP B-TREE" not in text


def test_pushes_are_looked_up_by_an_index(database: Database) -> None:
    """Finding out whether a run is stored does not read the table."""
    asyncio.run(store.migrate_database(database))
    with opened(database) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT id, state FROM run WHERE push_id IN ('a', 'b')"
        ).fetchall()
    text = " ".join(row[3] for row in plan)
    assert "SEARCH run USING" in text
    assert "(push_id=?)" in text


def test_an_acknowledged_run_is_answered_as_it_was(database: Database, make: MakePush) -> None:
    """Payload, times and figures are in the file once write has returned."""
    push = make(arrived_at_ms=1234)

    async def use(writer: Writer) -> None:
        assert await writer.write(push) == Receipt(1, duplicate=False)
        stored = (await store.read_runs([1], 0))[1]
        assert stored == (1, RunState.COMPLETED, 1234, 1234, push.payload)
        with opened(database) as connection:
            figures = connection.execute(
                "SELECT duration_seconds, cpu_peak_percent, cpu_p95_percent, mem_peak_bytes, "
                "mem_p95_bytes, started_at_ms FROM run"
            ).fetchall()
            assert figures == [
                (20.005, 61.25, 61.25, 5368709120, 5368709120, push.run.payload.start_time_ms)
            ]
            rows = connection.execute(
                "SELECT name, cpu_seconds, cpu_peak_cores, cpu_p95_cores, memory_peak_bytes, "
                "memory_p95_bytes FROM run_container ORDER BY id"
            ).fetchall()
            assert rows == [
                ("runner", 30.0075, 2.007, 2.004, 18567168, 18567168),
                ("sidecar", None, None, None, 4096, 4096),
            ]

    with_writer(database, use)


def test_a_later_push_replaces_and_an_earlier_one_changes_nothing(
    database: Database, make: MakePush
) -> None:
    """One id, received_at of the first arrival, updated_at of the last change."""
    state = RunState.RUNNING
    containers = make().run.payload.containers
    payload = make().run.payload._replace(containers=containers[:1])

    async def use(writer: Writer) -> None:
        first = make(1000, state=state, revision=1)
        later = make(2000, state=state, revision=2, payload=payload)
        assert await writer.write(first) == Receipt(1, duplicate=False)
        assert await writer.write(later) == Receipt(1, duplicate=False, replaced=True)
        assert await writer.write(first._replace(arrived_at_ms=3000)) == Receipt(1, duplicate=True)
        assert await writer.write(later._replace(arrived_at_ms=4000)) == Receipt(1, duplicate=True)
        with pytest.raises(PushConflict):
            await writer.write(make(5000, state=state, revision=2, run_id="another"))
        assert (await store.read_runs([1], 0))[1] == (1, state, 1000, 2000, later.payload)
        with opened(database) as connection:
            assert connection.execute("SELECT name FROM run_container").fetchall() == [("runner",)]

    with_writer(database, use)


def test_times_of_a_run_never_go_back(database: Database, make: MakePush) -> None:
    """With a clock set back, updated_at stays at or after received_at."""

    async def use(writer: Writer) -> None:
        await writer.write(make(5000, revision=1))
        await writer.write(make(10, revision=2))
        assert (await store.read_runs([1], 0))[1][2:4] == (5000, 5000)

    with_writer(database, use)


def test_a_push_id_counts_within_its_scope(database: Database, make: MakePush) -> None:
    """The same push_id in other scopes is other runs; nested organizations stay apart."""
    scopes = [Scope("a", "a/b/c", "w", "j"), Scope("a/b", "a/b/c", "w", "j")]
    scopes += [Scope("A", "a/b/c", "w", "j"), Scope("a", "a/b/c", "w", "J")]

    async def use(writer: Writer) -> None:
        receipts = [await writer.write(make(scope=scope)) for scope in scopes]
        assert receipts == [Receipt(n, duplicate=False) for n in (1, 2, 3, 4)]
        assert [[run.id for run in await listed(scope)] for scope in scopes] == [[1], [2], [3], [4]]

    with_writer(database, use)


def test_filters(database: Database, make: MakePush) -> None:
    """Times of arrival, run_id, keyset and limit + 1, newest first."""

    async def use(writer: Writer) -> None:
        for n in range(5):
            await writer.write(make(n * 10, push_id=IDS[n], run_id=f"r{n % 2}"))
        scope = make().run.scope

        async def ids(**bounds: Any) -> list[int]:
            return [run.id for run in await listed(scope, **bounds)]

        assert await ids() == [5, 4, 3, 2, 1]
        assert await ids(limit=2) == [5, 4, 3]
        assert await ids(before_id=3) == [2, 1]
        assert await ids(since_ms=20) == [5, 4, 3]
        assert await ids(until_ms=20) == [2, 1]
        assert await ids(run_id="r1") == [4, 2]
        assert await ids(since_ms=10, until_ms=40, run_id="r1", before_id=4) == [2]
        assert await ids(states=frozenset([RunState.RUNNING])) == []

    with_writer(database, use)


def test_silent_runs_are_interrupted_in_every_filter(database: Database, make: MakePush) -> None:
    """A RUNNING run silent for too long is found as INTERRUPTED and no longer as RUNNING."""

    async def use(writer: Writer) -> None:
        running = {"state": RunState.RUNNING, "next_push_within_seconds": None}
        await writer.write(make(0, push_id=IDS[1], **running))
        running["next_push_within_seconds"] = 1.0
        await writer.write(make(0, push_id=IDS[2], **running))
        await writer.write(make(0, push_id=IDS[3], state=RunState.INTERRUPTED))
        await writer.write(make(0, push_id=IDS[4], state=RunState.COMPLETED))
        scope = make().run.scope
        for now_ms, expected in ((3000, {1: [1, 2], 2: [3]}), (3001, {1: [1], 2: [2, 3]})):
            for states in ({1}, {2}, {3}, {1, 2}, {2, 3}, {1, 3}, {1, 2, 3}):
                wanted = frozenset(map(RunState, states))
                runs = await listed(scope, now_ms, wanted)
                ids = {i for state in states for i in {**expected, 3: [4]}[state]}
                assert {run.id for run in runs} == ids
                assert {run.state for run in runs} <= wanted
                stored = await store.read_runs(ids, now_ms)
                assert {i: s.state for i, s in stored.items()} == {r.id: r.state for r in runs}

    with_writer(database, use)


def test_any_interleaving_ends_with_the_greatest(database: Database, make: MakePush) -> None:
    """Sets of pushes in any order, repeated, at once: the greatest stays, receipts are true."""
    source = random.Random(20260206)

    async def use(writer: Writer) -> None:
        for number in range(60):
            pushes = [
                make(
                    n,
                    push_id=IDS[number],
                    state=source.choice(list(RunState)),
                    revision=source.randint(1, 4),
                )
                for n in range(source.randint(1, 6))
            ]
            sent = pushes + source.choices(pushes, k=3)
            source.shuffle(sent)
            receipts = await asyncio.gather(*map(writer.write, sent))
            assert len({receipt.id for receipt in receipts}) == 1
            best = max(push_rank(push.run.state, push.run.revision) for push in sent)
            found = [run for run in await listed(make().run.scope, 0) if run.id == receipts[0].id]
            assert push_rank(found[0].state, found[0].revision) == best
            high = None
            for push, receipt in zip(sent, receipts, strict=True):
                rank = push_rank(push.run.state, push.run.revision)
                assert receipt.duplicate == (high is not None and rank <= high)
                high = rank if high is None else max(rank, high)

    with_writer(database, use)


def test_a_conflict_fails_alone(database: Database, make: MakePush) -> None:
    """In a batch with a conflicting push all others are stored."""

    async def use(writer: Writer) -> None:
        await writer.write(make(push_id=IDS[0]))
        pushes = [make(push_id=IDS[n]) for n in range(1, 30)]
        pushes.insert(10, make(push_id=IDS[0], run_id="another"))
        answers = await asyncio.gather(*map(writer.write, pushes), return_exceptions=True)
        assert isinstance(answers.pop(10), PushConflict)
        assert [answer.duplicate for answer in answers] == [False] * 29
        assert len(await listed(make().run.scope)) == 30

    with_writer(database, use)


def test_a_bad_row_fails_alone(database: Database, make: MakePush) -> None:
    """A row that the database refuses does not take its batch with it."""
    with_writer(database, _nothing)
    with opened(database) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON run WHEN NEW.run_id = 'bad' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )

    async def use(writer: Writer) -> None:
        pushes = [make(push_id=IDS[n], run_id="bad" if n == 7 else "good") for n in range(20)]
        answers = await asyncio.gather(*map(writer.write, pushes), return_exceptions=True)
        assert isinstance(answers.pop(7), StoreUnavailable)
        assert [answer.duplicate for answer in answers] == [False] * 19
        assert len(await listed(make().run.scope)) == 19
        assert await writer.write(make(push_id=IDS[50])) == Receipt(_any(), duplicate=False)

    with_writer(database, use)


class _any(int):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, int)

    __hash__ = int.__hash__


async def _nothing(writer: Writer) -> None:
    pass


def test_cancelled_callers_lose_nothing(database: Database, make: MakePush) -> None:
    """Callers that leave at any moment neither wedge the writer nor lose others' rows."""
    source = random.Random(7)

    async def use(writer: Writer) -> None:
        kept: list[int] = []
        for number in range(0, 200, 10):
            tasks = [
                asyncio.create_task(writer.write(make(push_id=IDS[number + n]))) for n in range(10)
            ]
            for _ in range(source.randrange(30)):
                await asyncio.sleep(0)
            for task in source.sample(tasks, 5):
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    kept.append((await task).id)
        assert len(kept) >= 100
        found = {run.id for run in await listed(make().run.scope)}
        assert set(kept) <= found
        assert len(found) == 200

    with_writer(database, use)


def test_too_many_waiting_pushes_are_refused(database: Database, make: MakePush) -> None:
    """Beyond the bound in number or in bytes a push is Busy at once; the others are stored."""

    async def use(writer: Writer) -> None:
        pushes = [make(push_id=IDS[n]) for n in range(5)]
        answers = await asyncio.gather(*map(writer.write, pushes), return_exceptions=True)
        assert [isinstance(answer, Busy) for answer in answers] == [False] * 3 + [True] * 2

    with_writer(database, use, waiting_max=3)
    (size,) = {len(make(push_id=IDS[n]).payload) for n in range(5)}
    with_writer(
        parse_database(database.location + "2"), use, waiting_max_bytes=3 * size + size // 2
    )


def test_a_push_that_is_alone_is_taken_whatever_its_size(
    database: Database, make: MakePush
) -> None:
    """A push above the bound in bytes is Busy while others wait, and stored when none does."""
    size = len(make().payload)

    async def use(writer: Writer) -> None:
        small = make(push_id=IDS[0])._replace(payload=b"small")
        large = make(push_id=IDS[1])
        answers = await asyncio.gather(*map(writer.write, (small, large)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Receipt, Busy]
        assert (await writer.write(large)).duplicate is False
        assert writer.waiting_bytes == 0

    with_writer(database, use, waiting_max_bytes=size - 1)


def test_a_closed_writer_takes_no_more_and_ends(database: Database, make: MakePush) -> None:
    """After close what waits is written; after abandon it is refused; both end the task."""

    async def run() -> None:
        await store.migrate_database(database)
        async with store.open_store(database):
            for end, kind in ((Writer.close, Receipt), (Writer.abandon, ShuttingDown)):
                writer = Writer()
                waiting = asyncio.create_task(writer.write(make(push_id=IDS[0])))
                await asyncio.sleep(0)
                end(writer)
                with pytest.raises(ShuttingDown):
                    await writer.write(make(push_id=IDS[1]))
                await writer.run()
                (answer,) = await asyncio.gather(waiting, return_exceptions=True)
                assert isinstance(answer, kind)

    asyncio.run(run())


def test_a_locked_database_is_unavailable_and_works_again(
    database: Database, make: MakePush
) -> None:
    """While another process holds the lock pushes are refused; after it they are stored."""

    async def use(writer: Writer) -> None:
        await writer.write(make(push_id=IDS[0]))
        blocker = sqlite3.connect(database.location, isolation_level=None)
        try:
            blocker.execute("BEGIN IMMEDIATE")
            answers = await asyncio.gather(
                *[writer.write(make(push_id=IDS[n])) for n in (1, 2)], return_exceptions=True
            )
            assert [str(answer.reason) for answer in answers] == [
                "it is locked by another process"
            ] * 2
            assert len(await listed(make().run.scope)) == 1
            blocker.execute("ROLLBACK")
        finally:
            blocker.close()
        assert (await writer.write(make(push_id=IDS[1]))).duplicate is False
        assert len(await listed(make().run.scope)) == 2

    with_writer(database, use)


def test_a_missing_table_is_unavailable_and_works_again(database: Database, make: MakePush) -> None:
    """Reads and writes fail as StoreUnavailable, and go on when the table is back."""

    async def use(writer: Writer) -> None:
        await writer.write(make(push_id=IDS[0]))
        with opened(database) as connection:
            connection.execute("ALTER TABLE run RENAME TO gone")
        with pytest.raises(StoreUnavailable):
            await writer.write(make(push_id=IDS[1]))
        with pytest.raises(StoreUnavailable):
            await listed(make().run.scope)
        with opened(database) as connection:
            connection.execute("ALTER TABLE gone RENAME TO run")
        await writer.write(make(push_id=IDS[1]))
        assert len(await listed(make().run.scope)) == 2

    with_writer(database, use)


def _folder(path: Path) -> str:
    path.mkdir()
    return str(path)


def _text_file(path: Path) -> str:
    path.write_text("this is no database, but long enough to have a header " * 5)
    return str(path)


def _under_a_file(path: Path) -> str:
    path.write_text("")
    return str(path / "metrics.db")


@pytest.mark.parametrize(
    ("prepare", "word"),
    [
        (_folder, "it is a folder"),
        (_text_file, "it is no SQLite database, or damaged"),
        (_under_a_file, "there is no folder"),
        (lambda path: "/proc/metrics.db", "must be able to create files in the folder /proc"),
        (lambda path: str(path / "no" / "metrics.db"), "there is no folder"),
    ],
)
def test_unusable_databases(tmp_path: Path, prepare: Callable[[Path], str], word: str) -> None:
    """Every unusable database is one sentence that says what to do."""
    database = parse_database(prepare(tmp_path / "x"))
    with pytest.raises(DatabaseUnusable, match=word) as caught:
        asyncio.run(store.migrate_database(database))
    assert str(caught.value).startswith(f"cannot use the database {database.location}: ")
    assert "\n" not in str(caught.value)


def test_an_old_schema_is_not_served(database: Database) -> None:
    """A database that is not migrated is unusable, and the sentence says how to migrate."""

    async def open_it() -> None:
        async with store.open_store(database):
            pass

    with pytest.raises(DatabaseUnusable, match="receiver migrate"):
        asyncio.run(open_it())


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_acknowledged_into_a_file_that_is_gone(
    database: Database, make: MakePush, replaced: bool
) -> None:
    """Removed or replaced while it is open, the file takes no more runs unnoticed."""

    async def use(writer: Writer) -> None:
        await writer.write(make())
        path = Path(database.location)
        kept = path.read_bytes()
        for found in path.parent.glob(f"{path.name}*"):
            found.unlink()
        if replaced:
            path.write_bytes(kept[:0])
        with pytest.raises(StoreUnavailable, match="moved, removed or replaced"):
            await writer.write(make())

    with_writer(database, use)
