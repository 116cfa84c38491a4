"""The real program in front of a double of the receiver.

The double speaks the contract over a real socket: it records requests and metadata and answers
as a test sets it. It checks, stores and decides nothing.
"""

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from hypothesis import settings
from rig.forks import Fork
from rig.gateway import TOKEN, WAIT_SECONDS

from runmeter.v1 import (
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

settings.register_profile("gateway", max_examples=200, deadline=None, derandomize=True)
settings.load_profile("gateway")

GOLDEN = Path(__file__).parents[3] / "proto" / "golden"

Behaviour = Callable[[Any, Any], Awaitable[Any]]
Stream = Callable[[Any, Any], AsyncIterator[Any]]


class Call(NamedTuple):
    """One call the double received."""

    method: str
    request: Any
    metadata: dict[str, Any]


class Double:
    """The receiver's side of the contract on 127.0.0.1, in a thread of its own."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.port = 0
        self._credentials = credentials
        self.reset()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: Any = None

    def reset(self) -> None:
        """Forget all calls; answer a push with id 1, a token, empty listings."""
        self.calls: queue.Queue[Call] = queue.Queue()
        self.cancelled = threading.Event()
        self.push: Behaviour = self.answers(ingest_service_pb2.PushRunResponse(id=1))
        self.token: Behaviour = self.answers(
            token_service_pb2.CreatePushTokenResponse(token="ab" * 32)
        )
        self.listing: Stream = self.streams([])
        self.repositories: Behaviour = self.answers(run_service_pb2.ListRepositoriesResponse())
        self.jobs: Behaviour = self.answers(run_service_pb2.ListJobsResponse())
        self.health: Behaviour = self.answers(health_pb2.HealthCheckResponse(status="SERVING"))
        self.health_check_count = 0

    def call(self) -> Call:
        """Return the next call that came in."""
        return self.calls.get(timeout=WAIT_SECONDS)

    def answers(self, response: Message) -> Behaviour:
        """Answer with this message."""

        async def behave(request: Any, context: Any) -> Message:
            return response

        return behave

    def fails(
        self,
        code: grpc.StatusCode,
        message: str = "",
        *,
        fields: dict[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> Behaviour:
        """Fail with this status and the details of the contract."""
        status = status_pb2.Status(code=code.value[0], message=message)
        if fields:
            bad = error_details_pb2.BadRequest()
            for field, reason in fields.items():
                bad.field_violations.add(field=field, description=reason)
            status.details.add().Pack(bad)
        if retry_after_seconds is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(int(retry_after_seconds * 1000))
            status.details.add().Pack(retry)

        async def behave(request: Any, context: Any) -> None:
            await context.abort_with_status(rpc_status.to_status(status))

        return behave

    def fail_all(self, code: grpc.StatusCode, message: str = "", **details: Any) -> None:
        """Answer every call of the API with this status."""
        failing = self.fails(code, message, **details)

        async def listing(request: Any, context: Any) -> AsyncIterator[Any]:
            await failing(request, context)
            yield None

        self.push = self.token = self.repositories = self.jobs = failing
        self.listing = listing

    def streams(
        self,
        pages: list[list[Any]],
        *,
        etag: str = "etag-1",
        next_before_id: int | None = None,
        then: Behaviour | None = None,
    ) -> Stream:
        """Stream a header and these pages, then end, or do what ``then`` does."""

        cancelled = self.cancelled

        async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                yield run_service_pb2.ListRunsResponse(
                    header={"etag": etag, "next_before_id": next_before_id}
                )
                for page in pages:
                    yield run_service_pb2.ListRunsResponse(page={"runs": page})
                if then is not None:
                    await then(request, context)
            except (asyncio.CancelledError, GeneratorExit):
                # the latter: the call was given up while gRPC sent what was yielded
                cancelled.set()
                raise

        return behave

    async def hang(self, request: Any, context: Any) -> None:
        """Wait until the caller gives up."""
        cancelled = self.cancelled  # of this test: the next one gets a new one
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def gate(self) -> tuple[Callable[[], None], Behaviour]:
        """Something that opens a gate, and a behaviour that waits for it."""
        opened = asyncio.Event()

        async def behave(request: Any, context: Any) -> Any:
            await opened.wait()
            return ingest_service_pb2.PushRunResponse(id=1)

        return lambda: self._loop.call_soon_threadsafe(opened.set) and None, behave

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._run(self._start())

    def stop(self) -> None:
        """Close the port and all connections."""
        self._run(self._server.stop(None))

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_SECONDS)
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_SECONDS)

    async def _start(self) -> None:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        servicer = _Servicer(self)
        ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(servicer, self._server)
        token_service_pb2_grpc.add_TokenServiceServicer_to_server(servicer, self._server)
        run_service_pb2_grpc.add_RunServiceServicer_to_server(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        address = f"127.0.0.1:{self.port}"
        if self._credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self._credentials)
        await self._server.start()


class _Servicer(
    ingest_service_pb2_grpc.IngestServiceServicer,
    token_service_pb2_grpc.TokenServiceServicer,
    run_service_pb2_grpc.RunServiceServicer,
    health_pb2_grpc.HealthServicer,  # type: ignore[misc]
):
    def __init__(self, double: Double) -> None:
        self._double = double

    def _record(self, method: str, request: Any, context: Any) -> None:
        self._double.calls.put(Call(method, request, dict(context.invocation_metadata())))

    async def PushRun(self, request: Any, context: Any) -> Any:
        self._record("PushRun", request, context)
        return await self._double.push(request, context)

    async def CreatePushToken(self, request: Any, context: Any) -> Any:
        self._record("CreatePushToken", request, context)
        return await self._double.token(request, context)

    async def ListRuns(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._record("ListRuns", request, context)
        async for message in self._double.listing(request, context):
            yield message

    async def ListRepositories(self, request: Any, context: Any) -> Any:
        self._record("ListRepositories", request, context)
        return await self._double.repositories(request, context)

    async def ListJobs(self, request: Any, context: Any) -> Any:
        self._record("ListJobs", request, context)
        return await self._double.jobs(request, context)

    async def Check(self, request: Any, context: Any) -> Any:
        self._double.health_check_count += 1
        return await self._double.health(request, context)


_FLAGS = ("--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--rate-limit=none")


class Program:
    """A running ``gateway`` and its log lines."""

    def __init__(self, *flags: str, forked: bool = True) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        start = Fork if forked else subprocess.Popen
        program = ["gateway"] if forked else [sys.executable, "-m", "runmeter.gateway"]
        self.process = start(
            [*program, *_FLAGS, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.lines: list[str] = []
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        started = self.event("server.started")
        self.address = started["address"]
        self.url = f"{'https' if started['tls'] else 'http'}://{self.address}"
        self.ops_url = f"http://{started['ops_address']}"

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if line.startswith("{"):
                self._events.put(json.loads(line))
        self._events.put(None)

    def event(self, name: str, **facts: Any) -> dict[str, Any]:
        """Return the next log line of this event that has these facts."""
        while True:
            found = self._events.get(timeout=WAIT_SECONDS)
            if found is None:
                output = self.close()
                raise AssertionError(f"the program ended without {name} {facts}: {output}")
            if found["event"] == name and facts.items() <= found.items():
                return found

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        return code

    def close(self) -> str:
        """End it if it still runs; all it wrote."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        output = self.process.stdout.read() + "".join(self.lines)
        self.process.stdout.close()
        self.process.stderr.close()
        return output


@pytest.fixture(scope="session")
def serving() -> Iterator[tuple[Double, Program]]:
    """One double and one program for all tests that end neither."""
    double = Double()
    double.start()
    program = Program(f"--receiver=grpc://127.0.0.1:{double.port}", "--max-body-bytes=200000")
    yield double, program
    program.signal()
    code = program.wait()
    output = program.close()
    double.close()
    assert code == 0
    assert TOKEN not in output
    assert "Traceback" not in output


@pytest.fixture
def double(serving: tuple[Double, Program]) -> Double:
    """The double of `gateway`, reset."""
    serving[0].reset()
    return serving[0]


@pytest.fixture
def gateway(serving: tuple[Double, Program], double: Double) -> Program:
    """The running program, in front of `double`."""
    return serving[1]


@pytest.fixture
def client(gateway: Program) -> Iterator[httpx.Client]:
    """An HTTP client of `gateway` that sends a bearer and decodes nothing."""
    with httpx.Client(
        base_url=gateway.url,
        headers={"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": "identity"},
        timeout=WAIT_SECONDS,
        trust_env=False,
    ) as client:
        yield client


@pytest.fixture
def own_double() -> Iterator[Double]:
    """A double that a test may stop and start."""
    double = Double()
    double.start()
    yield double
    double.close()


@pytest.fixture
def secure_double() -> Iterator[Callable[..., Double]]:
    """Starts doubles with TLS and these credentials; they end with the test."""
    started: list[Double] = []

    def start_double(credentials: grpc.ServerCredentials) -> Double:
        started.append(Double(credentials))
        started[-1].start()
        return started[-1]

    yield start_double
    for double in started:
        double.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """Starts programs that a test may end; they end with the test, and none writes a token."""
    started: list[Program] = []

    def start_program(*flags: str, forked: bool = True) -> Program:
        started.append(Program(*flags, forked=forked))
        return started[-1]

    yield start_program
    for output in [program.close() for program in started]:
        assert TOKEN not in output
        assert "Traceback" not in output


@pytest.fixture
def golden_run() -> dict[str, Any]:
    """The full record as REST JSON."""
    record: dict[str, Any] = json.loads((GOLDEN / "run.json").read_text())
    return record


@pytest.fixture
def golden_stored() -> run_service_pb2.StoredRun:
    """The same record as protobuf."""
    text = (GOLDEN / "stored_run.wire.json").read_text()
    return json_format.Parse(text, run_service_pb2.StoredRun())


@pytest.fixture
def documented_run() -> dict[str, Any]:
    """A body with the fields of the documented example only."""
    rates = {"peak": 2.007, "p99": 2.007, "p95": 2.004, "p75": 1.9, "p50": 1.817, "avg": 1.5}
    sizes = dict.fromkeys(("peak", "p99", "p95", "p75", "p50", "avg"), 18567168)
    return {
        "organization": "my-org",
        "repository": "my-org/my-repo",
        "workflow": "ci.yml",
        "job": "build",
        "run_id": "run-123",
        "payload": {
            "start_time": "2026-02-06T14:30:02.185Z",
            "end_time": "2026-02-06T14:30:22.190Z",
            "duration_seconds": 20.0,
            "sample_count": 11,
            "cpu_total_percent": rates,
            "mem_used_bytes": sizes,
            "containers": [{"name": "runner", "cpu_cores": rates, "memory_bytes": sizes}],
            "top_cpu_processes": [],
            "top_mem_processes": [],
        },
    }
