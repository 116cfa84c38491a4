"""Client of the receiver: its services over one gRPC channel.

It takes and returns REST types and raises `ReceiverError`; nothing else imports grpc. The channel
reconnects by itself after the receiver restarts.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Generic, NamedTuple, TypeVar

import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from runmeter.gateway.errors import ReceiverError
from runmeter.gateway.model import Caller, PageQuery, RunQuery
from runmeter.gateway.receiver import messages, statuses
from runmeter.gateway.schemas import api as schemas
from runmeter.service.tls import ClientTls
from runmeter.v1 import ingest_service_pb2 as ingest_pb
from runmeter.v1 import ingest_service_pb2_grpc as ingest_grpc
from runmeter.v1 import run_service_pb2 as query_pb
from runmeter.v1 import run_service_pb2_grpc as query_grpc
from runmeter.v1 import token_service_pb2 as token_pb
from runmeter.v1 import token_service_pb2_grpc as token_grpc
from runmeter.v1.json_writing import StoredRun

T = TypeVar("T")

HEALTH_SECONDS = 5.0
_OPTIONS = (
    ("grpc.max_send_message_length", 8 * 1024 * 1024),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    # a receiver that restarts is found again within about two seconds
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # despite its name: the timeout of connecting
    # a receiver that vanished is noticed while a call waits; the next connection may reach another
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # http_proxy is ignored
    ("grpc.enable_http_proxy", 0),
)


class Timeouts(NamedTuple):
    """How long the receiver may take."""

    unary_seconds: float = 10.0
    """For a whole call that is not a stream, and for the first page of a stream."""
    stream_seconds: float = 300.0
    """For a whole stream, at the speed of its reader."""


class Listing(NamedTuple):
    """A listing whose first page has arrived.

    ``pages`` yields each page once, newest run first; nothing if there is no run. It raises
    `ReceiverError` if the stream breaks; if it ends without error the listing is complete.
    """

    etag: str
    next_before_id: int | None
    pages: AsyncIterator[list[StoredRun]]


class Page(NamedTuple, Generic[T]):
    """Entries sorted by name, and the start of the next page; None: this is the last."""

    entries: list[T]
    next_after: str | None


class _Ending:
    """How a call ends; CANCELLED until it is known: the client closed, or there is a defect."""

    code = "CANCELLED"


class Backend:
    """Client of one receiver. `open` and `close` it in the event loop that serves.

    ``observe`` is called with the method of a finished call and the name of its gRPC code.
    """

    def __init__(
        self,
        target: str,
        timeouts: Timeouts = Timeouts(),  # noqa: B008
        observe: Callable[[str, str], None] = lambda method, code: None,
        tls: ClientTls | None = None,
    ) -> None:
        self._target = target
        self._timeouts = timeouts
        self._tls = tls
        self._observe = observe
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Make the channel; it connects at the first call."""
        self._channel = _channel(self._target, self._tls)
        self._ingest = ingest_grpc.IngestServiceStub(self._channel)
        self._tokens = token_grpc.TokenServiceStub(self._channel)
        self._runs = query_grpc.RunServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def use_certificates(self, tls: ClientTls) -> None:
        """Use these certificates from the next call on; open calls continue."""
        self._tls = tls
        if self._channel is not None:
            closing = asyncio.create_task(self._channel.close(self._timeouts.stream_seconds))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self.open()

    async def close(self) -> None:
        """Close the channel; open calls are cancelled."""
        for closing in self._closing:
            closing.cancel()
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def check_serving(self) -> None:
        """Ask the receiver for its health.

        Raises:
            ReceiverError: it cannot be reached, or does not serve.
        """
        request = health_pb2.HealthCheckRequest()
        try:
            answer = await self._health.Check(request, timeout=HEALTH_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _receiver_error(error) from None
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise ReceiverError("UNAVAILABLE", "not serving")

    async def push_run(self, request: ingest_pb.PushRunRequest, caller: Caller) -> schemas.Pushed:
        """PushRun. Raises `ReceiverError`."""
        answer = await self._call("PushRun", self._ingest.PushRun, request, caller)
        return schemas.Pushed(answer.id, answer.duplicate)

    async def create_push_token(
        self, request: token_pb.CreatePushTokenRequest, caller: Caller
    ) -> schemas.Token:
        """CreatePushToken. Raises `ReceiverError`."""
        method = self._tokens.CreatePushToken
        return messages.token_from_wire(
            await self._call("CreatePushToken", method, request, caller)
        )

    async def list_repositories(self, query: PageQuery, caller: Caller) -> Page[schemas.Repository]:
        """ListRepositories. Raises `ReceiverError`."""
        request = query_pb.ListRepositoriesRequest(limit=query.limit, after=query.after)
        answer = await self._call("ListRepositories", self._runs.ListRepositories, request, caller)
        found = [messages.repository_from_wire(one) for one in answer.repositories]
        return Page(found, _next_after(answer))

    async def list_jobs(
        self, organization: str, repository: str, query: PageQuery, caller: Caller
    ) -> Page[schemas.Job]:
        """ListJobs. Raises `ReceiverError`."""
        request = query_pb.ListJobsRequest(
            organization=organization, repository=repository, limit=query.limit, after=query.after
        )
        answer = await self._call("ListJobs", self._runs.ListJobs, request, caller)
        return Page([messages.job_from_wire(one) for one in answer.jobs], _next_after(answer))

    async def _call(
        self, name: str, method: Callable[..., Awaitable[T]], request: Message, caller: Caller
    ) -> T:
        """Make a call with one answer."""
        with self._observed(name):
            try:
                return await method(
                    request, timeout=self._timeouts.unary_seconds, metadata=_metadata(caller)
                )
            except grpc.aio.AioRpcError as error:
                # a push is refused with RESOURCE_EXHAUSTED also because of its size
                raise _receiver_error(error, sized=name == "PushRun") from None

    @contextmanager
    def _observed(self, method: str) -> Iterator[_Ending]:
        """Report the code with which the call in this context ended."""
        ending = _Ending()
        try:
            yield ending
            ending.code = "OK"
        except ReceiverError as error:
            ending.code = error.code
            raise
        finally:
            self._observe(method, ending.code)

    @asynccontextmanager
    async def list_runs(self, query: RunQuery, caller: Caller) -> AsyncIterator[Listing]:
        """ListRuns, read up to its first page; leaving the context cancels the rest.

        Raises:
            ReceiverError: no header and first page (or end) in time.
        """
        with self._observed("ListRuns") as ending:
            call: _RunStream = self._runs.ListRuns(
                messages.query_to_wire(query),
                timeout=self._timeouts.stream_seconds,
                metadata=_metadata(caller),
            )
            try:
                header, first = await _opening(call, self._timeouts.unary_seconds)
                next_id = header.next_before_id if header.HasField("next_before_id") else None
                yield Listing(header.etag, next_id, _pages(call, first, ending))
            finally:
                call.cancel()


def _next_after(
    answer: query_pb.ListRepositoriesResponse | query_pb.ListJobsResponse,
) -> str | None:
    return answer.next_after if answer.HasField("next_after") else None


def _channel(target: str, tls: ClientTls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.chain)
    return grpc.aio.secure_channel(target, credentials, options=_OPTIONS)


_RunStream = grpc.aio.UnaryStreamCall[query_pb.ListRunsRequest, query_pb.ListRunsResponse]


async def _opening(
    call: _RunStream, timeout_seconds: float
) -> tuple[query_pb.ListRunsHeader, query_pb.ListRunsResponse | None]:
    """Read the header and the first page, or None if the stream has none."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return _header(await _read(call)), await _read(call)
    except TimeoutError:
        raise ReceiverError("DEADLINE_EXCEEDED", "no first page in time") from None


async def _read(call: _RunStream) -> query_pb.ListRunsResponse | None:
    """Read one message; None at the end of the stream."""
    try:
        message = await call.read()
    except grpc.aio.AioRpcError as error:
        raise _receiver_error(error) from None
    return message if isinstance(message, query_pb.ListRunsResponse) else None


def _header(message: query_pb.ListRunsResponse | None) -> query_pb.ListRunsHeader:
    if message is None or message.WhichOneof("part") != "header":
        raise ReceiverError("INTERNAL", "a listing without header")
    return message.header


async def _pages(
    call: _RunStream, message: query_pb.ListRunsResponse | None, ending: _Ending
) -> AsyncIterator[list[StoredRun]]:
    while message is not None:
        yield messages.records_from_wire(message.page)
        try:
            message = await _read(call)
        except ReceiverError as error:
            ending.code = error.code  # the reader may raise another error because of this one
            raise


def _receiver_error(error: grpc.aio.AioRpcError, *, sized: bool = False) -> ReceiverError:
    status = statuses.Status(error.code().name, error.details() or "", error.trailing_metadata())
    return statuses.error_from_wire(status, sized=sized)


def _metadata(caller: Caller) -> tuple[tuple[str, str], ...]:
    sent = (("authorization", caller.authorization), ("x-request-id", caller.request_id))
    if caller.client_address is None:
        return sent
    # only this address: the receiver does not need the proxies
    return (*sent, ("x-forwarded-for", caller.client_address))
