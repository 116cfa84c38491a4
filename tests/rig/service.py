"""Receivers of one database that a test may kill, and clients that find those that live."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rig.programs import Program, Receiver, Stage
from rig.stack import RPC_SECONDS, Scope

from runmeter.v1 import (
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

EVERY_STATE = [
    run_pb2.RUN_STATE_RUNNING,
    run_pb2.RUN_STATE_INTERRUPTED,
    run_pb2.RUN_STATE_COMPLETED,
]
DEFECTS = ("rpc.failed", "writer.failed")
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # or all channels to one address share a connection
    ("grpc.max_receive_message_length", 8 * 2**20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 5000),  # so long a connection may take to be made
    ("grpc.max_reconnect_backoff_ms", 200),
]


class Attempt(NamedTuple):
    """One push as its client saw it; times are monotonic; no receipt: it was refused."""

    began_seconds: float
    ended_seconds: float
    code: grpc.StatusCode
    details: str
    receipt: ingest_service_pb2.PushRunResponse | None


class Service:
    """Receivers with one database and one set of secrets, each in a slot of its own."""

    def __init__(self, stage: Stage, database: str | Path, *arguments: str, count: int = 1) -> None:
        """Bring the schema up to date and start the receivers."""
        self.stage = stage
        self.database = database
        self._arguments = arguments
        self._key = stage.secret()
        self.read_token = stage.secret()
        self._tokens: dict[Scope, str] = {}
        self._lock = threading.Lock()
        self._all: list[Receiver] = []
        if str(database).startswith("postgres"):  # SQLite is migrated by whoever serves it
            self.migrate()
        self.receivers = [self._started() for _ in range(count)]
        self.client = Client(self)

    def migrate(self) -> None:
        """Run ``receiver migrate``."""
        migrating: Program = self.stage.start("receiver", "migrate", f"--db={self.database}")
        assert migrating.wait() == 0, migrating.text

    def _started(self) -> Receiver:
        self._all.append(
            self.stage.receiver(
                *self._arguments,
                hmac_key=self._key,
                read_token=self.read_token,
                database=self.database,
            )
        )
        return self._all[-1]

    def start(self, slot: int = 0) -> Receiver:
        """Start a receiver in place of one that has ended."""
        self.receivers[slot] = self._started()
        return self.receivers[slot]

    def kill(self, slot: int = 0) -> None:
        """End a receiver by SIGKILL."""
        assert self.receivers[slot].stop(signal.SIGKILL) == -signal.SIGKILL

    def await_readiness(self, status: int, text: str, timeout_seconds: float = 60.0) -> None:
        """Wait until the first receiver answers so when it is asked whether it is ready."""
        url = f"{self.receivers[0].ops_url}/readyz"
        deadline = time.monotonic() + timeout_seconds
        while True:
            answer = httpx.get(url, trust_env=False, timeout=30)
            if answer.status_code == status and text in answer.text:
                return
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.05)

    def token(self, scope: Scope) -> str:
        """Return a push token of a scope, minted once."""
        with self._lock:
            if scope not in self._tokens:
                self._tokens[scope] = self.stage.keep(self.client.mint(scope))
            return self._tokens[scope]

    def check_no_defects(self) -> None:
        """Check that no receiver has logged an error that nobody foresaw."""
        found = [line for r in self._all for name in DEFECTS for line in r.events(name)]
        assert not found, found[0]

    def close(self) -> None:
        """Close the client; the stage stops the programs."""
        self.client.close()
        self.check_no_defects()


class Client:
    """Calls over a connection of its own, to whichever receiver is in its slot."""

    def __init__(self, service: Service, slot: int = 0) -> None:
        self._service = service
        self._slot = slot
        self._address = ""
        self._channel: grpc.Channel | None = None

    def channel(self) -> grpc.Channel:
        """Return the channel to the receiver of now."""
        address = self._service.receivers[self._slot].address
        if self._channel is None or address != self._address:
            self.close()
            self._address, self._channel = address, grpc.insecure_channel(address, _OPTIONS)
        return self._channel

    def close(self) -> None:
        """Drop the connection."""
        if self._channel is not None:
            self._channel.close()

    def mint(self, scope: Scope) -> str:
        """Have a push token minted."""
        request = token_service_pb2.CreatePushTokenRequest(scope=run_pb2.Scope(**scope._asdict()))
        stub = token_service_pb2_grpc.TokenServiceStub(self.channel())
        reading = bearer(self._service.read_token)
        return str(stub.CreatePushToken(request, timeout=RPC_SECONDS, metadata=reading).token)

    def push_later(self, run: run_pb2.Run, scope: Scope, timeout_seconds: float) -> Any:
        """Begin a push; return the call, which is a future."""
        request = ingest_service_pb2.PushRunRequest(run=run)
        stub = ingest_service_pb2_grpc.IngestServiceStub(self.channel())
        metadata = bearer(self._service.token(scope))
        return stub.PushRun.future(request, timeout=timeout_seconds, metadata=metadata)

    def push(self, run: run_pb2.Run, scope: Scope, timeout_seconds: float = RPC_SECONDS) -> Attempt:
        """Push once; whatever comes of it is returned."""
        began = time.monotonic()
        call = self.push_later(run, scope, timeout_seconds)
        code, receipt = call.code(), None
        if code is grpc.StatusCode.OK:
            receipt = call.result()
        return Attempt(began, time.monotonic(), code, call.details() or "", receipt)

    def listed(
        self, scope: Scope, timeout_seconds: float = RPC_SECONDS
    ) -> Iterator[run_service_pb2.StoredRun]:
        """Yield all runs of a scope, newest first. Raises grpc.RpcError."""
        stub = run_service_pb2_grpc.RunServiceStub(self.channel())
        request = run_service_pb2.ListRunsRequest(
            scope=run_pb2.Scope(**scope._asdict()), states=EVERY_STATE
        )
        reading = bearer(self._service.read_token)
        while True:
            more = None
            for part in stub.ListRuns(request, timeout=timeout_seconds, metadata=reading):
                if part.header.HasField("next_before_id"):
                    more = part.header.next_before_id
                yield from part.page.runs
            if more is None:
                return
            request.before_id = more

    def stored(self, scope: Scope) -> dict[str, run_service_pb2.StoredRun]:
        """Return the runs of a scope by push_id; each is there once."""
        found = list(self.listed(scope))
        by_push_id = {stored.run.push_id: stored for stored in found}
        assert len(by_push_id) == len(found)
        return by_push_id

    def health(self) -> int:
        """Return the status that the health service gives, at once."""
        stub = health_pb2_grpc.HealthStub(self.channel())
        request = health_pb2.HealthCheckRequest()
        status: int = stub.Check(request, timeout=RPC_SECONDS, wait_for_ready=True).status
        return status


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a token."""
    return (("authorization", f"Bearer {token}"),)
