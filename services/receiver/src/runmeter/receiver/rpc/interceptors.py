"""Around every call: authentication, errors to statuses, one log line.

A call without a bearer of the right form is refused before its message is read. Requests are
parsed here and not by the generated code, which answers INTERNAL to bytes that are no message.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, TypeAlias

import grpc
import structlog
from grpc_status import rpc_status  # type: ignore[import-untyped]
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars

from runmeter.receiver import errors, events
from runmeter.receiver.metrics import Metrics
from runmeter.receiver.rpc.callers import (
    FORWARDED,
    REQUEST_ID,
    Callers,
    caller_key,
    parse_request_id,
)
from runmeter.receiver.rpc.failures import Failures
from runmeter.receiver.rpc.handling import (
    Context,
    Handler,
    abort,
    code_of,
    in_time,
    open_handler,
    parse,
)
from runmeter.receiver.rpc.status import bounded_text, status_of
from runmeter.receiver.tokens import parse_bearer, parse_push_token

REFUSALS: Mapping[type[errors.CallError], str] = {
    errors.BearerMissing: "bearer_missing",
    errors.BearerUnknown: "bearer_unknown",
    errors.TokenExpired: "token_expired",
    errors.WrongScope: "wrong_scope",
}
_INTERNAL = "internal error of the receiver; see its log"
_OPEN_PREFIXES = ("/grpc.health.v1.", "/grpc.reflection.")

_Continuation: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]
Gate = Callable[[str], None]


class Policy(NamedTuple):
    """Limits of calls, and where calls are counted."""

    max_message_bytes: int
    call_seconds: float
    callers: Callers
    failures: Failures
    metrics: Metrics


def bearer(context: Context) -> str:
    """Return the bearer of a call; raises BearerMissing."""
    return parse_bearer(_values(context.invocation_metadata(), "authorization"))


def push_gate(token: str) -> None:
    """Check that a token has the form of a push token; the method verifies it."""
    parse_push_token(token)


def _values(metadata: Any, wanted: str) -> list[str | bytes]:
    return [value for key, value in metadata or () if key == wanted]


class Authentication(grpc.aio.ServerInterceptor):
    """Refuses calls whose bearer is not of the right form, or not the read token.

    ``gates`` has a check of the bearer for each method. Health and reflection need no bearer; other
    methods are unknown.
    """

    def __init__(self, gates: Mapping[str, Gate]) -> None:
        self._gates = gates

    async def intercept_service(  # type: ignore[override]
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Return the handler, or one that refuses without reading the message."""
        method = handler_call_details.method
        if method.startswith(_OPEN_PREFIXES):
            return await continuation(handler_call_details)
        try:
            if method not in self._gates:
                raise errors.UnknownMethod
            metadata = handler_call_details.invocation_metadata
            self._gates[method](parse_bearer(_values(metadata, "authorization")))
        except errors.CallError as error:
            return _refusing(error)
        return await continuation(handler_call_details)


def _refusing(error: errors.CallError) -> Handler:
    async def refuse(requests: Any, context: Context) -> NoReturn:
        raise error

    return grpc.stream_unary_rpc_method_handler(refuse)


class Calls(grpc.aio.ServerInterceptor):
    """Turns errors into statuses and logs one line per call; outermost.

    Every method is served as one with streamed requests, which is the same on the wire: its
    message is read after the bearer is accepted, and a message that is too large is noticed
    (gRPC refuses it without calling a handler that takes a single request).
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._active_count = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self, grace_seconds: float) -> None:
        """Refuse new calls; return when the open ones have ended or the time is up."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_seconds)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        if self._draining:
            raise errors.ShuttingDown
        self._active_count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._active_count -= 1
            if not self._active_count:
                self._idle.set()

    async def intercept_service(  # type: ignore[override]
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Return the handler, wrapped; health and reflection are neither logged nor counted."""
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        if method.startswith(_OPEN_PREFIXES):
            # None: there is no such method
            return handler and open_handler(handler, self._policy.call_seconds)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(method, handler), None, handler.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(
            self._single(method, handler), None, handler.response_serializer
        )

    # Behaviours are Any: the stubs know those of the blocking server only.
    def _single(self, method: str, handler: Handler) -> Any:
        behavior: Any = handler.stream_unary or handler.unary_unary

        async def call(requests: Any, context: Context) -> Any:
            async with self._call(method, context):
                with self._counted():
                    wants_none = handler.request_streaming
                    request = None if wants_none else await self._read(handler, context)
                    return await behavior(request, context)

        return call

    def _streaming(self, method: str, handler: Handler) -> Any:
        behavior: Any = handler.unary_stream

        # writes instead of yielding: waiting for a client that reads slowly is within the limit
        async def call(requests: Any, context: Context) -> None:
            async with self._call(method, context):
                with self._counted():
                    request = await self._read(handler, context)
                    async for response in behavior(request, context):
                        await context.write(response)

        return call

    async def _read(self, handler: Handler, context: Context) -> Any:
        raw: Any = await context.read()
        if raw is grpc.aio.EOF:
            raise errors.MessageTooLarge(self._policy.max_message_bytes)
        return parse(handler, raw)

    @contextlib.asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[None]:
        started_seconds = time.monotonic()
        clear_contextvars()
        request_id = parse_request_id(_values(context.invocation_metadata(), REQUEST_ID))
        if request_id is not None:
            bind_contextvars(request_id=request_id)
        log = structlog.get_logger()
        peer = context.peer()
        client = self._client(peer, context)
        code = grpc.StatusCode.OK
        facts: dict[str, str] = {} if client is None else {"client": client}
        write_log = log.info
        try:
            async with in_time(self._policy.call_seconds):
                yield
        except errors.CallError as error:
            refusal = self._limit_failures(error, caller_key(peer, client), context)
            if isinstance(refusal, errors.TooManyFailures):
                write_log = log.debug
            code = code_of(refusal)
            facts["reason"] = bounded_text(str(refusal))
            status = rpc_status.to_status(status_of(refusal, code.value[0]))
            await abort(context, code, status.details, tuple(status.trailing_metadata))
        # if the client has left, a write may fail before the call is cancelled
        except (asyncio.CancelledError, grpc.aio.InternalError) as error:
            remaining = context.time_remaining()
            late = remaining is not None and remaining <= 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise asyncio.CancelledError from error
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception(events.RPC_FAILED, method=method)
            await abort(context, code, _INTERNAL)
        finally:
            duration_seconds = round(time.monotonic() - started_seconds, 6)
            self._policy.metrics.call_finished(method, code.name, duration_seconds)
            with bound_contextvars(method=method, peer=peer):
                write_log(
                    events.RPC_FINISHED, code=code.name, duration_seconds=duration_seconds, **facts
                )

    def _client(self, peer: str, context: Context) -> str | None:
        callers = self._policy.callers
        if not callers.are_trusted:
            return None
        return callers.client(peer, _values(context.invocation_metadata(), FORWARDED))

    def _limit_failures(
        self, error: errors.CallError, caller: str, context: Context
    ) -> errors.CallError:
        """Count a refused bearer; return the error to answer with: another one after too many."""
        if type(error) not in REFUSALS:
            return error
        metrics = self._policy.metrics
        metrics.authentication_refused(REFUSALS[type(error)])
        sent = None
        with contextlib.suppress(errors.BearerMissing):
            sent = bearer(context)
        excess = self._policy.failures.failed(caller, sent)
        if excess is None:
            return error
        metrics.authentication_limited()
        if excess.is_first:
            structlog.get_logger().warning(
                events.CALLER_LIMITED, caller=caller, seconds=round(excess.wait_seconds, 3)
            )
        return errors.TooManyFailures(error, excess.wait_seconds)
