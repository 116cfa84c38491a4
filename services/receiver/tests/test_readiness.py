"""What operators ask over HTTP: /metrics, /healthz, /readyz."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rig.receiver import copied, push_id

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
    runs = [
        copied(message, push_id=push_id(number), run_id=run_id)
        for number, run_id in enumerate(["first", "good", "bad", "good"])
    ]
    with locked(receiver):
        # the first is in a transaction, the others wait for the next one
        calls = [receiver.push_later(run) for run in runs]
    assert [call.code().name for call in calls] == ["OK", "OK", "UNAVAILABLE", "OK"]
    assert sample(receiver, "commit_batch_pushes_count") == 3
    assert sample(receiver, "commit_batch_pushes_sum") == 3


def test_a_locked_database_is_not_ready(receiver: Any, message: run_pb2.Run) -> None:
    """While the database cannot be written, /readyz is 503 with the reason, and /healthz is 200."""
    assert receiver.page("/readyz").text == "ready\n"
    with locked(receiver):
        answer = receiver.await_page("/readyz", 503)
        assert answer.text == "not ready: the database: it is locked by another process\n"
        assert receiver.page("/healthz").status_code == 200
        assert sample(receiver, "database_up") == 1
    receiver.await_page("/readyz", 200)
    assert receiver.push(message).id == 1


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


def test_no_ops_address(start_receiver: Callable[..., Any], message: run_pb2.Run) -> None:
    """``none`` serves no pages."""
    receiver = start_receiver("--ops-addr=none")
    assert receiver.ops_url == "http://None"
    assert receiver.push(message).id == 1
