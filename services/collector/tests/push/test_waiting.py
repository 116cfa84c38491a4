"""What waits in a spool, pushed by the program behind its own run or by ``collector push``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any

import grpc
import pytest
from rig.pusher import start_pusher

from runmeter.collector.errors import HeldError
from runmeter.collector.spool.folder import MAX_BYTES, path_of, write_file
from runmeter.collector.spool.format import encode
from runmeter.collector.spool.locks import lock, release
from runmeter.v1 import ingest_service_pb2, run_pb2

TOKEN = "t0ken-nobody-may-see"
WAIT_SECONDS = 60


def push_id(number: int) -> str:
    """Return the n-th push_id."""
    return f"00000000-0000-4000-8000-{number:012}"


class Folder:
    """A spool and the programs that empty it."""

    def __init__(self, path: Path, run: dict[str, Any]) -> None:
        self.path = path
        self.run = run

    def add(self, number: int, **changes: Any) -> Path:
        """Spool the run once more, as the n-th, with changes."""
        run = {**self.run, "push_id": push_id(number), **changes}
        return Path(write_file(str(self.path), run["push_id"], encode(run)))

    def names(self) -> list[str]:
        """Return the files in the spool, by relative path."""
        found = [p for p in self.path.rglob("*") if p.is_symlink() or not p.is_dir()]
        return sorted(str(p.relative_to(self.path)) for p in found)

    def start(self, number: int, endpoint: str, **order: Any) -> subprocess.Popen[str]:
        """Start the pusher of the n-th run."""
        stored = {"spool_dir": str(self.path), "push_id": push_id(number)}
        return start_pusher(TOKEN, endpoint=endpoint, **stored, **order)

    def own(self, number: int, endpoint: str, **order: Any) -> Ended:
        """Push the n-th run as a collector does at its end, and what waits."""
        return ended(self.start(number, endpoint, **order))

    def start_all(self, endpoint: str, timeout_seconds: float = 20.0, **order: Any) -> Any:
        """Start the pusher of everything, which reports as JSON."""
        what = {"task": "spool", "spool_dir": str(self.path), "as_json": True}
        timeout_ns = round(timeout_seconds * 1e9)
        return start_pusher(TOKEN, endpoint=endpoint, timeout_ns=timeout_ns, **what, **order)

    def all(self, endpoint: str, timeout_seconds: float = 20.0, **order: Any) -> Ended:
        """Push everything, reported as JSON."""
        return ended(self.start_all(endpoint, timeout_seconds, **order))


class Ended:
    """A program that has ended: exit code, log lines, the object it printed."""

    def __init__(self, code: int, output: str, errors: str) -> None:
        assert TOKEN not in output + errors
        self.code = code
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in errors.splitlines()]
        self.report: dict[str, Any] = json.loads(output) if output else {}

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of an event."""
        return [line for line in self.lines if line["event"] == name]

    def ids(self, what: str) -> list[str]:
        """Return the push_ids the report lists under a word."""
        return [entry["push_id"] for entry in self.report[what]]


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a program."""
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    return Ended(process.returncode, output, errors)


@pytest.fixture
def folder(tmp_path: Path, golden_run: dict[str, Any]) -> Folder:
    """Return an empty spool; its runs are the golden one."""
    for name in ("id", "received_at", "updated_at"):
        del golden_run[name]
    return Folder(tmp_path / "spool", golden_run)


def arrived(receiver: Any) -> list[run_pb2.Run]:
    """Return every run that has arrived so far."""
    return [receiver.pushes.get_nowait().run for _ in range(receiver.pushes.qsize())]


def refusing(code: grpc.StatusCode, details: str) -> Callable[[Any], Any]:
    """Return an answer that refuses."""
    return lambda context: context.abort(code, details)


# -- behind a collector's own run ---------------------------------------------------------


def test_what_waits_of_the_scope_follows(folder: Folder, receiver: Any) -> None:
    """Behind its own run the pusher delivers those that died before; no file is left."""
    for number in (1, 2, 3):
        folder.add(number)
    done = folder.own(2, receiver.endpoint)
    assert done.code == 0
    assert [run.push_id for run in arrived(receiver)] == [push_id(n) for n in (2, 1, 3)]
    assert folder.names() == []
    assert [line["push_id"] for line in done.events("run.pushed")] == [
        push_id(n) for n in (2, 1, 3)
    ]


def test_other_scopes_are_left_alone(folder: Folder, receiver: Any) -> None:
    """Both forms of a repository are one scope; every other field keeps a run where it is."""
    scope = {name: folder.run[name] for name in ("organization", "repository", "workflow", "job")}
    short = scope["repository"].removeprefix(f"{scope['organization']}/")
    folder.add(1, repository=f"{scope['organization']}/{short}")
    folder.add(2, repository=short)
    others = [
        folder.add(3, organization="another"),
        folder.add(4, repository="another"),
        folder.add(5, workflow="another"),
        folder.add(6, job="another"),
    ]
    assert folder.own(1, receiver.endpoint).code == 0
    assert [run.push_id for run in arrived(receiver)] == [push_id(1), push_id(2)]
    assert folder.names() == [path.name for path in others]


def test_a_dead_collectors_checkpoint_is_pushed_as_interrupted(
    folder: Folder, receiver: Any
) -> None:
    """It keeps its own revision; the time of its next push is removed."""
    folder.add(1, state="running", revision=7, next_push_within_seconds=300.0)
    folder.add(2)
    assert folder.own(2, receiver.endpoint).code == 0
    _, left = arrived(receiver)
    assert (left.state, left.revision) == (run_pb2.RUN_STATE_INTERRUPTED, 7)
    assert not left.HasField("next_push_within_seconds")


def test_a_live_run_is_not_touched(folder: Folder, receiver: Any) -> None:
    """While a collector runs, no other process pushes or changes its file."""
    live = folder.add(1, state="running")
    folder.add(2)
    content = live.read_bytes()
    descriptor = lock(str(folder.path), push_id(1))
    assert folder.own(2, receiver.endpoint).code == 0
    done = folder.all(receiver.endpoint)
    assert (done.code, done.ids("live")) == (0, [push_id(1)])
    assert [run.push_id for run in arrived(receiver)] == [push_id(2)]
    assert live.read_bytes() == content
    assert folder.names() == [live.name, f"{push_id(1)}.lock"]
    os.close(descriptor)
    assert folder.all(receiver.endpoint).ids("pushed") == [push_id(1)]


def test_a_live_run_behind_the_own_is_left_to_its_collector(folder: Folder, receiver: Any) -> None:
    """A file another process owns is not pushed even when it is named."""
    folder.add(1)
    descriptor = lock(str(folder.path), push_id(1))
    done = folder.own(1, receiver.endpoint)
    os.close(descriptor)
    assert (done.code, done.lines[-1]["event"]) == (3, "run.kept")
    assert receiver.pushes.empty()


def test_the_inherited_lock_counts(folder: Folder, receiver: Any) -> None:
    """With the lock of the process it replaced the pusher owns the run until it ends."""
    folder.add(1)
    descriptor = lock(str(folder.path), push_id(1))
    done = folder.own(1, receiver.endpoint, lock_fd=descriptor, pass_fds=(descriptor,))
    os.close(descriptor)
    assert done.code == 0
    assert folder.names() == []


def test_a_receiver_that_is_away_is_not_asked_for_the_rest(folder: Folder) -> None:
    """When the own run cannot be delivered those that wait are not tried."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        for number in (1, 2):
            folder.add(number)
        done = folder.own(1, f"grpc://127.0.0.1:{bound.getsockname()[1]}", deadline_seconds=1)
    assert done.code == 3
    assert [line["path"] for line in done.events("run.kept")] == [
        path_of(str(folder.path), push_id(1))
    ]


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_checkpoint_in_the_spool_goes_with_the_run_from_memory(
    folder: Folder, receiver: Any, has_checkpoint: bool
) -> None:
    """A run whose end could only be kept in memory, once acknowledged, leaves no checkpoint."""
    if has_checkpoint:
        folder.add(1, state="running", revision=3)
    memory = os.memfd_create("run", 0)
    os.write(memory, encode({**folder.run, "push_id": push_id(1), "revision": 4}))
    os.lseek(memory, 0, os.SEEK_SET)
    descriptor = lock(str(folder.path), push_id(1))
    process = folder.start(
        1,
        receiver.endpoint,
        memory_fd=memory,
        lock_fd=descriptor,
        pass_fds=(memory, descriptor),
    )
    for inherited in (memory, descriptor):
        os.close(inherited)
    assert ended(process).code == 0
    assert [run.revision for run in arrived(receiver)] == [4]
    assert folder.names() == []


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_run_in_memory_that_a_signal_ends(
    folder: Folder, receiver: Any, has_checkpoint: bool
) -> None:
    """A run that was only in memory is lost; if there is a checkpoint, its path is logged."""
    if has_checkpoint:
        folder.add(1, state="running", revision=3)
    release = threading.Event()
    receiver.answer = lambda context: release.wait(WAIT_SECONDS) and receiver.acknowledge(context)
    memory = os.memfd_create("run", 0)
    os.write(memory, encode({**folder.run, "push_id": push_id(1), "revision": 4}))
    os.lseek(memory, 0, os.SEEK_SET)
    process = folder.start(
        1, receiver.endpoint, memory_fd=memory, signal_count=1, pass_fds=(memory,)
    )
    os.close(memory)
    receiver.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(signal.SIGTERM)
    done = ended(process)
    release.set()
    assert done.code == 3
    [kept] = done.events("run.kept") + done.events("run.lost")
    if has_checkpoint:
        assert kept["path"] == path_of(str(folder.path), push_id(1))
        assert kept["reason"] == "ended by a signal; only its last checkpoint could be kept"
    else:
        assert (kept["event"], kept["reason"]) == ("run.lost", "ended by a signal")


# -- a checkpoint push --------------------------------------------------------------------


def test_a_checkpoint_is_pushed_as_it_is(folder: Folder, receiver: Any) -> None:
    """The run goes as running; its file, its lock and all others stay as they are."""
    live = folder.add(1, state="running", next_push_within_seconds=300.0)
    folder.add(2)
    descriptor = lock(str(folder.path), push_id(1))
    done = folder.own(1, receiver.endpoint, task="checkpoint")
    os.close(descriptor)
    assert done.code == 0
    (run,) = arrived(receiver)
    assert (run.state, run.next_push_within_seconds) == (run_pb2.RUN_STATE_RUNNING, 300.0)
    assert live.exists()


@pytest.mark.parametrize(
    ("status", "code"),
    [("INVALID_ARGUMENT", 4), ("PERMISSION_DENIED", 4), ("INTERNAL", 3), ("UNAVAILABLE", 3)],
)
def test_a_checkpoint_that_is_refused_is_no_alarm(
    folder: Folder, receiver: Any, status: str, code: int
) -> None:
    """Nothing is moved, and the log says it in one line of level info."""
    live = folder.add(1, state="running")
    receiver.answer = refusing(grpc.StatusCode[status], "no")
    done = folder.own(
        1,
        receiver.endpoint,
        task="checkpoint",
        deadline_seconds=1 if status == "UNAVAILABLE" else 20,
    )
    assert (done.code, folder.names()) == (code, [live.name])
    assert [(line["event"], line["level"]) for line in done.lines] == [
        ("checkpoint.failed", "info")
    ]


# -- everything ---------------------------------------------------------------------------


def test_each_run_ends_where_its_answer_puts_it(folder: Folder, receiver: Any) -> None:
    """Invalid: among the rejected; another's token: kept, 4; a defect: kept; others: pushed."""
    answers = {
        push_id(1): refusing(grpc.StatusCode.INVALID_ARGUMENT, "payload: is empty"),
        push_id(2): refusing(grpc.StatusCode.PERMISSION_DENIED, "not this scope"),
        push_id(3): refusing(grpc.StatusCode.INTERNAL, "a defect"),
        push_id(4): receiver.acknowledge,
    }
    for number in (1, 2, 3, 4):
        folder.add(number, job=f"job-{number}")
    seen: list[str] = []

    def answer(context: Any) -> Any:
        seen.append(receiver.pushes.queue[-1].run.push_id)
        return answers[seen[-1]](context)

    receiver.answer = answer
    done = folder.all(receiver.endpoint)
    assert done.code == 4
    assert {what: done.ids(what) for what in ("pushed", "kept", "rejected", "live")} == {
        "pushed": [push_id(4)], "kept": [push_id(3)],
        "rejected": [push_id(1), push_id(2)], "live": [],
    }  # fmt: skip
    assert folder.names() == [
        f"{push_id(2)}.json", f"{push_id(3)}.json", f"rejected/{push_id(1)}.json",
    ]  # fmt: skip
    document = json.loads((folder.path / "rejected" / f"{push_id(1)}.json").read_text())
    assert document["reason"] == "INVALID_ARGUMENT: payload: is empty"
    receiver.answer = receiver.acknowledge
    assert folder.all(receiver.endpoint, retry_rejected=True).code == 0
    assert folder.names() == []


def test_a_refused_token_is_shown_once_per_scope(folder: Folder, receiver: Any) -> None:
    """Further runs of a scope the token is not for are kept untried."""
    for number in (1, 2, 3):
        folder.add(number)
    receiver.answer = refusing(grpc.StatusCode.UNAUTHENTICATED, "expired")
    done = folder.all(receiver.endpoint)
    assert (done.code, receiver.pushes.qsize()) == (4, 1)
    assert len(folder.names()) == 3


def test_a_receiver_that_is_away_ends_it_soon(folder: Folder, receiver: Any) -> None:
    """Of many runs two are tried; all are kept."""
    for number in range(6):
        folder.add(number)
    receiver.answer = refusing(grpc.StatusCode.UNAVAILABLE, "away")
    done = folder.all(receiver.endpoint, timeout_seconds=1)
    assert (done.code, len(done.ids("kept")), len(folder.names())) == (3, 6, 6)
    assert len({run.push_id for run in arrived(receiver)}) == 2


def test_two_pushers_deliver_each_run_once(folder: Folder, receiver: Any) -> None:
    """Both empty one spool at once: no run arrives twice, none is left, none is lost."""
    count = 40
    for number in range(count):
        folder.add(number)
    gate = threading.Barrier(2)

    def meet(context: Any) -> Any:
        receiver.answer = receiver.acknowledge
        gate.wait(WAIT_SECONDS)
        return receiver.acknowledge(context)

    receiver.answer = lambda context: meet(context)
    programs = [folder.start_all(receiver.endpoint) for _ in range(2)]
    gate.wait(WAIT_SECONDS)
    both = [ended(program) for program in programs]
    assert [done.code for done in both] == [0, 0]
    delivered = sorted(run.push_id for run in arrived(receiver))
    assert delivered == sorted(push_id(n) for n in range(count))
    assert sorted(both[0].ids("pushed") + both[1].ids("pushed")) == delivered
    assert folder.names() == []


def test_a_signal_ends_it_and_keeps_the_rest(folder: Folder, receiver: Any) -> None:
    """Acknowledged runs are removed; all others stay for the next time."""
    for number in (1, 2, 3):
        folder.add(number)
    held = threading.Event()
    answers = iter([receiver.acknowledge, lambda _: held.wait(WAIT_SECONDS)])
    receiver.answer = lambda context: next(answers)(context)
    process = folder.start_all(receiver.endpoint, signal_count=1)
    for _ in range(2):
        receiver.pushes.get(timeout=WAIT_SECONDS)
    process.send_signal(signal.SIGTERM)
    done = ended(process)
    held.set()
    assert (done.code, done.ids("pushed")) == (3, [push_id(1)])
    assert [name for name in folder.names() if name.endswith(".json")] == [
        f"{push_id(2)}.json", f"{push_id(3)}.json",
    ]  # fmt: skip


# -- a hostile spool ----------------------------------------------------------------------


def _make_hostile(folder: Folder) -> dict[str, bool]:
    """Fill the spool with what is no run; return each name and whether it is to be moved."""
    foreign = folder.path
    foreign.mkdir()
    (foreign / f"{push_id(1)}.json").write_bytes(b"{")
    elsewhere = foreign.parent / "elsewhere.json"
    elsewhere.write_bytes(encode({**folder.run, "push_id": push_id(2)}))
    (foreign / f"{push_id(2)}.json").symlink_to(elsewhere)
    os.mkfifo(foreign / f"{push_id(3)}.json")
    (foreign / f"{push_id(4)}.json").mkdir()
    with open(foreign / f"{push_id(5)}.json", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    (foreign / f"{push_id(6)}.json").write_bytes(encode({"push_id": push_id(7)}))
    (foreign / f"{push_id(8)}.json").write_bytes(encode({"push_id": push_id(8)}))
    folder.add(9, payload={"start_time": 3})
    later = encode({}).replace(b'"format":1', b'"format":2')
    (foreign / f"{push_id(10)}.json").write_bytes(later)
    (foreign / "notes.txt").write_text("mine")
    (foreign / "package.json").write_text("{}")
    return {
        **{f"{push_id(n)}.json": True for n in (1, 2, 3, 4, 5, 6, 8, 9)},
        **{name: False for name in (f"{push_id(10)}.json", "notes.txt", "package.json")},
    }


def test_what_is_no_run_is_set_aside(folder: Folder, receiver: Any) -> None:
    """Damaged files, pipes, links, folders, giants go aside with a warning each; runs go through.

    A file of a later version, and files that are not named like runs, stay where they are.
    """
    moves = _make_hostile(folder)
    folder.add(99)
    done = folder.all(receiver.endpoint)
    assert (done.code, done.ids("pushed")) == (3, [push_id(99)])
    for name, is_moved in moves.items():
        places = [
            os.path.lexists(folder.path / name),
            os.path.lexists(folder.path / "aside" / name),
        ]
        assert places == [not is_moved, is_moved], name
    assert len(done.events("spool.set_aside")) == sum(moves.values())
    (unreadable,) = done.events("run.unreadable")
    assert (unreadable["path"], unreadable["level"]) == (
        str(folder.path / f"{push_id(10)}.json"), "warning",
    )  # fmt: skip
    assert (folder.path.parent / "elsewhere.json").exists()
    assert len(arrived(receiver)) == 1


# -- retries ------------------------------------------------------------------------------


def test_five_refusals_then_taken(folder: Folder, receiver: Any) -> None:
    """A receiver that is unavailable five times gets the run at the sixth; each wait is logged."""
    folder.add(1)
    left = [5]

    def answer(context: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        return receiver.acknowledge(context)

    receiver.answer = answer
    done = folder.own(1, receiver.endpoint)
    assert (done.code, receiver.pushes.qsize(), folder.names()) == (0, 6, [])
    retries = done.events("push.retrying")
    assert [line["attempt"] for line in retries] == [1, 2, 3, 4, 5]
    assert {line["reason"] for line in retries} == {"UNAVAILABLE: starting"}
    assert all(0 < line["delay_seconds"] <= 4 for line in retries)


def test_the_receivers_hint_is_honoured(folder: Folder, receiver: Any) -> None:
    """A receiver that is asked again in 1.5 s is not asked earlier."""
    folder.add(1)
    # google.rpc.Status{code 8, details: RetryInfo{retry_delay: 1.5 s}} as gRPC carries it
    delay = b"\x08\x01\x10\x80\xca\xb5\xee\x01"
    info = b"\x0a" + bytes([len(delay)]) + delay
    url = b"type.googleapis.com/google.rpc.RetryInfo"
    detail = b"\x0a" + bytes([len(url)]) + url + b"\x12" + bytes([len(info)]) + info
    status = b"\x08\x08\x1a" + bytes([len(detail)]) + detail
    times: list[int] = []

    def answer(context: Any) -> Any:
        times.append(monotonic_ns())
        if len(times) == 1:
            context.set_trailing_metadata((("grpc-status-details-bin", status),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return receiver.acknowledge(context)

    receiver.answer = answer
    done = folder.own(1, receiver.endpoint)
    assert done.code == 0
    assert times[1] - times[0] >= 1_500_000_000
    assert done.events("push.retrying")[0]["delay_seconds"] >= 1.5


def test_the_gateways_hint_is_honoured(folder: Folder, gateway: Any) -> None:
    """Retry-After over HTTP counts in the same way; a hint beyond the budget ends it at once."""
    folder.add(1)
    gateway.status, gateway.headers = 429, {"Retry-After": "60"}
    start_ns = monotonic_ns()
    done = folder.own(1, f"http://127.0.0.1:{gateway.server_port}", deadline_seconds=20)
    assert (done.code, gateway.pushes.qsize()) == (3, 1)
    assert monotonic_ns() - start_ns < 15 * 10**9


class Proxy:
    """A TCP proxy that drops every connection on demand."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while read := source.recv(65536):
                target.sendall(read)

    def cut(self) -> None:
        """Reset every connection."""
        while self._open:
            connection = self._open.pop()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def close(self) -> None:
        """Accept no connections from now on."""
        self._listening.close()
        self.cut()


@pytest.fixture
def proxied(receiver: Any) -> Iterator[Any]:
    """Return a receiver behind a proxy."""
    receiver.proxy = Proxy(int(receiver.endpoint.rpartition(":")[2]))
    yield receiver
    receiver.proxy.close()


def test_a_lost_acknowledgement_is_asked_for_again(folder: Folder, proxied: Any) -> None:
    """Reset after the run was read: the same push comes again and is known as stored."""
    folder.add(1)

    def answer(context: Any) -> Any:
        if proxied.pushes.qsize() == 1:
            proxied.proxy.cut()
        is_known = proxied.pushes.qsize() > 1
        return ingest_service_pb2.PushRunResponse(id=7, duplicate=is_known)

    proxied.answer = answer
    done = folder.own(1, f"grpc://127.0.0.1:{proxied.proxy.port}")
    assert done.code == 0
    assert {run.push_id for run in arrived(proxied)} == {push_id(1)}
    assert len(done.events("push.retrying")) == 1
    assert done.events("run.pushed")[0]["duplicate"] is True
    assert folder.names() == []


def test_a_receiver_that_comes_back_is_reached(
    folder: Folder, new_receiver: Callable[..., Any], receiver: Any
) -> None:
    """Down when the run ends, up while the budget lasts: pushed."""
    folder.add(1)
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        process = folder.start(1, f"grpc://127.0.0.1:{port}")
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(3)]
        assert all(json.loads(line)["event"] == "push.retrying" for line in lines)
    proxy = socket.create_server(("127.0.0.1", port))
    target = int(receiver.endpoint.rpartition(":")[2])
    near, _ = proxy.accept()
    far = socket.create_connection(("127.0.0.1", target))
    for pair in ((near, far), (far, near)):
        threading.Thread(target=Proxy._pass_on, args=pair, daemon=True).start()
    assert ended(process).code == 0
    for connection in (near, far, proxy):
        connection.close()
    assert folder.names() == []


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_an_untrusted_certificate_is_named(
    folder: Folder, new_receiver: Callable[..., Any], new_gateway: Any, certificates: Any,
    scheme: str,
) -> None:  # fmt: skip
    """With the wrong CA the log says which flag helps, at once and without retries; kept."""
    folder.add(1)
    ours, other = certificates
    if scheme == "grpcs":
        pair = (ours.key.read_bytes(), ours.cert.read_bytes())
        endpoint = new_receiver(grpc.ssl_server_credentials([pair])).endpoint
    else:
        endpoint = f"https://localhost:{new_gateway(ours).server_port}"
    done = folder.own(1, endpoint, tls_ca=str(other.cert))
    assert (done.code, folder.names()) == (3, [f"{push_id(1)}.json"])
    assert [line["event"] for line in done.lines] == ["run.kept"]
    assert done.lines[0]["reason"].startswith("TLS with ")
    assert "--tls-ca" in done.lines[0]["reason"]


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_the_certificates_name_can_be_given(
    folder: Folder, new_receiver: Callable[..., Any], new_gateway: Any, certificates: Any,
    scheme: str,
) -> None:  # fmt: skip
    """A certificate for another name than the endpoint's is refused unless the name is given."""
    folder.add(1)
    ours = certificates[0]
    if scheme == "grpcs":
        pair = (ours.key.read_bytes(), ours.cert.read_bytes())
        endpoint = new_receiver(grpc.ssl_server_credentials([pair])).endpoint
    else:
        endpoint = f"https://localhost:{new_gateway(ours).server_port}"
    ca = str(ours.cert)
    wrong = folder.own(1, endpoint, tls_ca=ca, tls_server_name="elsewhere")
    assert (wrong.code, wrong.lines[-1]["event"]) == (3, "run.kept")
    assert "--tls-server-name" in wrong.lines[-1]["reason"]
    elsewhere = endpoint.replace("localhost", "127.0.0.1")
    assert folder.own(1, elsewhere, tls_ca=ca, tls_server_name="localhost").code == 0


def test_a_token_in_the_clear_warns_once(folder: Folder) -> None:
    """Many runs to another machine without TLS: one warning."""
    for number in (1, 2):
        folder.add(number)
    process = folder.start_all("http://a..b:1", timeout_seconds=1)
    assert len(ended(process).events("push.unencrypted")) == 1


def test_the_lock_of_a_dead_process_is_free(folder: Folder, receiver: Any) -> None:
    """A killed owner leaves its lock file, but the run is free."""
    file = folder.add(1)
    code = (
        "import sys, signal; from runmeter.collector.spool.locks import lock; "
        "lock(*sys.argv[1:]); print('locked', flush=True); signal.pause()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path), push_id(1)], stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    with owner.stdout:
        assert owner.stdout.readline() == b"locked\n"
        assert folder.all(receiver.endpoint).ids("live") == [push_id(1)]
        owner.kill()
        owner.wait(WAIT_SECONDS)
    assert file.with_suffix(".lock").exists()
    assert folder.all(receiver.endpoint).ids("pushed") == [push_id(1)]
    assert folder.names() == []


def test_locks_exclude_each_other_while_their_files_come_and_go(tmp_path: Path) -> None:
    """Of many that take a run and give it up again, never two own it at the same time."""
    folder, owners, clashes, turns = str(tmp_path), [0], [0], [0]

    def take_turns() -> None:
        for _ in range(2000):
            try:
                descriptor = lock(folder, push_id(1))
            except HeldError:
                continue
            owners[0] += 1
            os.stat(folder)  # lets the others run
            clashes[0] += owners[0] > 1
            turns[0] += 1
            owners[0] -= 1
            release(folder, push_id(1), descriptor)

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert turns[0] > 100
    assert clashes[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_busy_gateway_is_asked_again(folder: Folder, gateway: Any) -> None:
    """Over HTTP the same loop: refused for the moment, then taken, with each wait logged."""
    folder.add(1)
    gateway.status = 503
    process = folder.start(1, f"http://127.0.0.1:{gateway.server_port}")
    assert process.stderr is not None
    lines = [json.loads(process.stderr.readline()) for _ in range(2)]
    gateway.status = 201
    assert [line["event"] for line in lines] == ["push.retrying"] * 2
    assert lines[0]["reason"].startswith("HTTP 503")
    assert ended(process).code == 0
    assert folder.names() == []


def test_a_gateway_that_resets_after_reading_is_asked_again(folder: Folder) -> None:
    """The first connection ends without an answer, the second says it was stored already."""
    folder.add(1)
    bodies = []

    def serve() -> None:
        for answer in (b"", b'HTTP/1.1 200 OK\r\n\r\n{"id":7,"duplicate":true}'):
            near, _ = listening.accept()
            with near, near.makefile("rb") as file:
                lines = iter(file.readline, b"\r\n")
                length = dict(line.lower().split(b": ") for line in list(lines)[1:])
                bodies.append(json.loads(file.read(int(length[b"content-length"]))))
                near.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        done = folder.own(1, f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join(WAIT_SECONDS)
    assert (done.code, folder.names()) == (0, [])
    assert [body["push_id"] for body in bodies] == [push_id(1)] * 2
    assert done.events("run.pushed")[0]["duplicate"] is True
