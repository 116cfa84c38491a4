"""Migrating when several do it at once, and from older states; both databases."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from runmeter.receiver import events
from runmeter.v1 import run_pb2

AT_ONCE = 4
WAIT_SECONDS = 600  # for a loaded machine
STEPS = ["0001_initial", "0002_received"]

LineOf = Callable[..., bytes]
Command = Callable[..., subprocess.CompletedProcess[bytes]]
Log = Callable[[bytes], list[dict[str, Any]]]


def steps(kept: Any) -> list[str]:
    """Return the migrations that are noted."""
    return sorted(kept.column("SELECT name FROM tortoise_migrations"))


def index_exists(kept: Any) -> bool:
    """Tell whether the index by arrival is there."""
    postgres = kept.where.startswith("postgres")
    catalog, name = ("pg_indexes", "indexname") if postgres else ("sqlite_master", "name")
    return bool(kept.column(f"SELECT 1 FROM {catalog} WHERE {name} = 'run_received'"))


@pytest.mark.parametrize("attempt", range(3))
def test_several_migrate_at_once(kept: Any, log: Log, tmp_path: Path, attempt: int) -> None:
    """Of four programs started at once one migrates, the others find it done; all succeed."""
    line = [sys.executable, "-m", "runmeter.receiver", "migrate", "--log-format=json"]
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [*line, f"--db={kept.where}"], stderr=subprocess.PIPE, cwd=tmp_path
                )
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
    line = [sys.executable, "-m", "runmeter.receiver", "migrate", f"--db={kept.where}"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, cwd=tmp_path) as other:
        receivers = [start_receiver(f"--db={kept.where}", "--migrate") for _ in range(2)]
        errors = other.communicate(timeout=WAIT_SECONDS)[1]
        assert (other.returncode, b"Traceback" in errors) == (0, False)
    ids = []
    for number in range(20):
        message.push_id = f"00000000-0000-4000-8000-{number:012x}"
        receipt = receivers[number % 2].push(message)
        assert receivers[(number + 1) % 2].push(message).duplicate is True
        ids.append(receipt.id)
    assert sorted(map(int, kept.column("SELECT id FROM run"))) == ids
    assert [receiver.end() for receiver in receivers] == [0, 0]
    if not kept.where.startswith("postgres"):
        assert kept.column("PRAGMA integrity_check") == ["ok"]


@pytest.mark.parametrize("index_is_there", [False, True])
def test_the_first_schema_gets_the_index(
    kept: Any,
    command: Command,
    line_of: LineOf,
    export_of: Callable[[Iterable[bytes]], bytes],
    log: Log,
    index_is_there: bool,
) -> None:
    """Rows stay; also where an earlier attempt ended between the index and the note of it."""
    content = export_of(line_of(n) for n in range(30))
    command("import", f"--db={kept.where}", "--migrate", content=content)
    kept.execute("DELETE FROM tortoise_migrations WHERE name <> '0001_initial'")
    if not index_is_there:
        kept.execute("DROP INDEX run_received")
        assert not index_exists(kept)
    before = kept.execute("SELECT id, push_id, received_at_ms FROM run ORDER BY id")
    old = command("export", f"--db={kept.where}")
    assert old.returncode == 1
    assert b"run `receiver migrate` on it first" in old.stderr
    done = command("migrate", f"--db={kept.where}")
    assert done.returncode == 0, done.stderr
    assert log(done.stderr)[0]["applied"] == STEPS[1:]
    assert steps(kept) == STEPS
    assert index_exists(kept)
    assert kept.execute("SELECT id, push_id, received_at_ms FROM run ORDER BY id") == before
