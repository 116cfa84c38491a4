"""What several test modules share: the golden run, a database, a running receiver."""

import asyncio
import contextlib
import functools
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

# these tests start programs while they hold channels
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc
import httpx
from google.protobuf import json_format
from hypothesis import settings
from rig import forks
from rig.postgres import running_postgres as running_postgres
from rig.receiver import HMAC_KEY, READ_TOKEN, Command, Fill, copied, push_id
from tortoise.backends.base.executor import EXECUTOR_CACHE

from runmeter.receiver.admin import lines
from runmeter.receiver.model import ArchivedRun, Push, Scope
from runmeter.receiver.store import connections
from runmeter.receiver.store.database import Database, parse_database
from runmeter.receiver.store.writer import Writer
from runmeter.receiver.tokens import Keyring
from runmeter.receiver.wire import reading
from runmeter.v1 import (
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

GOLDEN = Path(__file__).parents[3] / "proto" / "golden"
START_SECONDS = 60  # for a loaded machine

settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden files of the contract."""
    return GOLDEN


@pytest.fixture
def stored_run() -> run_service_pb2.StoredRun:
    """The golden stored run, a fresh copy."""
    text = (GOLDEN / "stored_run.wire.json").read_text()
    return json_format.Parse(text, run_service_pb2.StoredRun())


@pytest.fixture
def message(stored_run: run_service_pb2.StoredRun) -> run_pb2.Run:
    """The golden run as a message, a fresh copy to change."""
    return stored_run.run


@pytest.fixture
def stored_form() -> Callable[[run_pb2.Run], bytes]:
    """Check a run message with its scope, and return its bytes."""

    def read(message: run_pb2.Run) -> bytes:
        return reading.stored_form(message, reading.scope_from_wire(message.scope, "run.scope"))

    return read


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A SQLite file that does not exist yet."""
    return parse_database(str(tmp_path / "metrics.db"))


class Kept:
    """A database of either kind, looked into from outside; every value is text, NULL empty."""

    def __init__(self, where: str, execute: Callable[[str], list[tuple[str, ...]]]) -> None:
        self.where = where
        self.execute = execute

    def column(self, sql: str) -> list[str]:
        """Return the first column of the rows of a query."""
        return [row[0] for row in self.execute(sql)]

    @property
    def _is_postgres(self) -> bool:
        return self.where.startswith("postgres")

    def plan(self, statement: str) -> str:
        """Return how a statement would be done, by an index wherever one serves."""
        if not self._is_postgres:
            return " ".join(row[3] for row in self.execute(f"EXPLAIN QUERY PLAN {statement}"))
        # otherwise it reads all of a few rows
        kinds = ("seqscan", "bitmapscan", "sort")
        plain = " ".join(f"SET enable_{kind} = off;" for kind in kinds)
        return " ".join(self.column(f"{plain} EXPLAIN {statement}"))

    def indexes(self, table: str) -> dict[tuple[str, ...], bool]:
        """Return the columns of each index of a table, and whether it is unique."""
        if self._is_postgres:
            rows = self.execute(
                "SELECT string_agg(attname, ',' ORDER BY place), indisunique FROM pg_index "
                "CROSS JOIN unnest(indkey::int2[]) WITH ORDINALITY AS part (number, place) "
                "JOIN pg_attribute ON attrelid = indrelid AND attnum = number "
                f"WHERE indrelid = '{table}'::regclass GROUP BY indexrelid, indisunique"
            )
            return {tuple(columns.split(",")): unique == "t" for columns, unique in rows}
        return {
            tuple(row[2] for row in self.execute(f'PRAGMA index_info("{name}")')): unique == "1"
            for _, name, unique, *_ in self.execute(f'PRAGMA index_list("{table}")')
        }


def _execute_sqlite(path: str, sql: str) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(path, timeout=START_SECONDS)) as connection:
        rows = connection.execute(sql).fetchall()
        connection.commit()
    return [tuple("" if value is None else str(value) for value in row) for row in rows]


@pytest.fixture
def make_kept(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Kept]:
    """Make an empty database of a kind."""

    def make(kind: str) -> Kept:
        if kind == "sqlite":
            path = str(tmp_path / f"{uuid.uuid4()}.db")
            return Kept(path, functools.partial(_execute_sqlite, path))
        postgres = request.getfixturevalue("postgres")
        url = postgres.create_database()
        return Kept(url, functools.partial(postgres.execute, database=url))

    return make


@pytest.fixture(params=["sqlite", "postgres"])
def kept(request: pytest.FixtureRequest, make_kept: Callable[[str], Kept]) -> Kept:
    """A database of each kind."""
    return make_kept(request.param)


@pytest.fixture
def make(message: run_pb2.Run) -> Callable[..., Push]:
    """Make a push of the golden run with some fields changed."""

    def push(arrived_at_ms: int = 1000, **changes: Any) -> Push:
        run = copied(message)
        for name, value in changes.items():
            if name == "scope":
                run.scope.CopyFrom(run_pb2.Scope(**value._asdict()))
            elif name == "payload":
                run.payload.CopyFrom(value)
            elif value is None:
                run.ClearField(name)
            else:
                setattr(run, name, value)
        scope = Scope(*(getattr(run.scope, name) for name in Scope._fields))
        return Push(scope, run, run.SerializeToString(deterministic=True), arrived_at_ms)

    return push


@pytest.fixture
def with_writer() -> Callable[..., None]:
    """Migrate and open a database, run a writer, use it, end it."""

    def do(where: str, use: Callable[[Writer], Awaitable[None]], **limits: int) -> None:
        database = parse_database(where)
        # kept by the name of the connection: those for another kind of database would be used
        EXECUTOR_CACHE.clear()

        async def run() -> None:
            await connections.migrate_database(database)
            async with connections.open_store(database):
                writer = Writer(**limits)
                task = asyncio.create_task(writer.run())
                try:
                    await use(writer)
                finally:
                    writer.close()
                    await task

        asyncio.run(run())

    return do


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run ``receiver`` with a command to its end."""

    def run(*arguments: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        line = ["receiver", *arguments, "--log-format=json"]
        return forks.run(line, input=content, cwd=tmp_path)

    return run


def log_of(output: bytes) -> list[dict[str, Any]]:
    """Return the log lines of a program that ended."""
    return [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]


@pytest.fixture
def log() -> Callable[[bytes], list[dict[str, Any]]]:
    """Read the log lines of a program that ended."""
    return log_of


@pytest.fixture
def line_of(message: run_pb2.Run) -> Callable[..., bytes]:
    """Make the line of an export for the golden run with some fields changed."""

    def make(
        number: int, received_at_ms: int = 1000, updated_at_ms: int = 2000, **changes: Any
    ) -> bytes:
        run = copied(message, **{"push_id": push_id(number), **changes})
        scope = run.scope
        return lines.run_line(
            ArchivedRun(
                number,
                received_at_ms,
                updated_at_ms,
                scope.organization,
                scope.repository,
                scope.workflow,
                scope.job,
                run.push_id,
                run.run_id,
                run.state,
                run.revision,
                run.SerializeToString(deterministic=True),
            )
        )

    return make


@pytest.fixture
def export_of() -> Callable[[Iterable[bytes]], bytes]:
    """Make an export of lines."""

    def make(run_lines: Iterable[bytes]) -> bytes:
        listed = list(run_lines)
        return b"".join([lines.header_line(), *listed, lines.end_line(len(listed))])

    return make


@pytest.fixture
def fill(command: Command, export_of: Callable[[Iterable[bytes]], bytes]) -> Fill:
    """Put runs into a database, by their lines of an export; return what the import logged."""

    def store(kept: Any, run_lines: Iterable[bytes]) -> list[dict[str, Any]]:
        done = command("import", f"--db={kept.where}", "--migrate", content=export_of(run_lines))
        assert done.returncode == 0, done.stderr
        return log_of(done.stderr)

    return store


class Receiver:
    """A running ``receiver`` and a client of it."""

    def __init__(self, line: list[str], environment: dict[str, str], folder: Path) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.folder = folder
        self.output: list[str] = []
        start = forks.Fork if line[0] == "receiver" else subprocess.Popen
        self.process = start(
            line,
            env={**os.environ, **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()
        started = self.wait_for("server.started")
        self.address = started["address"]
        self.ops_url = f"http://{started['ops_address']}"
        self.use(grpc.insecure_channel(self.address))

    def use(self, channel: grpc.Channel) -> None:
        """Call it over this channel from now on."""
        self.channel = channel
        self.ingest = ingest_service_pb2_grpc.IngestServiceStub(self.channel)
        self.runs = run_service_pb2_grpc.RunServiceStub(self.channel)
        self.tokens = token_service_pb2_grpc.TokenServiceStub(self.channel)

    def _collect(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, event: str) -> dict[str, Any]:
        """Return the next log line with this event."""
        while True:
            line = self._lines.get(timeout=START_SECONDS)
            assert line is not None, f"ended before {event}: {''.join(self.output)}"
            if line.startswith("{") and json.loads(line)["event"] == event:
                return json.loads(line)

    def events(self) -> list[dict[str, Any]]:
        """Return all log lines so far."""
        return [json.loads(line) for line in self.output if line.startswith("{")]

    @staticmethod
    def bearer(token: str) -> tuple[tuple[str, str], ...]:
        """Return the metadata that carries a token."""
        return (("authorization", f"Bearer {token}"),)

    def push_token(self, scope: run_pb2.Scope, read_token: str = READ_TOKEN) -> str:
        """Have a push token minted."""
        request = token_service_pb2.CreatePushTokenRequest(scope=scope)
        return self.tokens.CreatePushToken(request, metadata=self.bearer(read_token)).token

    def push(
        self, run: run_pb2.Run, token: str | None = None
    ) -> ingest_service_pb2.PushRunResponse:
        """Push a run, with a token of its scope unless another is given."""
        request = ingest_service_pb2.PushRunRequest(run=run)
        if token is None:
            scope = reading.scope_from_wire(run.scope, "scope")
            token = Keyring([HMAC_KEY]).mint(scope)
        return self.ingest.PushRun(request, metadata=self.bearer(token), timeout=30)

    def push_later(self, run: run_pb2.Run) -> Any:
        """Begin a push; return its call when the receiver has begun it."""
        token = self.push_token(run.scope)
        request = ingest_service_pb2.PushRunRequest(run=run)
        call = self.ingest.PushRun.future(request, metadata=self.bearer(token), timeout=60)
        self.runs.ListRuns(run_service_pb2.ListRunsRequest(), metadata=self.bearer("x")).code()
        return call

    def stored(self, scope: run_pb2.Scope, **fields: Any) -> list[run_service_pb2.StoredRun]:
        """Return all runs that a query answers."""
        return [run for part in self.parts(scope, **fields)[1:] for run in part.page.runs]

    def parts(self, scope: run_pb2.Scope, **fields: Any) -> list[run_service_pb2.ListRunsResponse]:
        """Return the messages of an answer."""
        request = run_service_pb2.ListRunsRequest(scope=scope, **fields)
        return list(self.runs.ListRuns(request, metadata=self.bearer(READ_TOKEN), timeout=30))

    def page(self, path: str, method: str = "GET") -> httpx.Response:
        """Ask for a page of the operators'."""
        return httpx.request(method, self.ops_url + path, trust_env=False, timeout=30)

    def await_page(self, path: str, status: int, text: str = "") -> httpx.Response:
        """Ask for a page until it has this status and text: both are remembered for a second."""
        until = time.monotonic() + START_SECONDS
        while (answer := self.page(path)).status_code != status or text not in answer.text:
            assert time.monotonic() < until, answer.text
            time.sleep(0.05)
        return answer

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        status = self.process.wait(START_SECONDS)
        self._reader.join(START_SECONDS)
        self.channel.close()
        return status

    def close(self) -> None:
        """Leave nothing behind, and check what every log must keep to."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start_receiver(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    """Start receivers on a free port, with a database in a temporary folder.

    With `code` that is run in place of the program.
    """
    started: list[Receiver] = []

    def start(*arguments: str, code: str | None = None, **environment: str) -> Receiver:
        defaults = {"RECEIVER_READ_TOKEN": READ_TOKEN, "RECEIVER_HMAC_KEY": HMAC_KEY}
        addresses = ["--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"]
        flags = [*addresses, "--log-format=json", *arguments]
        program = ["receiver"] if code is None else [sys.executable, "-c", code]
        started.append(Receiver([*program, *flags], {**defaults, **environment}, tmp_path))
        return started[-1]

    yield start
    for receiver in started:
        receiver.close()
    text = "".join(line for receiver in started for line in receiver.output)
    assert READ_TOKEN not in text
    assert HMAC_KEY not in text


@pytest.fixture
def receiver(start_receiver: Callable[..., Receiver]) -> Receiver:
    """A running receiver."""
    return start_receiver()
