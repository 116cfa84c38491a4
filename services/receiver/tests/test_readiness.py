"""What operators ask over HTTP: /metrics, /healthz, /readyz."""

import asyncio
import contextlib
import resource
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from runmeter.receiver import events
from runmeter.v1 import run_pb2

LIST = "/runmeter.v1.RunService/ListRuns"
PUSH = "/runmeter.v1.IngestService/PushRun"


def sample(receiver: Any, name: str, **labels: str) -> float | None:
    """Return one number of /metrics."""
    answer = receiver.page("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    for family in text_string_to_metric_families(answer.text):
        for found in family.samples:
            if found.name == f"runmeter_receiver_{name}" and found.labels == labels:
                return found.value
    return None


@contextlib.contextmanager
def locked(receiver: Any) -> Iterator[None]:
    """Hold the write lock of the receiver's database."""
    path = receiver.folder / "metrics.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        yield
        lock.execute("ROLLBACK")


def test_metrics_count_calls_commits_and_refusals(receiver: Any, message: run_pb2.Run) -> None:
    """Calls by method and code, refusals by reason, batches, rows and size of the database."""
    receiver.push(message)
    for token in ("x", "0" * 64):
        with pytest.raises(grpc.RpcError):
            receiver.push(message, token)
    made_up = receiver.channel.unary_unary("/made.Up/Method")
    with pytest.raises(grpc.RpcError):
        made_up(b"")
    assert sample(receiver, "calls_total", method=PUSH, code="OK") == 1
    assert sample(receiver, "calls_total", method=PUSH, code="UNAUTHENTICATED") == 1
    assert sample(receiver, "calls_total", method="other", code="UNIMPLEMENTED") == 1
    assert sample(receiver, "call_duration_seconds_count", method=PUSH) == 3
    assert sample(receiver, "call_duration_seconds_count", method=LIST) == 0
    assert sample(receiver, "authentications_refused_total", reason="bearer_unknown") == 1
    assert sample(receiver, "authentications_refused_total", reason="wrong_scope") == 1
    assert sample(receiver, "commit_batch_pushes_sum") == 1
    assert sample(receiver, "commit_duration_seconds_count") == 1
    assert sample(receiver, "queue_pushes") == 0
    assert sample(receiver, "queue_bytes") == 0
    assert sample(receiver, "database_up") == 1
    assert sample(receiver, "database_rows") == 1
    assert (sample(receiver, "database_size_bytes") or 0) > 8192
    assert "made.Up" not in receiver.page("/metrics").text


def test_a_batch_that_fails_counts_as_the_transactions_it_became(
    receiver: Any, message: run_pb2.Run
) -> None:
    """One push that the database refuses is not counted, those beside it one by one."""
    path = receiver.folder / "metrics.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON run WHEN NEW.run_id = 'bad' "
            "BEGIN SELECT RAISE(ABORT, 'bad'); END"
        )
    runs = []
    for number, run_id in enumerate(["first", "good", "bad", "good"]):
        run = run_pb2.Run()
        run.CopyFrom(message)
        run.push_id, run.run_id = f"00000000-0000-4000-8000-{number:012x}", run_id
        runs.append(run)
    with locked(receiver):
        # the first is in its transaction, the others wait and are the next one
        calls = [receiver.push_later(run) for run in runs]
    assert [call.code().name for call in calls] == ["OK", "OK", "UNAVAILABLE", "OK"]
    assert sample(receiver, "commit_batch_pushes_count") == 3
    assert sample(receiver, "commit_batch_pushes_sum") == 3


def test_pages_and_methods(receiver: Any) -> None:
    """Three pages, for GET and HEAD; nothing of them may be cached."""
    for path in ("/metrics", "/healthz", "/readyz"):
        assert receiver.page(path).status_code == 200
        assert receiver.page(path, "HEAD").text == ""
        assert receiver.page(path).headers["cache-control"] == "no-store"
        refused = receiver.page(path, "POST")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert receiver.page("/").status_code == 404


def test_a_locked_database_is_not_ready(receiver: Any, message: run_pb2.Run) -> None:
    """While it cannot be written /readyz is 503 with the reason; the process is alive."""
    assert receiver.page("/readyz").text == "ready\n"
    with locked(receiver):
        answer = receiver.await_page("/readyz", 503)
        assert answer.text == "not ready: the database: it is locked by another process\n"
        assert receiver.page("/healthz").status_code == 200
        assert sample(receiver, "database_up") == 1
    receiver.await_page("/readyz", 200)
    assert receiver.push(message).id == 1


def test_a_full_disk_is_not_ready(receiver: Any) -> None:
    """While files cannot grow /readyz is 503, and 200 when they can again."""
    assert receiver.page("/readyz").status_code == 200
    pid, kind = receiver.process.pid, resource.RLIMIT_FSIZE
    before = resource.prlimit(pid, kind, (4096, resource.RLIM_INFINITY))
    assert "its disk" in receiver.await_page("/readyz", 503).text
    resource.prlimit(pid, kind, before)
    receiver.await_page("/readyz", 200)


def test_a_database_that_is_gone_is_not_ready(receiver: Any) -> None:
    """Asking does not make the file."""
    path = receiver.folder / "metrics.db"
    path.rename(path.with_suffix(".moved"))
    assert "moved, removed or replaced" in receiver.await_page("/readyz", 503).text
    assert not path.exists()


def test_draining_is_not_ready(receiver: Any, message: run_pb2.Run) -> None:
    """From the signal on /readyz is 503 while /healthz and /metrics go on to the end."""
    with locked(receiver):
        call = receiver.push_later(message)
        receiver.process.send_signal(signal.SIGTERM)
        receiver.wait_for(events.SHUTDOWN_REQUESTED)
        assert receiver.page("/readyz").text == "not ready: it is shutting down\n"
        assert receiver.page("/readyz").status_code == 503
        assert receiver.page("/healthz").status_code == 200
        assert receiver.page("/metrics").status_code == 200
    assert call.result().id == 1
    assert receiver.wait() == 0


def test_postgres(start_receiver: Callable[..., Any], postgres: Any, message: run_pb2.Run) -> None:
    """Ready and measured; a table that is locked for long is waited for a moment only."""
    url = postgres.create_database()
    receiver = start_receiver(f"--db={url}", "--migrate")
    receiver.push(message)
    assert receiver.page("/readyz").text == "ready\n"
    assert sample(receiver, "database_up") == 1
    assert sample(receiver, "database_rows") == 1
    assert (sample(receiver, "database_size_bytes") or 0) > 1e6
    second = start_receiver(f"--db={url}")

    async def ask_while_locked() -> None:
        lock = await asyncpg.connect(url)
        async with lock.transaction():
            await lock.execute("LOCK TABLE run")
            assert await asyncio.to_thread(sample, second, "database_up") == 0
            assert (await asyncio.to_thread(second.page, "/healthz")).status_code == 200
        await lock.close()

    asyncio.run(ask_while_locked())
    until = time.monotonic() + 60
    while sample(second, "database_up") != 1:
        assert time.monotonic() < until
    assert sample(second, "database_rows") == 1


@pytest.mark.slow
def test_many_slow_clients_do_no_harm(receiver: Any, message: run_pb2.Run) -> None:
    """Of hundreds of connections that send no whole request all are ended, and calls go on."""
    address = urlsplit(receiver.ops_url)
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(300):
            client = socket.create_connection((address.hostname, address.port), timeout=60)
            slow.append(stack.enter_context(client))
            with contextlib.suppress(OSError):
                client.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        assert receiver.push(message).id == 1
        for client in slow:
            with contextlib.suppress(ConnectionError):
                assert client.recv(1) == b""  # ends in time, or times out and fails
    assert receiver.page("/readyz").status_code == 200
    assert receiver.end() == 0


def test_no_ops_address(start_receiver: Callable[..., Any], message: run_pb2.Run) -> None:
    """``none`` serves no pages."""
    receiver = start_receiver("--ops-addr=none")
    assert receiver.ops_url == "http://None"
    assert receiver.push(message).id == 1


def test_every_interface(start_receiver: Callable[..., Any]) -> None:
    """Without a host it listens on all interfaces; the bound port is logged."""
    receiver = start_receiver("--ops-addr=:0")
    host, _, port = receiver.ops_url.removeprefix("http://").partition(":")
    assert host == "0.0.0.0"
    assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).text == "alive\n"
