"""runmeter.receiver.store on SQLite: what only its files have."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rig.receiver import WithWriter, push_id

from runmeter.receiver.errors import DatabaseUnusable, StoreUnavailable
from runmeter.receiver.model import Push, Receipt, RunState
from runmeter.receiver.store import connections
from runmeter.receiver.store.database import Database, parse_database
from runmeter.receiver.store.runs import read_runs
from runmeter.receiver.store.writer import Writer

MakePush = Callable[..., Push]
IDS = [push_id(n) for n in range(3)]


@contextmanager
def opened(database: Database) -> Iterator[sqlite3.Connection]:
    """Open a database with SQLite itself, beside the receiver."""
    connection = sqlite3.connect(database.location)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def test_a_database_of_the_first_schema_keeps_rows_and_indexes(
    database: Database, make: MakePush, with_writer: WithWriter
) -> None:
    """A file in the state of the first migration, with rows, is brought up to date."""
    first = sqlite3.connect(database.location)
    first.executescript((Path(__file__).parent / "schema_0001.sql").read_text())
    push = make()
    columns = {
        **push.scope._asdict(),
        "push_id": push.run.push_id,
        "run_id": push.run.run_id,
        "state": 3,
        "revision": 4,
        "digest": b"as the first version made it",
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
        assert (await read_runs([1], 0))[1] == (1, RunState.COMPLETED, 5, 6, push.payload)

    with_writer(database.location, use)
    with opened(database) as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        assert {"run_scope", "run_received", "run_container_run"} <= found
        columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(run)")}
        assert "digest" not in columns


def test_files_are_made_for_durable_writes(database: Database) -> None:
    """A new file has a write-ahead log and pages of 8 KiB."""
    asyncio.run(connections.migrate_database(database))
    with opened(database) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA page_size").fetchone() == (8192,)


def test_schema_file_is_what_the_first_migration_makes(database: Database) -> None:
    """The recorded first schema is the real one: no test migrates from an invented state."""
    asyncio.run(connections.migrate_database(database))
    with opened(database) as connection:
        query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        made = {_plain(sql) for (sql,) in connection.execute(query)}
    with contextmanager(lambda: iter([sqlite3.connect(":memory:")]))() as fresh:
        fresh.executescript((Path(__file__).parent / "schema_0001.sql").read_text())
        fresh.execute('ALTER TABLE "run" DROP COLUMN "digest"')  # the only change of a table since
        recorded = {_plain(sql) for (sql,) in fresh.execute(query)}
        fresh.close()
    assert recorded <= made


def _plain(sql: str) -> str:
    return " ".join(sql.replace("IF NOT EXISTS ", "").split())


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
        (_text_file, "it is not a SQLite database, or damaged"),
        (_under_a_file, "there is no folder"),
        (lambda path: "/proc/metrics.db", "must be able to create files in the folder /proc"),
        (lambda path: str(path / "no" / "metrics.db"), "there is no folder"),
    ],
)
def test_unusable_databases(tmp_path: Path, prepare: Callable[[Path], str], word: str) -> None:
    """Every unusable database is one sentence that says what to do."""
    database = parse_database(prepare(tmp_path / "x"))
    with pytest.raises(DatabaseUnusable, match=word) as caught:
        asyncio.run(connections.migrate_database(database))
    assert str(caught.value).startswith(f"cannot use the database {database.location}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_acknowledged_into_a_file_that_is_gone(
    database: Database, make: MakePush, with_writer: WithWriter, replaced: bool
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

    with_writer(database.location, use)
