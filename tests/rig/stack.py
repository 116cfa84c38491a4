"""Receiver and gateway together, and how their clients see them: REST and gRPC."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import grpc
import httpx
from google.protobuf import json_format
from rig.programs import Gateway, Receiver, Stage
from rig.repository import GOLDEN

from runmeter.v1 import (
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

RPC_SECONDS = 20.0


class Scope(NamedTuple):
    """What a run belongs to, as a client writes it."""

    organization: str
    repository: str
    workflow: str
    job: str

    @property
    def path(self) -> str:
        """The path of its listing, each part percent-encoded."""
        return "/api/v1/metrics/repo/" + "/".join(quote(part, safe="") for part in self)

    @property
    def variables(self) -> dict[str, str]:
        """What a CI system sets for a job of it."""
        return {
            "GITHUB_REPOSITORY_OWNER": self.organization,
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_WORKFLOW": self.workflow,
            "GITHUB_JOB": self.job,
        }

    def environment(self, token: str) -> dict[str, str]:
        """Return the variables that the CI system and the user of the job set."""
        return {**self.variables, "COLLECTOR_PUSH_TOKEN": token}


class Rpc:
    """The receiver's three services over one channel."""

    def __init__(self, address: str) -> None:
        options = [
            ("grpc.max_receive_message_length", 8 * 2**20),
            ("grpc.max_send_message_length", 8 * 2**20),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
        ]
        self.channel = grpc.insecure_channel(address, options)
        self._ingest = ingest_service_pb2_grpc.IngestServiceStub(self.channel)
        self._tokens = token_service_pb2_grpc.TokenServiceStub(self.channel)
        self._runs = run_service_pb2_grpc.RunServiceStub(self.channel)

    def push(self, run: run_pb2.Run, token: str | None) -> ingest_service_pb2.PushRunResponse:
        """PushRun. Raises grpc.RpcError."""
        request = ingest_service_pb2.PushRunRequest(run=run)
        return self._ingest.PushRun(request, timeout=RPC_SECONDS, metadata=_bearer(token))

    def mint(self, scope: Scope, token: str | None) -> str:
        """CreatePushToken. Raises grpc.RpcError."""
        request = token_service_pb2.CreatePushTokenRequest(scope=run_pb2.Scope(**scope._asdict()))
        answer = self._tokens.CreatePushToken(request, timeout=RPC_SECONDS, metadata=_bearer(token))
        return str(answer.token)

    def runs(self, scope: Scope, token: str | None) -> list[run_service_pb2.StoredRun]:
        """ListRuns, all pages. Raises grpc.RpcError."""
        request = run_service_pb2.ListRunsRequest(scope=run_pb2.Scope(**scope._asdict()))
        answer = self._runs.ListRuns(request, timeout=RPC_SECONDS, metadata=_bearer(token))
        return [run for part in answer for run in part.page.runs]


def _bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)


class Stack:
    """One receiver, one gateway in front of it, and a client of each."""

    def __init__(
        self,
        stage: Stage,
        *gateway_arguments: str,
        receiver_arguments: Sequence[str] = (),
        hmac_key: str | None = None,
    ) -> None:
        self.stage = stage
        self.receiver: Receiver = stage.receiver(*receiver_arguments, hmac_key=hmac_key)
        self.gateway: Gateway = stage.gateway(self.receiver.address, *gateway_arguments)
        self.rest = httpx.Client(base_url=self.gateway.url, trust_env=False, timeout=RPC_SECONDS)
        self.rpc = Rpc(self.receiver.address)

    @property
    def reading(self) -> dict[str, str]:
        """The header of those who may read and mint."""
        return bearer(self.receiver.read_token)

    def token(self, scope: Scope) -> str:
        """Mint a push token over REST."""
        answer = self.rest.post("/api/v1/token", json=scope._asdict(), headers=self.reading)
        assert answer.status_code == 200, answer.text
        return self.stage.keep(answer.json()["token"])

    def post(self, record: Any, token: str) -> httpx.Response:
        """Push a record over REST."""
        return self.rest.post("/api/v1/metrics", json=record, headers=bearer(token))

    def listed(self, scope: Scope, **parameters: Any) -> list[dict[str, Any]]:
        """Return the records of a scope over REST."""
        answer = self.rest.get(scope.path, params=parameters, headers=self.reading)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found

    def pages(self, path: str) -> list[list[dict[str, Any]]]:
        """Return the pages of a listing that Link headers lead through."""
        url: httpx.URL | None = self.rest.base_url.join(path)
        found = []
        while url is not None:
            answer = self.rest.get(url, headers=self.reading)
            assert answer.status_code == 200, answer.text
            found.append(answer.json())
            following = answer.links.get("next")
            url = None if following is None else answer.url.join(following["url"])
        return found

    def row_counts(self) -> dict[str, int]:
        """Return how many rows each table of the receiver's database holds."""
        with sqlite3.connect(f"file:{self.receiver.database}?mode=ro", uri=True) as database:
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            counts = {
                name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
                for (name,) in names.fetchall()
            }
        database.close()
        assert "run" in counts
        return counts

    def close(self) -> None:
        """Close the clients; the stage stops the programs."""
        self.rest.close()
        self.rpc.channel.close()


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def golden_record() -> dict[str, Any]:
    """Return the golden record as REST answers it."""
    record: dict[str, Any] = json.loads((GOLDEN / "run.json").read_text())
    return record


def golden_run() -> run_pb2.Run:
    """Return the run of the golden record as gRPC carries it."""
    text = (GOLDEN / "stored_run.wire.json").read_text()
    return json_format.Parse(text, run_service_pb2.StoredRun()).run


def a_record(scope: Scope, **more: Any) -> dict[str, Any]:
    """Return a small record that can be pushed: what the documentation shows, no more."""
    return {
        **scope._asdict(),
        "run_id": "run-123",
        "payload": {
            "start_time": "2026-02-06T14:30:02.185Z",
            "end_time": "2026-02-06T14:30:22.190Z",
            "duration_seconds": 20.005,
            "sample_count": 11,
        },
        **more,
    }
