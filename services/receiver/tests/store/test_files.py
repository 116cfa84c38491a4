"""The SQLite file is taken away or replaced under a receiver that serves."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from rig.receiver import push_id

from runmeter.receiver import events
from runmeter.v1 import run_pb2

GONE = "its file was moved, removed or replaced"


def push_ids(*numbers: int) -> set[str]:
    """Return UUIDs."""
    return set(map(push_id, numbers))


def push(receiver: Any, message: run_pb2.Run, *numbers: int) -> None:
    """Push runs with push_ids of their own."""
    for number in numbers:
        message.push_id = push_id(number)
        assert receiver.push(message).duplicate is False


def stored(receiver: Any, message: run_pb2.Run) -> set[str]:
    """Return the push_ids that a query answers."""
    return {found.run.push_id for found in receiver.stored(message.scope)}


def check_refused(receiver: Any, message: run_pb2.Run, reason: str) -> None:
    """Check that /readyz, pushes and queries all say why they cannot go on."""
    receiver.await_page("/readyz", 503, f"not ready: the database: {reason}\n")
    message.push_id = push_ids(99).pop()
    for call in (lambda: receiver.push(message), lambda: receiver.stored(message.scope)):
        with pytest.raises(grpc.RpcError, match=reason) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def check_whole(path: Path, *numbers: int) -> None:
    """Check that the file is not damaged and holds these runs, seen past the receiver."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = {push_id for (push_id,) in database.execute("SELECT push_id FROM run")}
    assert found == push_ids(*numbers)


def backup(path: Path) -> Path:
    """Make a backup of a database that is served."""
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(path.with_suffix(".backup"))) as target,
    ):
        source.backup(target)
    return path.with_suffix(".backup")


def move_aside(path: Path) -> Callable[[], None]:
    """Move the file away; return what moves it back."""
    aside = path.rename(path.with_suffix(".aside"))
    return lambda: aside.replace(path)


def move_aside_for_a_copy(path: Path) -> Callable[[], None]:
    """Move the file away; return what puts a copy in its place."""
    aside = path.rename(path.with_suffix(".aside"))
    return lambda: shutil.copy(aside, path) and None


def remove(path: Path) -> Callable[[], None]:
    """Remove the file alone; return what restores a backup."""
    made = backup(path)
    path.unlink()
    return lambda: shutil.copy(made, path) and None


def remove_all(path: Path) -> Callable[[], None]:
    """Remove the file and those beside it; return what restores a backup."""
    made = backup(path)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    return lambda: shutil.copy(made, path) and None


@pytest.mark.parametrize("take", [move_aside, move_aside_for_a_copy, remove, remove_all])
def test_a_file_that_is_gone_and_put_back(
    receiver: Any, message: run_pb2.Run, take: Callable[[Path], Callable[[], None]]
) -> None:
    """Gone: not ready, pushes and queries are refused, no file is made. Put back: it goes on
    without a restart, and nothing that was acknowledged is missing."""
    path = receiver.folder / "metrics.db"
    push(receiver, message, 1, 2)
    put_back = take(path)
    check_refused(receiver, message, GONE)
    check_refused(receiver, message, GONE)
    assert not path.exists()
    put_back()
    receiver.await_page("/readyz", 200)
    push(receiver, message, 3)
    assert stored(receiver, message) == push_ids(1, 2, 3)
    check_whole(path, 1, 2, 3)
    assert receiver.end() == 0
    check_whole(path, 1, 2, 3)
    logged = [line for line in receiver.events() if line["event"] == events.DATABASE_REPLACED]
    assert len(logged) == (take is not move_aside)


def test_a_file_without_tables_in_its_place(receiver: Any, message: run_pb2.Run) -> None:
    """Not ready, refused with that reason; with the right file in its place all goes on."""
    path = receiver.folder / "metrics.db"
    push(receiver, message, 1)
    put_back = move_aside(path)
    check_refused(receiver, message, GONE)
    path.touch()
    check_refused(receiver, message, "its tables are missing")
    put_back()
    receiver.await_page("/readyz", 200)
    push(receiver, message, 2)
    assert stored(receiver, message) == push_ids(1, 2)


def test_a_file_that_takes_its_place_at_once(receiver: Any, message: run_pb2.Run) -> None:
    """The new file is noticed, and not read with the log of the old one, which is renamed."""
    path = receiver.folder / "metrics.db"
    push(receiver, message, 1)
    made = backup(path)
    push(receiver, message, *range(2, 10))
    made.replace(path)
    receiver.await_page("/readyz", 503)
    receiver.await_page("/readyz", 200)
    push(receiver, message, 10)
    assert stored(receiver, message) == push_ids(1, 10)
    check_whole(path, 1, 10)
    (kept,) = path.parent.glob("metrics.db-wal.*")
    assert kept.stat().st_size > 8192
    assert receiver.wait_for(events.DATABASE_REPLACED)["kept"].endswith(kept.name)
    assert receiver.end() == 0
    check_whole(path, 1, 10)


def test_a_push_notices_another_file(receiver: Any, message: run_pb2.Run) -> None:
    """Without a request of /readyz one push is refused, the next goes into the new file."""
    path = receiver.folder / "metrics.db"
    push(receiver, message, 1)
    shutil.copy(backup(path), path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
    with pytest.raises(grpc.RpcError, match=GONE):
        push(receiver, message, 2)
    push(receiver, message, 3)
    assert stored(receiver, message) == push_ids(1, 3)
    check_whole(path, 1, 3)


def test_moved_away_and_ended(
    receiver: Any, message: run_pb2.Run, start_receiver: Callable[..., Any]
) -> None:
    """Without a request before the end: the moved file has every run, a new start begins empty."""
    path = receiver.folder / "metrics.db"
    push(receiver, message, 1, 2)
    aside = path.rename(path.with_suffix(".aside"))
    assert receiver.end() == 0
    assert stored(start_receiver(), message) == set()
    check_whole(aside, 1, 2)


def test_replaced_and_ended(
    receiver: Any, message: run_pb2.Run, start_receiver: Callable[..., Any]
) -> None:
    """Without a request before the end: the new file is not read with the log of the old one."""
    path = receiver.folder / "metrics.db"
    push(receiver, message, 1)
    made = backup(path)
    push(receiver, message, *range(2, 10))
    made.replace(path)
    assert receiver.end() == 0
    assert list(path.parent.glob("metrics.db-wal.*"))
    assert stored(start_receiver(), message) == push_ids(1)
    check_whole(path, 1)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_log_without_its_file(
    receiver: Any, message: run_pb2.Run, command: Callable[..., Any], is_there: bool
) -> None:
    """No new file is made beside a log that belongs to another one: SQLite would delete it."""
    path = receiver.folder / "metrics.db"
    push(receiver, message, 1, 2)
    receiver.process.kill()
    receiver.process.wait()
    aside = path.rename(path.with_suffix(".aside"))
    if is_there:
        path.touch()
    done = command("migrate", f"--db={path}")
    assert done.returncode == 1
    assert b"put the database back" in done.stderr
    aside.replace(path)
    assert command("migrate", f"--db={path}").returncode == 0
    check_whole(path, 1, 2)


def test_replaced_under_queries(receiver: Any, message: run_pb2.Run) -> None:
    """Queries that wait while the file is replaced leave nothing open: the receiver ends."""
    path = receiver.folder / "metrics.db"
    push(receiver, message, 1)

    def list_again_and_again(ended: threading.Event) -> set[grpc.StatusCode]:
        codes = set()
        while not ended.is_set():
            try:
                receiver.stored(message.scope)
            except grpc.RpcError as error:
                codes.add(error.code())
        return codes

    ended = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        lists = [pool.submit(list_again_and_again, ended) for _ in range(8)]
        try:
            for _ in range(5):
                shutil.copy(backup(path), path.with_suffix(".new"))
                path.with_suffix(".new").replace(path)
                receiver.wait_for(events.DATABASE_REPLACED)
                receiver.await_page("/readyz", 200)
        finally:
            ended.set()
    assert set().union(*(one.result() for one in lists)) <= {grpc.StatusCode.UNAVAILABLE}
    assert receiver.end() == 0


# the mode of a file does not bind root
_UNPRIVILEGED = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)
SERVE = (
    *("--read-token=token", "--hmac-key=a-key-that-is-long-enough"),
    *("--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"),
)


def unprivileged(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``receiver`` to its end, as a user who may not write what is read-only."""
    line = [*_UNPRIVILEGED, sys.executable, "-m", "runmeter.receiver", "--db=metrics.db", *words]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "words",
    [SERVE, ("migrate",), ("export",), ("prune", "--older-than=1d")],
    ids=["serve", "migrate", "export", "prune"],
)
def test_a_file_that_cannot_be_written(
    tmp_path: Path, command: Callable[..., Any], words: tuple[str, ...]
) -> None:
    """It is one sentence, and leaves nothing that keeps the next start from the file."""
    database = tmp_path / "metrics.db"
    assert command("migrate", "--db=metrics.db").returncode == 0
    database.chmod(0o444)
    done = unprivileged(tmp_path, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"receiver: cannot use the database metrics.db: this user may not write {database}\n"
    )
    assert list(tmp_path.iterdir()) == [database]
    database.chmod(0o644)
    assert unprivileged(tmp_path, "export").returncode == 0


def test_a_log_that_cannot_be_written(tmp_path: Path, command: Callable[..., Any]) -> None:
    """The file of the database that blocks the start is named."""
    assert command("migrate", "--db=metrics.db").returncode == 0
    (tmp_path / "metrics.db-shm").touch(0o444)
    done = unprivileged(tmp_path, "migrate")
    assert done.stderr.endswith(f"may not write {tmp_path}/metrics.db-shm\n")


def test_an_export_by_a_reader(receiver: Any, message: run_pb2.Run, tmp_path: Path) -> None:
    """A user who may only read exports a database that a receiver serves."""
    push(receiver, message, 1)
    for path in tmp_path.glob("metrics.db*"):
        path.chmod(0o444)
    done = unprivileged(tmp_path, "export")
    assert (done.returncode, done.stdout.count('"push_id"')) == (0, 1)
