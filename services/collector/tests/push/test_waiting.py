"""Runs that wait in a spool, pushed after a collector's own run or by ``collector push``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from runmeter.collector.spool.folder import MAX_BYTES
from runmeter.collector.spool.format import encode
from runmeter.collector.spool.locks import lock
from runmeter.v1 import run_pb2

WAIT_SECONDS = 60


def arrived(receiver: Any) -> list[run_pb2.Run]:
    """Return the runs that have arrived."""
    return [receiver.pushes.get_nowait().run for _ in range(receiver.pushes.qsize())]


def refusing(code: grpc.StatusCode, details: str) -> Callable[[Any], Any]:
    """Return an answer that refuses."""
    return lambda context: context.abort(code, details)


# -- after a collector's own run ----------------------------------------------------------


def test_waiting_runs_of_the_scope_follow(spool: Any, receiver: Any) -> None:
    """After its own run the pusher delivers the waiting ones; no file is left."""
    for number in (1, 2, 3):
        spool.add(number)
    done = spool.push(2, receiver.endpoint)
    assert done.code == 0
    expected = [spool.push_id(n) for n in (2, 1, 3)]
    assert [run.push_id for run in arrived(receiver)] == expected
    assert spool.names() == []
    assert [line["push_id"] for line in done.events("run.pushed")] == expected


def test_other_scopes_are_left_alone(spool: Any, receiver: Any) -> None:
    """Both forms of a repository are one scope; a run that differs in another field waits."""
    organization, repository = spool.run["organization"], spool.run["repository"]
    short = repository.removeprefix(f"{organization}/")
    spool.add(1, repository=f"{organization}/{short}")
    spool.add(2, repository=short)
    others = [
        spool.add(3, organization="another"),
        spool.add(4, repository="another"),
        spool.add(5, workflow="another"),
        spool.add(6, job="another"),
    ]
    assert spool.push(1, receiver.endpoint).code == 0
    assert [run.push_id for run in arrived(receiver)] == [spool.push_id(1), spool.push_id(2)]
    assert spool.names() == [path.name for path in others]


def test_a_dead_collectors_checkpoint_is_pushed_as_interrupted(spool: Any, receiver: Any) -> None:
    """It keeps its own revision; the time of its next push is removed."""
    spool.add(1, state="running", revision=7, next_push_within_seconds=300.0)
    spool.add(2)
    assert spool.push(2, receiver.endpoint).code == 0
    _, left = arrived(receiver)
    assert (left.state, left.revision) == (run_pb2.RUN_STATE_INTERRUPTED, 7)
    assert not left.HasField("next_push_within_seconds")


def test_a_live_run_is_not_touched(spool: Any, receiver: Any) -> None:
    """While a collector measures a run, no other process pushes or changes its file."""
    live = spool.add(1, state="running")
    spool.add(2)
    content = live.read_bytes()
    descriptor = lock(str(spool.path), spool.push_id(1))
    named = spool.push(1, receiver.endpoint)
    assert (named.code, named.last["event"]) == (3, "run.kept")
    assert spool.push(2, receiver.endpoint).code == 0
    done = spool.push_all(receiver.endpoint)
    assert (done.code, done.ids("live")) == (0, [spool.push_id(1)])
    assert [run.push_id for run in arrived(receiver)] == [spool.push_id(2)]
    assert live.read_bytes() == content
    assert spool.names() == [live.name, f"{spool.push_id(1)}.lock"]
    os.close(descriptor)
    assert spool.push_all(receiver.endpoint).ids("pushed") == [spool.push_id(1)]


def test_no_waiting_run_is_tried_at_an_unreachable_receiver(spool: Any) -> None:
    """If the own run cannot be delivered, the waiting ones are not tried."""
    for number in (1, 2):
        spool.add(number)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        done = spool.push(1, f"grpc://127.0.0.1:{port}", deadline_seconds=1)
    assert done.code == 3
    assert [line["path"] for line in done.events("run.kept")] == [str(spool.file(1))]


def test_waiting_runs_are_tried_after_an_internal_error(spool: Any, receiver: Any) -> None:
    """An internal error may concern one run only: each other run is tried, once."""
    for number in (1, 2):
        spool.add(number)
    receiver.answer = refusing(grpc.StatusCode.INTERNAL, "a defect")
    done = spool.push(1, receiver.endpoint)
    assert done.code == 3
    assert [run.push_id for run in arrived(receiver)] == [spool.push_id(1), spool.push_id(2)]
    paths = [str(spool.file(number)) for number in (1, 2)]
    assert [line["path"] for line in done.events("run.kept")] == paths


def _in_memory(spool: Any, **changes: Any) -> int:
    """Return the descriptor of run 1 in memory, revision 4."""
    descriptor = os.memfd_create("run", 0)
    os.write(descriptor, spool.content(1, revision=4, **changes))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_checkpoint_in_the_spool_goes_with_the_run_from_memory(
    spool: Any, receiver: Any, has_checkpoint: bool
) -> None:
    """When a run from memory is acknowledged, its checkpoint is removed."""
    if has_checkpoint:
        spool.add(1, state="running", revision=3)
    memory = _in_memory(spool)
    descriptor = lock(str(spool.path), spool.push_id(1))
    inherited = (memory, descriptor)
    process = spool.start(
        1, receiver.endpoint, memory_fd=memory, lock_fd=descriptor, pass_fds=inherited
    )
    for each in inherited:
        os.close(each)
    assert spool.end(process).code == 0
    assert [run.revision for run in arrived(receiver)] == [4]
    assert spool.names() == []


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_run_in_memory_that_a_signal_ends(spool: Any, held: Any, has_checkpoint: bool) -> None:
    """A run that was only in memory is lost; if there is a checkpoint, its path is logged."""
    if has_checkpoint:
        spool.add(1, state="running", revision=3)
    memory = _in_memory(spool)
    process = spool.start(1, held.endpoint, memory_fd=memory, signal_count=1, pass_fds=(memory,))
    os.close(memory)
    held.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(signal.SIGTERM)
    done = spool.end(process)
    assert done.code == 3
    [line] = done.lines
    if has_checkpoint:
        assert (line["event"], line["path"]) == ("run.kept", str(spool.file(1)))
        assert line["reason"] == "ended by a signal; only its last checkpoint could be kept"
    else:
        assert (line["event"], line["reason"]) == ("run.lost", "ended by a signal")


# -- a checkpoint push --------------------------------------------------------------------


def test_a_checkpoint_is_pushed_as_it_is(spool: Any, receiver: Any) -> None:
    """The run is pushed as running; its file, its lock and all other runs stay as they are."""
    live = spool.add(1, state="running", next_push_within_seconds=300.0)
    spool.add(2)
    descriptor = lock(str(spool.path), spool.push_id(1))
    done = spool.push(1, receiver.endpoint, task="checkpoint")
    os.close(descriptor)
    assert done.code == 0
    (run,) = arrived(receiver)
    assert (run.state, run.next_push_within_seconds) == (run_pb2.RUN_STATE_RUNNING, 300.0)
    assert live.exists()


@pytest.mark.parametrize(
    ("status", "code"),
    [("INVALID_ARGUMENT", 4), ("PERMISSION_DENIED", 4), ("INTERNAL", 3), ("UNAVAILABLE", 3)],
)
def test_a_checkpoint_that_is_refused_is_no_error(
    spool: Any, receiver: Any, status: str, code: int
) -> None:
    """Nothing is moved; the log has one line of level info."""
    live = spool.add(1, state="running")
    receiver.answer = refusing(grpc.StatusCode[status], "no")
    seconds = 1 if status == "UNAVAILABLE" else 20
    done = spool.push(1, receiver.endpoint, task="checkpoint", deadline_seconds=seconds)
    assert (done.code, spool.names()) == (code, [live.name])
    assert [(line["event"], line["level"]) for line in done.lines] == [
        ("checkpoint.failed", "info")
    ]


# -- all runs -----------------------------------------------------------------------------


def test_each_answer_decides_about_one_run(spool: Any, receiver: Any) -> None:
    """Invalid: rejected; wrong token: kept, 4; internal error: kept; all others are pushed."""
    answers = {
        spool.push_id(1): refusing(grpc.StatusCode.INVALID_ARGUMENT, "payload: is empty"),
        spool.push_id(2): refusing(grpc.StatusCode.PERMISSION_DENIED, "not this scope"),
        spool.push_id(3): refusing(grpc.StatusCode.INTERNAL, "a defect"),
        spool.push_id(4): receiver.acknowledge,
    }
    for number in (1, 2, 3, 4):
        spool.add(number, job=f"job-{number}")
    receiver.answer = lambda context: answers[receiver.pushes.queue[-1].run.push_id](context)
    done = spool.push_all(receiver.endpoint)
    assert done.code == 4
    assert {what: done.ids(what) for what in ("pushed", "kept", "rejected", "live")} == {
        "pushed": [spool.push_id(4)], "kept": [spool.push_id(3)],
        "rejected": [spool.push_id(1), spool.push_id(2)], "live": [],
    }  # fmt: skip
    rejected = spool.file(1, "rejected")
    assert spool.names() == [spool.file(2).name, spool.file(3).name, f"rejected/{rejected.name}"]
    assert json.loads(rejected.read_text())["reason"] == "INVALID_ARGUMENT: payload: is empty"
    receiver.answer = receiver.acknowledge
    descriptor = lock(str(spool.path), spool.push_id(1))
    [live] = spool.push_all(receiver.endpoint, retry_rejected=True).report["live"]
    assert live["path"] == str(rejected)
    os.close(descriptor)
    assert spool.push_all(receiver.endpoint, retry_rejected=True).code == 0
    assert spool.names() == []


def test_a_refused_token_is_sent_once_per_scope(spool: Any, receiver: Any) -> None:
    """After the token is refused, the other runs of that scope are kept and not tried."""
    for number in (1, 2, 3):
        spool.add(number)
    receiver.answer = refusing(grpc.StatusCode.UNAUTHENTICATED, "expired")
    done = spool.push_all(receiver.endpoint)
    assert (done.code, receiver.pushes.qsize()) == (4, 1)
    assert len(spool.names()) == 3


def test_an_unavailable_receiver_ends_it_soon(spool: Any, receiver: Any) -> None:
    """Of many runs two are tried; all are kept where they are."""
    files = [spool.add(number) for number in range(6)]
    receiver.answer = refusing(grpc.StatusCode.UNAVAILABLE, "away")
    done = spool.push_all(receiver.endpoint, timeout_seconds=1)
    assert done.code == 3
    assert [run["path"] for run in done.report["kept"]] == [str(file) for file in files]
    assert {run["reason"] for run in done.report["kept"]} == {"UNAVAILABLE: away"}
    assert spool.names() == [file.name for file in files]
    assert len({run.push_id for run in arrived(receiver)}) == 2


def test_two_pushers_deliver_each_run_once(spool: Any, receiver: Any) -> None:
    """Two pushers of one spool at the same time: each run arrives once, no file is left."""
    count = 40
    for number in range(count):
        spool.add(number)
    gate = threading.Barrier(2)

    def meet(context: Any) -> Any:
        receiver.answer = receiver.acknowledge
        gate.wait(WAIT_SECONDS)
        return receiver.acknowledge(context)

    receiver.answer = meet
    programs = [spool.start_all(receiver.endpoint) for _ in range(2)]
    gate.wait(WAIT_SECONDS)
    both = [spool.end(program) for program in programs]
    assert [done.code for done in both] == [0, 0]
    delivered = sorted(run.push_id for run in arrived(receiver))
    assert delivered == [spool.push_id(n) for n in range(count)]
    assert sorted(both[0].ids("pushed") + both[1].ids("pushed")) == delivered
    assert spool.names() == []


def test_a_signal_ends_it_and_keeps_the_rest(spool: Any, receiver: Any) -> None:
    """Acknowledged runs are removed; all others stay."""
    for number in (1, 2, 3):
        spool.add(number)
    release = threading.Event()
    answers = iter([receiver.acknowledge, lambda _: release.wait(WAIT_SECONDS)])
    receiver.answer = lambda context: next(answers)(context)
    process = spool.start_all(receiver.endpoint, signal_count=1)
    for _ in range(2):
        receiver.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(signal.SIGTERM)
    done = spool.end(process)
    release.set()
    assert (done.code, done.ids("pushed")) == (3, [spool.push_id(1)])
    kept = [name for name in spool.names() if name.endswith(".json")]
    assert kept == [spool.file(2).name, spool.file(3).name]


def test_an_unencrypted_token_is_one_warning(spool: Any) -> None:
    """Several runs to another machine without TLS: one warning."""
    for number in (1, 2):
        spool.add(number)
    done = spool.push_all("http://a..b:1", timeout_seconds=1)
    assert len(done.events("push.unencrypted")) == 1


def test_the_lock_of_a_dead_process_is_free(spooled: Any, receiver: Any) -> None:
    """A killed owner leaves its lock file, but the run is free."""
    code = (
        "import sys, signal; from runmeter.collector.spool.locks import lock; "
        "lock(*sys.argv[1:]); print('locked', flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", code, str(spooled.path), spooled.push_id(1)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"locked\n"
        assert spooled.push_all(receiver.endpoint).ids("live") == [spooled.push_id(1)]
        owner.kill()
    assert spooled.file(1).with_suffix(".lock").exists()
    assert spooled.push_all(receiver.endpoint).ids("pushed") == [spooled.push_id(1)]
    assert spooled.names() == []


# -- files that are not runs --------------------------------------------------------------


def _make_hostile(spool: Any) -> dict[str, bool]:
    """Fill the spool with files that are not runs; return each name and whether it is moved."""
    spool.path.mkdir()
    spool.file(1).write_bytes(b"{")
    elsewhere = spool.path.parent / "elsewhere.json"
    elsewhere.write_bytes(spool.content(2))
    spool.file(2).symlink_to(elsewhere)
    os.mkfifo(spool.file(3))
    spool.file(4).mkdir()
    with spool.file(5).open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    spool.file(6).write_bytes(encode({"push_id": spool.push_id(7)}))
    spool.file(8).write_bytes(encode({"push_id": spool.push_id(8)}))
    spool.add(9, payload={"start_time": 3})
    spool.file(10).write_bytes(encode({}).replace(b'"format":1', b'"format":2'))
    (spool.path / "notes.txt").write_text("mine")
    (spool.path / "package.json").write_text("{}")
    return {
        **{spool.file(n).name: True for n in (1, 2, 3, 4, 5, 6, 8, 9)},
        **{name: False for name in (spool.file(10).name, "notes.txt", "package.json")},
    }


def test_files_that_are_not_runs_are_set_aside(spool: Any, receiver: Any) -> None:
    """Damaged files, pipes, links, folders and too large files are moved, with a warning each.

    A file of a later version, and files with other names, stay where they are.
    """
    moves = _make_hostile(spool)
    spool.add(99)
    done = spool.push_all(receiver.endpoint)
    assert (done.code, done.ids("pushed")) == (3, [spool.push_id(99)])
    for name, is_moved in moves.items():
        places = [os.path.lexists(folder / name) for folder in (spool.path, spool.path / "aside")]
        assert places == [not is_moved, is_moved], name
    assert len(done.events("spool.set_aside")) == sum(moves.values())
    (unreadable,) = done.events("run.unreadable")
    assert (unreadable["path"], unreadable["level"]) == (str(spool.file(10)), "warning")
    assert (spool.path.parent / "elsewhere.json").exists()
    assert len(arrived(receiver)) == 1
