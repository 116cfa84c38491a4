"""``receiver export`` and ``receiver import``: real processes, both databases."""

import contextlib
import functools
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import forks
from rig.forks import Fork
from rig.receiver import Command, LineOf, Log, copied, push_id

from runmeter.receiver import events
from runmeter.receiver.admin.progress import Progress
from runmeter.receiver.admin.streams import LINES_MAX, Lines
from runmeter.v1 import run_pb2

PROGRAM = ["receiver"]
WAIT_SECONDS = 600  # for a loaded machine
TRIP_COUNT = max(1_000, 10 * int(os.environ.get("LOSSES_RUNS", "0")))  # `make soak`: 10 000
RUNNING, INTERRUPTED, COMPLETED = 1, 2, 3
RUN_COLUMNS = (
    "organization, repository, workflow, job, push_id, run_id, state, revision, "
    "received_at_ms, updated_at_ms, silent_after_ms, started_at_ms, duration_seconds, "
    "cpu_peak_percent, cpu_p95_percent, mem_peak_bytes, mem_p95_bytes, payload_size_bytes"
)
CONTAINERS = (
    "SELECT c.name, c.cpu_seconds, c.cpu_peak_cores, c.memory_peak_bytes, r.push_id "
    "FROM run_container c JOIN run r ON r.id = c.run_id ORDER BY r.id, c.id"
)

Export = Callable[[Any], bytes]


def contents(kept: Any) -> list[tuple[str, ...]]:
    """Return all runs, all columns but id and payload, in the order they were stored."""
    rows = kept.execute(f"SELECT {RUN_COLUMNS} FROM run ORDER BY id")
    return [tuple(_number(value) for value in row) for row in rows]


def _number(text: str) -> str:
    # a float is written differently by each database
    try:
        return repr(float(text)) if "." in text else text
    except ValueError:
        return text


def varied(line_of: LineOf, count: int) -> Iterator[bytes]:
    """Make runs that differ in everything that is a column."""
    for n in range(count):
        state = (COMPLETED, RUNNING, INTERRUPTED)[n % 3]
        yield line_of(
            n,
            1_770_000_000_000 + 7 * n,
            1_770_000_000_000 + 7 * n + n % 5,
            run_id=f"r-{n} ü",
            state=state,
            revision=1 + n % 9,
            next_push_within_seconds=30.5,
            exit_code=n % 256,
        )


def pipe(source: str, target: str, *flags: str) -> tuple[int, int, bytes]:
    """Export from one database into another through a pipe; return statuses and import's log."""
    with Fork([*PROGRAM, "export", f"--db={source}"], stdout=subprocess.PIPE) as out:
        line = [*PROGRAM, "import", f"--db={target}", "--log-format=json", *flags]
        done = forks.run(line, stdin=out.stdout)
        assert out.stdout is not None
        out.stdout.close()
        return out.wait(WAIT_SECONDS), done.returncode, done.stderr


def summary(log: list[dict[str, Any]]) -> tuple[int, ...]:
    """Return the counts of an import: read, stored, replaced, duplicates, rejected."""
    (line,) = [line for line in log if line["event"] == events.RUNS_IMPORTED]
    return tuple(line[k] for k in ("read", "stored", "replaced", "duplicates", "rejected"))


@pytest.mark.slow
def test_runs_make_the_round_trip(
    make_kept: Callable[[str], Any], command: Command, line_of: LineOf, export_of: Export, log: Log
) -> None:
    """From SQLite to PostgreSQL to SQLite by pipes: times and figures are the same."""
    first, middle, last = make_kept("sqlite"), make_kept("postgres"), make_kept("sqlite")
    original = export_of(varied(line_of, TRIP_COUNT))
    done = command("import", f"--db={first.where}", content=original)
    assert done.returncode == 0, done.stderr
    assert summary(log(done.stderr)) == (TRIP_COUNT, TRIP_COUNT, 0, 0, 0)
    for source, target, flags in ((first, middle, ["--migrate"]), (middle, last, [])):
        exported, imported, errors = pipe(source.where, target.where, *flags)
        assert (exported, imported) == (0, 0), errors
        assert summary(log(errors)) == (TRIP_COUNT, TRIP_COUNT, 0, 0, 0)
    expected = contents(first)
    assert len(expected) == TRIP_COUNT
    assert contents(middle) == expected
    assert contents(last) == expected
    assert middle.column("SELECT name FROM run_container ORDER BY id") == (
        ["runner", "sidecar"] * TRIP_COUNT
    )
    assert last.execute(CONTAINERS) == first.execute(CONTAINERS)
    exported_again = command("export", f"--db={last.where}").stdout.splitlines()
    drop_id = [{**json.loads(line), "id": 0} for line in exported_again]
    assert drop_id == [{**json.loads(line), "id": 0} for line in original.splitlines()]


def test_again_stores_nothing_twice(
    kept: Any, command: Command, line_of: LineOf, export_of: Export, log: Log
) -> None:
    """A second import of the same, and of a part before, finds duplicates only."""
    whole = list(varied(line_of, 150))
    done = command("import", f"--db={kept.where}", "--migrate", content=export_of(whole[:100]))
    assert summary(log(done.stderr)) == (100, 100, 0, 0, 0)
    done = command("import", f"--db={kept.where}", "--migrate", content=export_of(whole))
    assert done.returncode == 0
    assert summary(log(done.stderr)) == (150, 50, 0, 100, 0)
    assert kept.column("SELECT COUNT(*) FROM run") == ["150"]
    assert kept.column("SELECT COUNT(*) FROM run_container") == ["300"]


def test_the_push_rules_decide(
    kept: Any, command: Command, line_of: LineOf, export_of: Export, log: Log
) -> None:
    """Later pushes replace, earlier ones change nothing, equal ones of other content conflict."""
    stored = [
        line_of(1, 100, 200, state=RUNNING, revision=2),
        line_of(2, 100, 200, state=COMPLETED, revision=3),
        line_of(3, 100, 200, state=COMPLETED, revision=3),
    ]
    pushed = [
        line_of(1, 50, 300, state=COMPLETED, revision=3, run_id="final"),
        line_of(2, 50, 150, state=RUNNING, revision=2, run_id="earlier"),
        line_of(3, 50, 300, state=COMPLETED, revision=3, run_id="other"),
    ]
    command("import", f"--db={kept.where}", "--migrate", content=export_of(stored))
    done = command("import", f"--db={kept.where}", "--migrate", content=export_of(pushed))
    assert done.returncode == 1
    assert summary(log(done.stderr)) == (3, 0, 1, 1, 1)
    (refused,) = [x for x in log(done.stderr) if x["event"] == events.LINE_REJECTED]
    assert refused["line"] == 4
    assert "different content" in refused["reason"]
    rows = kept.execute("SELECT run_id, state, received_at_ms, updated_at_ms FROM run ORDER BY id")
    golden = kept.column("SELECT run_id FROM run ORDER BY id")[1]
    assert rows == [
        ("final", "3", "100", "300"),
        (golden, "3", "100", "200"),
        (golden, "3", "100", "200"),
    ]
    assert golden not in ("earlier", "other")


@pytest.mark.parametrize("skip", [False, True])
def test_a_bad_line_is_named(
    kept: Any, command: Command, line_of: LineOf, export_of: Export, log: Log, skip: bool
) -> None:
    """Earlier lines stay stored and it exits 1; with --skip-bad it goes on, and exits 1 as well."""
    lines = list(varied(line_of, 200))
    lines[149] = lines[149].replace(b'"revision":', b'"revision":7')
    flags = ["--skip-bad"] if skip else []
    done = command("import", f"--db={kept.where}", "--migrate", *flags, content=export_of(lines))
    assert done.returncode == 1
    (refused,) = [x for x in log(done.stderr) if x["event"] == events.LINE_REJECTED]
    assert refused["line"] == 151
    assert refused["reason"].startswith("`revision` differs from the run in `run`")
    expected = (199, 199, 0, 0, 1) if skip else (149, 149, 0, 0, 1)
    assert summary(log(done.stderr)) == expected
    assert log(done.stderr)[-1]["complete"] is False
    assert kept.column("SELECT COUNT(*) FROM run") == [str(expected[0])]


def _half(export: bytes) -> bytes:
    return export[:-40]


def _without_end(export: bytes) -> bytes:
    return b"".join(export.splitlines(keepends=True)[:-1])


def _without_a_run(export: bytes) -> bytes:
    listed = export.splitlines(keepends=True)
    return b"".join(listed[:2] + listed[3:])


def _without_header(export: bytes) -> bytes:
    return b"".join(export.splitlines(keepends=True)[1:])


def _twice_at_once(export: bytes) -> bytes:
    return _without_end(export) + export


@pytest.mark.parametrize(
    ("cut", "event", "line", "stored"),
    [
        (lambda export: b"", events.IMPORT_CUT, 0, 0),
        (_without_end, events.IMPORT_CUT, 6, 5),
        (_half, events.LINE_REJECTED, 6, 4),
        (_without_a_run, events.LINE_REJECTED, 6, 4),
        (_without_header, events.LINE_REJECTED, 1, 0),
        (_twice_at_once, events.LINE_REJECTED, 7, 5),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--skip-bad",)])
def test_a_stream_that_is_not_whole_is_noticed(
    make_kept: Callable[[str], Any],
    command: Command,
    line_of: LineOf,
    export_of: Export,
    log: Log,
    cut: Callable[[bytes], bytes],
    event: str,
    line: int,
    stored: int,
    flags: tuple[str, ...],
) -> None:
    """An export without its first line, its last or one between them is incomplete."""
    kept = make_kept("sqlite")
    # a half line is the last run's here: the end line is cut off with it
    export = export_of(varied(line_of, 5))
    content = _half(_without_end(export)) if cut is _half else cut(export)
    done = command("import", f"--db={kept.where}", *flags, content=content)
    assert done.returncode == 1
    assert (event, line) in [(x["event"], x.get("line")) for x in log(done.stderr)]
    assert log(done.stderr)[-1]["complete"] is False
    assert kept.column("SELECT COUNT(*) FROM run") == [str(stored)]


def test_exports_may_follow_each_other(
    kept: Any, command: Command, line_of: LineOf, export_of: Export, log: Log, tmp_path: Path
) -> None:
    """Several exports in one file, named on the command line, are all stored."""
    runs = list(varied(line_of, 30))
    (tmp_path / "all.jsonl").write_bytes(export_of(runs[:10]) + export_of(runs[10:]))
    done = command("import", f"--db={kept.where}", "--migrate", "all.jsonl")
    assert done.returncode == 0
    assert summary(log(done.stderr)) == (30, 30, 0, 0, 0)


def test_nothing_is_made_where_nothing_is(command: Command, tmp_path: Path) -> None:
    """A file that is not there is one sentence, for what is exported and what is imported."""
    for arguments, sentence in (
        (["export", "--db=no.db"], b"receiver: cannot use the database no.db: there is no such"),
        (["prune", "--older-than=1d", "--db=no.db"], b"receiver: cannot use the database no.db"),
        (["import", "--db=a.db", "no.jsonl"], b"receiver: cannot read no.jsonl: No such file"),
    ):
        done = command(*arguments)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(sentence)
        assert len(done.stderr.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []


@pytest.fixture
def filled(
    make_kept: Callable[[str], Any], command: Command, line_of: LineOf, export_of: Export
) -> Any:
    """A SQLite database with more runs than a pipe holds."""
    kept = make_kept("sqlite")
    content = export_of(varied(line_of, 500))
    assert command("import", f"--db={kept.where}", content=content).returncode == 0
    return kept


def test_an_export_ends_quietly_when_its_pipe_is_closed(filled: Any) -> None:
    """When the pipe is closed the export ends with 141 and writes nothing."""
    line = [*PROGRAM, "export", f"--db={filled.where}"]
    with Fork(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"runmeter-runs" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(WAIT_SECONDS) == 141


def test_an_output_that_cannot_be_written_is_one_sentence(filled: Any) -> None:
    """A full disk ends the export with 1 and its reason."""
    with open("/dev/full", "wb") as full:
        done = forks.run([*PROGRAM, "export", f"--db={filled.where}"], stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"receiver: cannot write standard output: No space left on device\n"


def test_closed_streams_are_one_sentence(filled: Any) -> None:
    """If a stream is closed, the database does not get its descriptor and is not written to."""
    before = Path(filled.where).read_bytes()
    for words, descriptor, doing in (
        (["export"], 1, b"write standard output"),
        (["import"], 0, b"read standard input"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "runmeter.receiver", *words, f"--db={filled.where}"],
            stderr=subprocess.PIPE,
            preexec_fn=functools.partial(os.close, descriptor),
            timeout=WAIT_SECONDS,
        )
        assert done.returncode == 1
        assert done.stderr == b"receiver: cannot " + doing + b": it is closed\n"
    assert Path(filled.where).read_bytes() == before


@pytest.mark.parametrize("words", [["export"], ["prune", "--older-than=1d", "--dry-run"]])
def test_a_database_that_fails_ends_a_command(
    kept: Any, command: Command, line_of: LineOf, export_of: Export, log: Log, words: list[str]
) -> None:
    """What the database refuses is in the log; the exit status is 1, there is no traceback."""
    command("import", f"--db={kept.where}", "--migrate", content=export_of([line_of(1)]))
    kept.execute("ALTER TABLE run RENAME TO gone")
    done = command(*words, f"--db={kept.where}")
    assert done.returncode == 1
    assert log(done.stderr)[0]["event"] == events.DATABASE_FAILED
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_stuck_export(filled: Any, log: Log, number: signal.Signals) -> None:
    """While the pipe is full a signal ends the export in order, with 128 + n."""
    line = [*PROGRAM, "export", f"--db={filled.where}", "--log-format=json"]
    with Fork(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()  # it writes, and waits for a reader
        process.send_signal(number)
        (line_of_log,) = log(process.stderr.read())
        assert process.wait(WAIT_SECONDS) == 128 + number
        assert line_of_log["event"] == events.RUNS_EXPORTED
        assert line_of_log["signal"] == number.name
        assert b'"end":true' not in process.stdout.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_import_that_waits(
    kept: Any, line_of: LineOf, log: Log, number: signal.Signals
) -> None:
    """While nothing comes a signal ends the import; what came before is stored."""
    line = [*PROGRAM, "import", f"--db={kept.where}", "--migrate", "--log-format=json"]
    with Fork(line, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        header = b'{"format":"runmeter-runs","version":1}\n'
        process.stdin.write(header + b"".join(varied(line_of, LINES_MAX - 1)))
        process.stdin.flush()
        while not _stored(kept, LINES_MAX - 1):
            assert process.poll() is None
        process.send_signal(number)
        found = log(process.stderr.read())
        assert process.wait(WAIT_SECONDS) == 128 + number
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    assert found[-1]["signal"] == number.name
    assert summary(found) == (63, 63, 0, 0, 0)
    assert kept.column("SELECT COUNT(*) FROM run") == ["63"]


def _stored(kept: Any, least: int) -> bool:
    try:
        return int(kept.column("SELECT COUNT(*) FROM run")[0]) >= least
    except (sqlite3.Error, RuntimeError):
        return False  # there is no table yet


def test_a_live_receiver_is_exported(
    start_receiver: Callable[..., Any], command: Command, message: run_pb2.Run, tmp_path: Path
) -> None:
    """While a receiver stores pushes, an export holds all that were stored before it began."""
    receiver = start_receiver("--db=live.db")

    def push(number: int) -> str:
        receiver.push(copied(message, push_id=push_id(number)))
        return push_id(number)

    before = {push(n) for n in range(20)}
    ended = threading.Event()
    after: set[str] = set()

    def go_on() -> None:
        for number in range(1000, 4000):
            if ended.is_set():
                return
            after.add(push(number))

    pusher = threading.Thread(target=go_on)
    pusher.start()
    try:
        done = command("export", "--db=live.db")
    finally:
        ended.set()
        pusher.join()
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {line["push_id"] for line in lines[1:-1]}
    assert before <= found <= before | after
    assert lines[-1] == {"end": True, "run_count": len(found)}


def test_progress_on_a_terminal() -> None:
    """Twice a second at most one line is written over; without a terminal nothing is."""
    times = iter([0.0, 0.1, 0.5, 0.6, 2.0])
    stream = io.StringIO()
    progress = Progress("importing", stream, lambda: next(times))
    for count in (10, 50, 60, 300):
        progress.show(count)
    progress.close()
    shown = stream.getvalue().split("\r\x1b[K")
    assert shown == ["", "importing: 50 runs, 100 runs/s", "importing: 300 runs, 150 runs/s", ""]
    Progress("importing", None, lambda: 0.0).show(5)


def test_lines_are_read_in_groups() -> None:
    """All lines are read, in groups of up to 64; the last may lack its newline."""
    expected = [b"x" * (n % 7 * 10_000) for n in range(200)] + [b"rest"]
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as stream:
            stream.write(b"\n".join(expected))

    writer = threading.Thread(target=write)
    writer.start()
    lines = Lines(reading)
    groups = []
    while group := lines.read():
        groups.append(group)
    writer.join()
    os.close(reading)
    assert [line for group in groups for line in group] == expected
    assert [len(group) for group in groups] == [64, 64, 64, 9]


def test_groups_of_long_lines_are_short(tmp_path: Path) -> None:
    """Lines of 3 MiB are read in groups of about 4 MiB."""
    (tmp_path / "long").write_bytes(b"\n".join([b"x" * 3 * 2**20] * 7) + b"\n")
    descriptor = os.open(tmp_path / "long", os.O_RDONLY)
    lines = Lines(descriptor)
    groups = []
    while group := lines.read():
        groups.append([len(line) for line in group])
    os.close(descriptor)
    assert [size for group in groups for size in group] == [3 * 2**20] * 7
    assert max(map(len, groups)) <= 2


@pytest.mark.slow
def test_a_killed_import_is_run_again(
    kept: Any, command: Command, line_of: LineOf, export_of: Export, log: Log
) -> None:
    """After SIGKILL in the middle a second import stores what is missing, nothing twice."""
    content = export_of(varied(line_of, 2000))
    line = [*PROGRAM, "import", f"--db={kept.where}", "--migrate", "--log-level=error"]
    with Fork(line, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(content[: len(content) // 2])
        process.stdin.flush()
        while not _stored(kept, 500):
            assert process.poll() is None
        process.kill()
        assert process.wait(WAIT_SECONDS) == -signal.SIGKILL
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    before = int(kept.column("SELECT COUNT(*) FROM run")[0])
    assert 500 <= before <= 1000
    done = command("import", f"--db={kept.where}", "--migrate", content=content)
    assert done.returncode == 0, done.stderr
    assert summary(log(done.stderr)) == (2000, 2000 - before, 0, before, 0)
    assert kept.column("SELECT COUNT(*) FROM run_container") == ["4000"]


def test_a_terminal_sees_progress_and_is_not_read(
    make_kept: Callable[[str], Any], line_of: LineOf
) -> None:
    """An import shows its progress on a terminal, and does not read from one."""
    master, terminal = os.openpty()
    line = [*PROGRAM, "import", f"--db={make_kept('sqlite').where}"]
    done = forks.run(line, stdin=terminal)
    assert (done.returncode, done.stderr[:28]) == (2, b"receiver: name the file to i")
    run = line_of(1)
    with Fork(line, stdin=subprocess.PIPE, stderr=terminal) as process:
        os.close(terminal)
        assert process.stdin is not None
        process.stdin.write(b'{"format":"runmeter-runs","version":1}\n')
        shown: list[bytes] = []
        watcher = threading.Thread(target=_watch, args=(master, shown))
        watcher.start()
        while b"runs/s" not in b"".join(shown):
            process.stdin.write(run * LINES_MAX)
        process.stdin.close()
        assert process.wait(WAIT_SECONDS) == 1
        watcher.join()
    os.close(master)
    assert b"importing: " in b"".join(shown)


def _watch(terminal: int, shown: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # it is closed
        while read := os.read(terminal, 4096):
            shown.append(read)
