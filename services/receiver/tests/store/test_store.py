"""runmeter.receiver.store and .writer, on SQLite and PostgreSQL."""

import asyncio
import importlib
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rig.receiver import WithWriter, push_id

from runmeter.receiver.errors import (
    Busy,
    PushConflict,
    ShuttingDown,
    StoreUnavailable,
)
from runmeter.receiver.model import (
    Push,
    Receipt,
    RunFilter,
    RunState,
    Scope,
    push_rank,
)
from runmeter.receiver.store import connections
from runmeter.receiver.store.database import parse_database
from runmeter.receiver.store.names import find_names, names_within
from runmeter.receiver.store.runs import find_runs, read_runs
from runmeter.receiver.store.writer import Writer

ALL = frozenset(RunState)
IDS = [push_id(n) for n in range(200)]
MakePush = Callable[..., Push]
SCOPE_COLUMNS = ("organization", "repository", "workflow", "job")


async def listed(
    scope: Scope, now_ms: int = 10**6, states: frozenset[RunState] = ALL, **bounds: Any
) -> list[Any]:
    """Return what a query finds."""
    defaults: dict[str, Any] = dict.fromkeys(("before_id", "since_ms", "until_ms", "run_id"))
    wanted = RunFilter(scope=scope, states=states, **{**defaults, "limit": 1000, **bounds})
    return await find_runs(wanted, now_ms)


def assert_schema(kept: Any) -> None:
    """Check the indexes that queries and pushes use."""
    run = kept.indexes("run")
    assert run[(*SCOPE_COLUMNS, "id")] is False
    assert run[("push_id", *SCOPE_COLUMNS)] is True
    assert run[("received_at_ms",)] is False
    assert ("run_id",) in kept.indexes("run_container")


def test_migrating_makes_the_schema_once(kept: Any) -> None:
    """A new database gets every migration and all indexes; the second time does nothing."""
    folder = Path(importlib.import_module("runmeter.receiver.store.migrations").__path__[0])
    names = {path.stem for path in folder.glob("0*.py")}
    database = parse_database(kept.where)
    assert set(asyncio.run(connections.migrate_database(database))) == names
    assert_schema(kept)
    assert asyncio.run(connections.migrate_database(database)) == []
    assert_schema(kept)


def test_queries_use_the_index_and_do_not_sort(
    kept: Any, make: MakePush, with_writer: WithWriter
) -> None:
    """The documented query walks the index of the scope backwards."""

    async def use(writer: Writer) -> None:
        await writer.write(make())

    with_writer(kept.where, use)
    plan = kept.plan(
        "SELECT id, state FROM run WHERE organization='o' AND "
        "repository='o/r' AND workflow='w' AND job='j' AND id < 9 AND (state = 3 OR state = 2 "
        "OR (state = 1 AND silent_after_ms < 7)) ORDER BY id DESC LIMIT 51"
    )
    assert "run_scope" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


def test_pushes_are_looked_up_by_an_index(kept: Any) -> None:
    """Finding out whether a run is stored does not read the table."""
    asyncio.run(connections.migrate_database(parse_database(kept.where)))
    plan = kept.plan("SELECT id, state FROM run WHERE push_id IN ('a', 'b')")
    assert "uid_run_push_id" in plan or "(push_id=?)" in plan
    assert "SCAN run" not in plan
    assert "Seq Scan" not in plan


def test_names_in_another_case_are_found(
    kept: Any, make: MakePush, with_writer: WithWriter
) -> None:
    """Scopes that differ in case only are found at every depth, with steps in their index."""
    scopes = [
        Scope("org", "org/repo", "ci.yml", "build"),
        Scope("Org", "Org/Repo", "ci.yml", "build"),
        Scope("Org", "Org/Repo", "CI.yml", "\u00dcbung"),
        Scope("zeta", "zeta/repo", "ci.yml", "build"),
    ]

    async def use(writer: Writer) -> None:
        assert await find_names(("org",)) == []
        for number, scope in enumerate(scopes * 2):
            await writer.write(make(push_id=IDS[number])._replace(scope=scope))
        assert sorted(await find_names(("ORG", "org/REPO"))) == [
            ("Org", "Org/Repo"),
            ("org", "org/repo"),
        ]
        assert sorted(await find_names(scopes[0])) == sorted(scopes[:2])
        assert await find_names(scopes[2]._replace(job="\u00fcbung")) == [scopes[2]]
        assert await find_names(scopes[0]._replace(job="builds")) == []

    with_writer(kept.where, use)
    plan = kept.plan(names_within(2).format(*["'o'"] * 4))
    assert "run_scope" in plan
    assert "Seq Scan" not in plan
    assert "SCAN run" not in plan


def test_an_acknowledged_run_is_answered_as_it_was(
    kept: Any, make: MakePush, with_writer: WithWriter
) -> None:
    """Payload, times and figures are in the file once write has returned."""
    push = make(arrived_at_ms=1234)

    async def use(writer: Writer) -> None:
        assert await writer.write(push) == Receipt(1, duplicate=False)
        stored = (await read_runs([1], 0))[1]
        assert stored == (1, RunState.COMPLETED, 1234, 1234, push.payload)
        figures = kept.execute(
            "SELECT duration_seconds, cpu_peak_percent, cpu_p95_percent, mem_peak_bytes, "
            "mem_p95_bytes, started_at_ms FROM run"
        )
        started = str(push.run.payload.start_time.ToMilliseconds())
        assert figures == [("20.005", "61.25", "61.25", "5368709120", "5368709120", started)]
        rows = kept.execute(
            "SELECT name, cpu_seconds, cpu_peak_cores, cpu_p95_cores, memory_peak_bytes, "
            "memory_p95_bytes FROM run_container ORDER BY id"
        )
        assert rows == [
            ("runner", "30.0075", "2.007", "2.004", "18567168", "18567168"),
            ("sidecar", "", "", "", "4096", "4096"),
        ]

    with_writer(kept.where, use)


def test_a_later_push_replaces_and_an_earlier_one_changes_nothing(
    kept: Any, make: MakePush, with_writer: WithWriter
) -> None:
    """One id, received_at of the first arrival, updated_at of the last change."""
    state = RunState.RUNNING
    payload = make().run.payload
    del payload.containers[1:]

    async def use(writer: Writer) -> None:
        first = make(1000, state=state, revision=1)
        later = make(2000, state=state, revision=2, payload=payload)
        assert await writer.write(first) == Receipt(1, duplicate=False)
        assert await writer.write(later) == Receipt(1, duplicate=False, replaced=True)
        assert await writer.write(first._replace(arrived_at_ms=3000)) == Receipt(1, duplicate=True)
        assert await writer.write(later._replace(arrived_at_ms=4000)) == Receipt(1, duplicate=True)
        with pytest.raises(PushConflict):
            await writer.write(make(5000, state=state, revision=2, run_id="another"))
        assert (await read_runs([1], 0))[1] == (1, state, 1000, 2000, later.payload)
        assert kept.column("SELECT name FROM run_container") == ["runner"]

    with_writer(kept.where, use)


def test_times_of_a_run_never_go_back(kept: Any, make: MakePush, with_writer: WithWriter) -> None:
    """With a clock set back, updated_at stays at or after received_at."""

    async def use(writer: Writer) -> None:
        await writer.write(make(5000, revision=1))
        await writer.write(make(10, revision=2))
        assert (await read_runs([1], 0))[1][2:4] == (5000, 5000)

    with_writer(kept.where, use)


def test_a_push_id_counts_within_its_scope(
    kept: Any, make: MakePush, with_writer: WithWriter
) -> None:
    """The same push_id in other scopes is other runs; nested organizations stay apart."""
    scopes = [Scope("a", "a/b/c", "w", "j"), Scope("a/b", "a/b/c", "w", "j")]
    scopes += [Scope("A", "a/b/c", "w", "j"), Scope("a", "a/b/c", "w", "J")]

    async def use(writer: Writer) -> None:
        receipts = [await writer.write(make(scope=scope)) for scope in scopes]
        assert receipts == [Receipt(n, duplicate=False) for n in (1, 2, 3, 4)]
        assert [[run.id for run in await listed(scope)] for scope in scopes] == [[1], [2], [3], [4]]

    with_writer(kept.where, use)


def test_filters(kept: Any, make: MakePush, with_writer: WithWriter) -> None:
    """Times of arrival, run_id, keyset and limit + 1, newest first."""

    async def use(writer: Writer) -> None:
        for n in range(5):
            await writer.write(make(n * 10, push_id=IDS[n], run_id=f"r{n % 2}"))
        scope = make().scope

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

    with_writer(kept.where, use)


def test_silent_runs_are_interrupted_in_every_filter(
    kept: Any, make: MakePush, with_writer: WithWriter
) -> None:
    """A RUNNING run silent for too long is found as INTERRUPTED and no longer as RUNNING."""

    async def use(writer: Writer) -> None:
        running = {"state": RunState.RUNNING, "next_push_within_seconds": None}
        await writer.write(make(0, push_id=IDS[1], **running))
        running["next_push_within_seconds"] = 1.0
        await writer.write(make(0, push_id=IDS[2], **running))
        await writer.write(make(0, push_id=IDS[3], state=RunState.INTERRUPTED))
        await writer.write(make(0, push_id=IDS[4], state=RunState.COMPLETED))
        scope = make().scope
        for now_ms, expected in ((3000, {1: [1, 2], 2: [3]}), (3001, {1: [1], 2: [2, 3]})):
            for states in ({1}, {2}, {3}, {1, 2}, {2, 3}, {1, 3}, {1, 2, 3}):
                wanted = frozenset(map(RunState, states))
                runs = await listed(scope, now_ms, wanted)
                ids = {i for state in states for i in {**expected, 3: [4]}[state]}
                assert {run.id for run in runs} == ids
                assert {run.state for run in runs} <= wanted
                stored = await read_runs(ids, now_ms)
                assert {i: s.state for i, s in stored.items()} == {r.id: r.state for r in runs}

    with_writer(kept.where, use)


def test_any_interleaving_ends_with_the_greatest(
    kept: Any, make: MakePush, with_writer: WithWriter
) -> None:
    """Pushes in any order, repeated, at once: the greatest stays, receipts are right."""
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
            found = [run for run in await listed(make().scope, 0) if run.id == receipts[0].id]
            assert push_rank(found[0].state, found[0].revision) == best
            high = None
            for push, receipt in zip(sent, receipts, strict=True):
                rank = push_rank(push.run.state, push.run.revision)
                assert receipt.duplicate == (high is not None and rank <= high)
                high = rank if high is None else max(rank, high)

    with_writer(kept.where, use)


def test_a_conflict_fails_alone(kept: Any, make: MakePush, with_writer: WithWriter) -> None:
    """In a batch with a conflicting push all others are stored."""

    async def use(writer: Writer) -> None:
        await writer.write(make(push_id=IDS[0]))
        pushes = [make(push_id=IDS[n]) for n in range(1, 30)]
        pushes.insert(10, make(push_id=IDS[0], run_id="another"))
        answers = await asyncio.gather(*map(writer.write, pushes), return_exceptions=True)
        assert isinstance(answers.pop(10), PushConflict)
        assert [answer.duplicate for answer in answers] == [False] * 29
        assert len(await listed(make().scope)) == 30

    with_writer(kept.where, use)


def test_a_bad_row_fails_alone(kept: Any, make: MakePush, with_writer: WithWriter) -> None:
    """A row that the database refuses does not take its batch with it."""
    with_writer(kept.where, _nothing)
    if kept.where.startswith("postgres"):
        kept.execute("ALTER TABLE run ADD CONSTRAINT refuse CHECK (run_id <> 'bad')")
    else:
        kept.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON run WHEN NEW.run_id = 'bad' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )

    async def use(writer: Writer) -> None:
        pushes = [make(push_id=IDS[n], run_id="bad" if n == 7 else "good") for n in range(20)]
        answers = await asyncio.gather(*map(writer.write, pushes), return_exceptions=True)
        assert isinstance(answers.pop(7), StoreUnavailable)
        assert [answer.duplicate for answer in answers] == [False] * 19
        assert len(await listed(make().scope)) == 19
        assert await writer.write(make(push_id=IDS[50])) == Receipt(_any(), duplicate=False)

    with_writer(kept.where, use)


class _any(int):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, int)

    __hash__ = int.__hash__


async def _nothing(writer: Writer) -> None:
    pass


def test_cancelled_callers_lose_nothing(kept: Any, make: MakePush, with_writer: WithWriter) -> None:
    """Callers cancelled at any moment neither block the writer nor lose rows of others."""
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
        found = {run.id for run in await listed(make().scope)}
        assert set(kept) <= found
        assert len(found) == 200

    with_writer(kept.where, use)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_too_many_waiting_pushes_are_refused(
    kind: str, make_kept: Callable[[str], Any], make: MakePush, with_writer: WithWriter
) -> None:
    """Beyond the bound in number or in bytes a push is Busy at once; the others are stored."""

    async def use(writer: Writer) -> None:
        pushes = [make(push_id=IDS[n]) for n in range(5)]
        answers = await asyncio.gather(*map(writer.write, pushes), return_exceptions=True)
        assert [isinstance(answer, Busy) for answer in answers] == [False] * 3 + [True] * 2

    with_writer(make_kept(kind).where, use, waiting_max=3)
    (size,) = {len(make(push_id=IDS[n]).payload) for n in range(5)}
    with_writer(make_kept(kind).where, use, waiting_max_bytes=3 * size + size // 2)


def test_a_push_that_is_alone_is_taken_whatever_its_size(
    kept: Any, make: MakePush, with_writer: WithWriter
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

    with_writer(kept.where, use, waiting_max_bytes=size - 1)


def test_a_closed_writer_takes_no_more_and_ends(
    kept: Any, make: MakePush, with_writer: WithWriter
) -> None:
    """After close what waits is written; after abandon it is refused; both end the task."""

    async def use(_: Writer) -> None:
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

    with_writer(kept.where, use)


def test_a_missing_table_is_unavailable_and_works_again(
    kept: Any, make: MakePush, with_writer: WithWriter
) -> None:
    """Reads and writes fail as StoreUnavailable, and go on when the table is back."""

    async def use(writer: Writer) -> None:
        await writer.write(make(push_id=IDS[0]))
        kept.execute("ALTER TABLE run RENAME TO gone")
        with pytest.raises(StoreUnavailable):
            await writer.write(make(push_id=IDS[1]))
        with pytest.raises(StoreUnavailable):
            await listed(make().scope)
        kept.execute("ALTER TABLE gone RENAME TO run")
        await writer.write(make(push_id=IDS[1]))
        assert len(await listed(make().scope)) == 2

    with_writer(kept.where, use)


def test_a_failed_read_fails_alone(kept: Any, make: MakePush, with_writer: WithWriter) -> None:
    """Statements that fail, and callers that leave, disturb neither other reads nor pushes."""
    push = make()

    async def fail() -> None:
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                async with connections.using(connections.READING, "failing") as connection:
                    await connection.execute_query("SELECT 1 FROM nothing")

    async def leave() -> None:
        for _ in range(20):
            task = asyncio.create_task(listed(push.scope))
            await asyncio.sleep(0.001)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def read() -> None:
        for _ in range(40):
            assert len(await listed(push.scope)) >= 1

    async def use(writer: Writer) -> None:
        async def write() -> None:
            for number in range(40):
                assert not (await writer.write(make(push_id=IDS[number]))).duplicate

        await writer.write(push)
        await asyncio.gather(fail(), leave(), write(), *(read() for _ in range(8)))

    with_writer(kept.where, use)
