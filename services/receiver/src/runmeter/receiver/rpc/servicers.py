"""The methods: each reads its request, calls its use case, writes its answer.

Errors are raised; ``interceptors`` turns them into statuses. Scope and ids of a call are bound to
its log line.
"""

import math
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, TypeAlias

from grpc.aio import Server, ServicerContext
from structlog.contextvars import bind_contextvars

from runmeter.receiver import query
from runmeter.receiver.model import Push, RunState, Scope
from runmeter.receiver.rpc.interceptors import bearer
from runmeter.receiver.store.writer import Writer
from runmeter.receiver.tokens import Keyring, ReadToken, parse_push_token
from runmeter.receiver.wire import reading, writing
from runmeter.v1 import (
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

_Context: TypeAlias = "ServicerContext[Any, Any]"

SERVICES = tuple(
    service.full_name
    for module in (ingest_service_pb2, token_service_pb2, run_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)
PUSH_METHODS = ("/runmeter.v1.IngestService/PushRun",)
READ_METHODS = (
    "/runmeter.v1.TokenService/CreatePushToken",
    "/runmeter.v1.RunService/ListRuns",
    "/runmeter.v1.RunService/ListRepositories",
    "/runmeter.v1.RunService/ListJobs",
)


class UseCases(NamedTuple):
    """What the calls use, and the checks of bearers."""

    writer: Writer
    keyring: Keyring
    read_token: ReadToken
    max_token_ttl_seconds: float | None


def add_services(server: Server, use_cases: UseCases) -> None:
    """Add all services of the contract to a server."""
    writer, keyring, _, max_token_ttl_seconds = use_cases
    ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(
        IngestServicer(writer, keyring), server
    )
    token_service_pb2_grpc.add_TokenServiceServicer_to_server(
        TokenServicer(keyring, max_token_ttl_seconds), server
    )
    run_service_pb2_grpc.add_RunServiceServicer_to_server(RunServicer(), server)


class IngestServicer(ingest_service_pb2_grpc.IngestServiceServicer):
    """IngestService."""

    def __init__(self, writer: Writer, keyring: Keyring) -> None:
        self._writer = writer
        self._keyring = keyring

    async def PushRun(
        self, request: ingest_service_pb2.PushRunRequest, context: _Context
    ) -> ingest_service_pb2.PushRunResponse:
        """Store a run. Scope and token are checked first: without a valid token nothing else is
        answered.
        """
        token = parse_push_token(bearer(context))
        scope = reading.scope_from_wire(request.run.scope, "run.scope")
        bind_contextvars(**scope._asdict())
        self._keyring.verify(token, scope, time.time())
        run, payload = request.run, reading.stored_form(request.run, scope)
        bind_contextvars(
            run_id=run.run_id,
            push_id=run.push_id,
            state=RunState(run.state).name,
            revision=run.revision,
        )
        receipt = await self._writer.write(Push(scope, run, payload, int(time.time() * 1000)))
        bind_contextvars(id=receipt.id, duplicate=receipt.duplicate)
        return ingest_service_pb2.PushRunResponse(id=receipt.id, duplicate=receipt.duplicate)


class TokenServicer(token_service_pb2_grpc.TokenServiceServicer):
    """TokenService."""

    def __init__(self, keyring: Keyring, max_token_ttl_seconds: float | None) -> None:
        self._keyring = keyring
        self._allowed_seconds = (
            None if max_token_ttl_seconds is None else math.floor(max_token_ttl_seconds)
        )

    async def CreatePushToken(
        self, request: token_service_pb2.CreatePushTokenRequest, context: _Context
    ) -> token_service_pb2.CreatePushTokenResponse:
        """Mint a push token; nothing is stored."""
        scope, seconds = reading.lifetime_from_wire(request, self._allowed_seconds)
        bind_contextvars(**scope._asdict())
        seconds = self._allowed_seconds if seconds is None else seconds
        if seconds is None:
            return token_service_pb2.CreatePushTokenResponse(token=self._keyring.mint(scope))
        expires_at_unix = int(time.time()) + seconds
        return token_service_pb2.CreatePushTokenResponse(
            token=self._keyring.mint(scope, expires_at_unix),
            expires_at=writing.timestamp(expires_at_unix * 1000),
        )


class RunServicer(run_service_pb2_grpc.RunServiceServicer):
    """RunService."""

    async def ListRuns(
        self, request: run_service_pb2.ListRunsRequest, context: _Context
    ) -> AsyncIterator[run_service_pb2.ListRunsResponse]:
        """Stream a header, then pages."""
        wanted = reading.filter_from_wire(request)
        bind_contextvars(**wanted.scope._asdict())
        listing = await query.find(wanted)
        bind_contextvars(run_count=len(listing.runs))
        yield run_service_pb2.ListRunsResponse(
            header=run_service_pb2.ListRunsHeader(
                next_before_id=listing.next_before_id, etag=listing.etag
            )
        )
        async for page in query.pages(listing):
            yield writing.page_to_wire(page)

    async def ListRepositories(
        self, request: run_service_pb2.ListRepositoriesRequest, context: _Context
    ) -> run_service_pb2.ListRepositoriesResponse:
        """Answer one page of repositories."""
        page = await query.find_groups(reading.repositories_from_wire(request))
        bind_contextvars(repository_count=len(page.groups))
        return writing.repositories_to_wire(page)

    async def ListJobs(
        self, request: run_service_pb2.ListJobsRequest, context: _Context
    ) -> run_service_pb2.ListJobsResponse:
        """Answer one page of the jobs of a repository."""
        wanted = reading.jobs_from_wire(request)
        bind_contextvars(**dict(zip(Scope._fields, wanted.within, strict=False)))
        page = await query.find_groups(wanted)
        bind_contextvars(job_count=len(page.groups))
        return writing.jobs_to_wire(page)
