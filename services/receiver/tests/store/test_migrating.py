"""Migrating when several do it at once, and from older states; both databases."""

import contextlib
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.forks import Fork
from rig.receiver import Command, Fill, LineOf, Log, push_id

from runmeter.receiver import events
from runmeter.v1 import run_pb2

AT_ONCE = 4
WAIT_SECONDS = 600  # for a loaded machine
STEPS = ["0001_initial", "0002_received", "0003_no_digest"]


def steps(kept: Any) -> list[str]:
    """Return the migrations that are noted."""
    return sorted(kept.column("SELECT name FROM tortoise_migrations"))


def index_exists(kept: Any) -> bool:
    """Return whether the index by arrival is there."""
    postgres = kept.where.startswith("postgres")
    catalog, name = ("pg_indexes", "indexname") if postgres else ("sqlite_master", "name")
    return bool(kept.column(f"SELECT 1 FROM {catalog} WHERE {name} = 'run_received'"))


@pytest.mark.parametrize("attempt", range(3))
def test_several_migrate_at_once(kept: Any, log: Log, tmp_path: Path, attempt: int) -> None:
    """Of four programs started at once one migrates, the others find it done; all succeed."""
    line = ["receiver", "migrate", "--log-format=json"]
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                Fork([*line, f"--db={kept.where}"], stderr=subprocess.PIPE, cwd=tmp_path)
            )
            for _ in range(AT_ONCE)
        ]
        outputs = [process.communicate(timeout=WAIT_SECONDS)[1] for process in started]
    assert [process.returncode for process in started] == [0] * AT_ONCE, outputs
    assert b"Traceback" not in b"".join(outputs)
    found = [line for output in outputs for line in log(output)]
    assert [(x["event"], x["applied"]) for x in found] == [(events.DATABASE_MIGRATED, STEPS)]
    assert steps(kept) == STEPS


def test_receivers_started_at_once_serve_one_database(
    kept: Any, start_receiver: Callable[..., Any], message: run_pb2.Run, tmp_path: Path
) -> None:
    """Receivers that migrate one new database at the same time all serve it."""
    line = ["receiver", "migrate", f"--db={kept.where}"]
    with Fork(line, stderr=subprocess.PIPE, cwd=tmp_path) as other:
        receivers = [start_receiver(f"--db={kept.where}", "--migrate") for _ in range(2)]
        errors = other.communicate(timeout=WAIT_SECONDS)[1]
        assert (other.returncode, b"Traceback" in errors) == (0, False)
    ids = []
    for number in range(20):
        message.push_id = push_id(number)
        receipt = receivers[number % 2].push(message)
        assert receivers[(number + 1) % 2].push(message).duplicate is True
        ids.append(receipt.id)
    assert sorted(map(int, kept.column("SELECT id FROM run"))) == ids
    assert [receiver.end() for receiver in receivers] == [0, 0]
    if not kept.where.startswith("postgres"):
        assert kept.column("PRAGMA integrity_check") == ["ok"]


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("first", [1, 2])
def test_earlier_schemas(
    kept: Any, fill: Fill, command: Command, line_of: LineOf, log: Log, first: int, is_done: bool
) -> None:
    """Rows stay; also where an earlier attempt ended between a change and the note of it."""
    lines = [line_of(n) for n in range(30)]
    fill(kept, lines)
    for step in STEPS[first:]:
        kept.execute(f"DELETE FROM tortoise_migrations WHERE name = '{step}'")
    if first == 1 and not is_done:
        kept.execute("DROP INDEX run_received")
        assert not index_exists(kept)
    if first == 2 and not is_done:
        binary = "bytea" if kept.where.startswith("postgres") else "BLOB"
        kept.execute(f"ALTER TABLE run ADD COLUMN digest {binary} NOT NULL DEFAULT '1'")
    before = kept.execute("SELECT id, push_id, received_at_ms FROM run ORDER BY id")
    old = command("export", f"--db={kept.where}")
    assert old.returncode == 1
    assert b"run `receiver migrate` on it first" in old.stderr
    done = command("migrate", f"--db={kept.where}")
    assert done.returncode == 0, done.stderr
    assert log(done.stderr)[0]["applied"] == STEPS[first:]
    assert steps(kept) == STEPS
    assert index_exists(kept)
    assert kept.execute("SELECT id, push_id, received_at_ms FROM run ORDER BY id") == before
    assert fill(kept, lines)[-1]["duplicates"] == 30


def test_an_encoding_that_cannot_hold_every_name(postgres: Any, command: Command) -> None:
    """It is refused at the start, and nothing is made in it; some runs could never be stored."""
    name = f"latin_{uuid.uuid4().hex}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    done = command("migrate", f"--db={postgres.url(name)}")
    assert done.returncode == 1
    assert b"its encoding is LATIN1" in done.stderr
    tables = "SELECT count(*) FROM pg_class WHERE relname IN ('run', 'tortoise_migrations')"
    assert postgres.execute(tables, database=postgres.url(name)) == [("0",)]


def hold_note(kept: Any) -> None:
    """Block processes that note a migration, while this is open."""
    if kept.where.startswith("postgres"):
        for sql in (
            "CREATE TABLE tortoise_migrations (id SERIAL PRIMARY KEY, app VARCHAR(255) NOT NULL, "
            "name VARCHAR(255) NOT NULL, applied_at TIMESTAMPTZ NOT NULL, UNIQUE (app, name))",
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN PERFORM pg_sleep({WAIT_SECONDS}); RETURN NEW; END $$",
            "CREATE TRIGGER wait BEFORE INSERT ON tortoise_migrations "
            "FOR EACH ROW EXECUTE FUNCTION wait()",
        ):
            kept.execute(sql)
        return
    for sql in (
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE tortoise_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "
        "app VARCHAR(255) NOT NULL, name VARCHAR(255) NOT NULL, applied_at TIMESTAMP NOT NULL, "
        "UNIQUE (app, name))",
        "CREATE VIEW endless AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
        "SELECT count(*) AS x FROM n",
        "CREATE TRIGGER wait BEFORE INSERT ON tortoise_migrations BEGIN SELECT x FROM endless; END",
    ):
        kept.execute(sql)


def release_note(kept: Any) -> None:
    """Let migrations be noted again; end the processes that waited."""
    if kept.where.startswith("postgres"):
        name = kept.where.rpartition("/")[2]
        kept.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        )
        kept.execute("DROP TRIGGER wait ON tortoise_migrations")
    else:
        kept.execute("DROP TRIGGER wait")


def waits_for_note(kept: Any) -> bool:
    """Return whether a migration is about to be noted."""
    if kept.where.startswith("postgres"):
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        return bool(kept.column(waiting + "AND wait_event = 'PgSleep'"))
    # SQLite does not show it: a lock held for this long is that of the endless trigger
    with contextlib.closing(sqlite3.connect(kept.where, timeout=3)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


@contextlib.contextmanager
def migrating(kept: Any, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a receiver that is in the middle of its migration, and kill it at the end."""
    hold_note(kept)
    line = ["receiver", *arguments, f"--db={kept.where}"]
    with Fork(line, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while not waits_for_note(kept):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process
        finally:
            process.kill()
    release_note(kept)


def test_a_signal_during_a_migration(
    kept: Any, command: Command, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM is not held up by a migration that waits; the next start does all of it."""
    monkeypatch.setenv("RECEIVER_READ_TOKEN", "r" * 32)
    monkeypatch.setenv("RECEIVER_HMAC_KEY", "k" * 32)
    flags = ("--migrate", "--addr=127.0.0.1:0", "--log-format=json")
    with migrating(kept, *flags) as process:
        process.terminate()
        errors = process.communicate(timeout=WAIT_SECONDS)[1]
    assert process.returncode == 0
    assert [line["event"] for line in log(errors)] == [events.SERVER_KILLED]
    assert steps(kept) == []
    assert command("migrate", f"--db={kept.where}").returncode == 0
    assert steps(kept) == STEPS


def test_killed_before_a_migration_is_noted(kept: Any, command: Command, log: Log) -> None:
    """SIGKILL between the tables and the note of them leaves neither; the next start makes both."""
    with migrating(kept, "migrate"):
        pass
    assert steps(kept) == []
    done = command("migrate", f"--db={kept.where}")
    assert done.returncode == 0, done.stderr
    assert log(done.stderr)[0]["applied"] == STEPS
    assert steps(kept) == STEPS
    assert index_exists(kept)


@pytest.mark.parametrize(
    "mend", ["ALTER DATABASE {0} OWNER TO weak", "GRANT CREATE ON SCHEMA public TO weak"]
)
def test_a_role_without_the_right_to_make_tables(
    postgres: Any, command: Command, mend: str
) -> None:
    """The sentence names the missing right; each of the two remedies in it works."""
    url = postgres.create_database()
    postgres.execute("DROP ROLE IF EXISTS weak")
    postgres.execute("CREATE ROLE weak LOGIN")
    postgres.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", url)  # as since 15
    theirs = url.replace("postgres@", "weak@")
    done = command("migrate", f"--db={theirs}")
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"receiver: cannot use the database {theirs.replace('weak@', '')}: the role may not create "
        "tables in schema public: make it the owner of the database, or GRANT CREATE ON SCHEMA "
        "public\n"
    )
    postgres.execute(mend.format(url.rpartition("/")[2]), url)
    done = command("migrate", f"--db={theirs}")
    assert done.returncode == 0, done.stderr
    postgres.execute("REASSIGN OWNED BY weak TO postgres; DROP OWNED BY weak", url)
