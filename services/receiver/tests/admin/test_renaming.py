"""A repository that has another name now: ``receiver rename``, and import with both names."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest
from rig.forks import Fork
from rig.receiver import Command, Fill, Log, copied, push_id

from runmeter.receiver import events
from runmeter.receiver.model import Rename
from runmeter.v1 import run_pb2

RUNNING, COMPLETED = 1, 3
OLD, NEW = "org/old", "org/new"
NAMES = (f"--from={OLD}", f"--to={NEW}")
ALL = (
    "SELECT id, organization, repository, workflow, job, push_id, run_id, state, revision, "
    "received_at_ms, updated_at_ms FROM run ORDER BY id"
)
CONTAINERS = "SELECT run_id, name, cpu_seconds FROM run_container ORDER BY id"

Make = Callable[..., bytes]


@pytest.fixture
def made(message: run_pb2.Run, line_of: Callable[..., bytes]) -> Make:
    """Make a run of a repository, named by its full path."""

    def make(repository: str, number: int, organization: str = "", **changes: Any) -> bytes:
        message.scope.organization = organization or repository.partition("/")[0]
        message.scope.repository = repository
        message.scope.job = changes.pop("job", "build")
        return line_of(number, **{"received_at_ms": 1000 + number % 900, **changes})

    return make


def renamed(row: tuple[str, ...]) -> tuple[str, ...]:
    """Return a row of ALL as it should be afterwards."""
    return (*row[:2], NEW, *row[3:]) if row[2] == OLD else row


def test_all_runs_get_the_new_name(
    kept: Any, fill: Fill, made: Make, command: Command, log: Log, make_kept: Callable[[str], Any]
) -> None:
    """Ids, times, containers and other repositories stay; the second time it does nothing."""
    fill(kept, [made(OLD, number, job=f"job-{number % 3}") for number in range(7)])
    fill(kept, [made("org/older", 20), made("other/old", 21), made(NEW, 22)])
    before, containers = kept.execute(ALL), kept.execute(CONTAINERS)
    dry = command("rename", *NAMES, f"--db={kept.where}", "--dry-run")
    (line,) = log(dry.stderr)
    assert (dry.returncode, line["event"]) == (0, events.RUNS_COUNTED)
    assert (line["run_count"], line["merged_count"]) == (7, 0)
    assert (line["from"], line["to"]) == (OLD, NEW)
    assert kept.execute(ALL) == before
    done = command("rename", *NAMES, f"--db={kept.where}")
    (line,) = log(done.stderr)
    assert (done.returncode, line["event"], line["run_count"]) == (0, events.RUNS_RENAMED, 7)
    assert kept.execute(ALL) == [renamed(row) for row in before]
    assert kept.execute(CONTAINERS) == containers
    # an import checks that the stored messages have the names and sizes of their columns
    exported = command("export", f"--db={kept.where}").stdout
    sizes = kept.column("SELECT SUM(payload_size_bytes - LENGTH(payload)) FROM run")
    assert sizes == ["0"]
    fresh = make_kept("sqlite")
    assert command("import", f"--db={fresh.where}", content=exported).returncode == 0
    assert sorted(row[1:] for row in fresh.execute(ALL)) == sorted(
        row[1:] for row in kept.execute(ALL)
    )
    again = command("rename", *NAMES, f"--db={kept.where}")
    assert (again.returncode, log(again.stderr)[0]["run_count"]) == (0, 0)


def test_runs_under_both_names_are_merged(
    kept: Any, fill: Fill, made: Make, command: Command, log: Log
) -> None:
    """By the rules for pushes, under the id of the new name: the later one, and equal ones once."""
    late = {"state": COMPLETED, "revision": 5, "run_id": "late", "updated_at_ms": 9000}
    early = {"state": RUNNING, "revision": 2, "run_id": "early"}
    fill(kept, [made(NEW, 1, **early), made(NEW, 2, **late), made(NEW, 3)])
    fill(kept, [made(OLD, 1, **late), made(OLD, 2, **early), made(OLD, 3), made(OLD, 4)])
    dry = command("rename", *NAMES, f"--db={kept.where}", "--dry-run")
    assert [log(dry.stderr)[0][key] for key in ("run_count", "merged_count")] == [4, 3]
    done = command("rename", *NAMES, f"--db={kept.where}")
    assert (done.returncode, log(done.stderr)[0]["run_count"]) == (0, 4)
    rows = kept.execute("SELECT id, repository, run_id, updated_at_ms FROM run ORDER BY id")
    golden = rows[2][2]
    assert rows == [
        ("1", NEW, "late", "9000"),
        ("2", NEW, "late", "9000"),
        ("3", NEW, golden, "2000"),
        ("7", NEW, golden, "2000"),
    ]
    assert kept.column("SELECT COUNT(*) FROM run_container") == ["8"]


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_conflict_changes_nothing(
    kept: Any, fill: Fill, made: Make, command: Command, flags: tuple[str, ...]
) -> None:
    """Equal pushes of different content are one sentence, and no run is renamed."""
    fill(kept, [made(NEW, 2, run_id="this"), made(NEW, 3)])
    fill(kept, [made(OLD, 1), made(OLD, 2, run_id="that"), made(OLD, 3)])
    before = kept.execute(ALL)
    done = command("rename", *NAMES, f"--db={kept.where}", *flags)
    assert done.returncode == 1
    assert done.stderr == (
        b"receiver: cannot rename org/old to org/new: run 4 of the one and run 1 of the other have "
        b"the same push_id, state and revision, but different content\n"
    )
    assert kept.execute(ALL) == before


def test_killed_and_run_again(
    kept: Any, fill: Fill, made: Make, command: Command, log: Log
) -> None:
    """After SIGKILL in the middle the next one renames the rest: nothing is lost or doubled."""
    fill(kept, [made(OLD, number) for number in range(300)])
    before, containers = kept.execute(ALL), kept.execute(CONTAINERS)
    # every run alone in its transaction: there is time for a signal
    kept.execute(f"UPDATE run SET payload_size_bytes = {5 * 2**20}")
    moved = f"SELECT COUNT(*) FROM run WHERE repository = '{NEW}'"
    line = ["receiver", "rename", *NAMES, f"--db={kept.where}", "--log-format=json"]
    with Fork(line, stderr=subprocess.PIPE) as process:
        while kept.column(moved) == ["0"]:
            assert process.poll() is None
        process.kill()
        process.wait()
    count = int(kept.column(moved)[0])
    assert 0 < count < 300
    with Fork(line, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while int(kept.column(moved)[0]) <= count:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        (ended,) = log(process.stderr.read())
        assert process.wait() == 128 + signal.SIGTERM
    assert (ended["event"], ended["signal"]) == (events.RUNS_RENAMED, "SIGTERM")
    assert command("rename", *NAMES, f"--db={kept.where}").returncode == 0
    assert kept.execute(ALL) == [renamed(row) for row in before]
    assert kept.execute(CONTAINERS) == containers


def test_the_runs_are_found_by_the_index(kept: Any, fill: Fill, made: Make) -> None:
    """The next runs to rename are found without reading all of them."""
    fill(kept, [made(OLD, number) for number in range(100)])
    plan = kept.plan(
        "SELECT id, payload_size_bytes FROM run WHERE organization = 'org' "
        f"AND repository = '{OLD}' ORDER BY workflow, job, id LIMIT 500"
    )
    assert "run_scope" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


def test_an_import_renames(
    kept: Any, made: Make, command: Command, log: Log, export_of: Callable[..., bytes]
) -> None:
    """Runs of the old name are stored under the new one, others as they are."""
    content = export_of([made(OLD, 1), made("org/other", 2), made(OLD, 3)])
    for stored, duplicates in ((3, 0), (0, 3)):
        done = command("import", f"--db={kept.where}", "--migrate", *NAMES, content=content)
        assert done.returncode == 0, done.stderr
        line = log(done.stderr)[-1]
        assert (line["stored"], line["duplicates"]) == (stored, duplicates)
    assert kept.column("SELECT repository FROM run ORDER BY id") == [NEW, "org/other", NEW]
    lines = command("export", f"--db={kept.where}").stdout.splitlines()[1:-1]
    assert [json.loads(line)["repository"] for line in lines] == [NEW, "org/other", NEW]


@pytest.mark.slow
def test_beside_a_receiver_under_pushes(
    kept: Any, fill: Fill, made: Make, command: Command, start_receiver: Any, message: run_pb2.Run
) -> None:
    """No push is lost, under either name, of new runs or renamed ones; each run is there once."""
    fill(kept, [made(OLD, number, state=RUNNING, revision=1) for number in range(2000)])
    receiver = start_receiver(f"--db={kept.where}")

    def push(repository: str, numbers: range) -> None:
        run = copied(message, state=COMPLETED, revision=2)
        run.scope.organization, run.scope.repository = "org", repository
        for number in numbers:
            run.push_id = push_id(number)
            assert receiver.push(run).duplicate is False

    threads = [
        threading.Thread(target=push, args=arguments)
        for arguments in ((OLD, range(100)), (OLD, range(1000, 1100)), (NEW, range(5000, 5100)))
    ]
    for thread in threads:
        thread.start()
    done = command("rename", *NAMES, f"--db={kept.where}")
    for thread in threads:
        thread.join()
    assert done.returncode == 0, done.stderr
    assert command("rename", *NAMES, f"--db={kept.where}").returncode == 0
    assert receiver.end() == 0
    assert kept.execute("SELECT repository, COUNT(*) FROM run GROUP BY repository") == [
        (NEW, "2100")
    ]
    assert kept.column("SELECT COUNT(DISTINCT push_id) FROM run") == ["2100"]
    completed = f"SELECT COUNT(*) FROM run WHERE state = {COMPLETED} AND revision = 2"
    assert kept.column(completed) == ["300"]


@pytest.mark.parametrize(
    ("source", "target", "organizations"),
    [
        ("a/b", "x/y", [("a", "x")]),
        ("a/b", "x/y/z", [("a", "x")]),
        ("a/b/c", "x/y/z", [("a", "x"), ("a/b", "x/y")]),
        ("a/b/c", "x/y", [("a", "x"), ("a/b", "x")]),
    ],
)
def test_organizations(source: str, target: str, organizations: list[tuple[str, str]]) -> None:
    """An organization keeps its number of parts, if the new path is as long."""
    assert Rename(source, target).organizations() == organizations


def test_groups(kept: Any, fill: Fill, made: Make, command: Command) -> None:
    """Runs of one repository whose organization was given differently are all renamed."""
    path = "group/team/old"
    fill(kept, [made(path, 1), made(path, 2, organization="group/team")])
    done = command("rename", f"--from={path}", "--to=group/crew/new", f"--db={kept.where}")
    assert done.returncode == 0, done.stderr
    assert kept.execute("SELECT organization, repository FROM run ORDER BY id") == [
        ("group", "group/crew/new"),
        ("group/crew", "group/crew/new"),
    ]
