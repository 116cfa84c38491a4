"""Parts of every call: parse the bytes, limit the time, answer with an error."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias

import grpc

from runmeter.receiver import errors

CODES: Mapping[type[errors.CallError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.MalformedRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.MessageTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnknownMethod: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.WrongScope: grpc.StatusCode.PERMISSION_DENIED,
    errors.OtherCase: grpc.StatusCode.NOT_FOUND,
    errors.PushConflict: grpc.StatusCode.ALREADY_EXISTS,
    errors.Busy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyFailures: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.CallTooLong: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}
_ABORT_SECONDS = 1.0

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def code_of(error: errors.CallError) -> grpc.StatusCode:
    """Return the status of an error: that of its class or the nearest class above it."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def parse(handler: Handler, raw: bytes) -> Any:
    """Return the message that a method takes; raises MalformedRequest."""
    try:
        return handler.request_deserializer(raw)  # type: ignore[misc]
    except Exception as error:
        raise errors.MalformedRequest from error


@contextlib.asynccontextmanager
async def in_time(call_seconds: float) -> AsyncIterator[None]:
    """Raise CallTooLong if what is inside takes longer."""
    try:
        async with asyncio.timeout(call_seconds) as limit:
            yield
    except TimeoutError as error:
        if limit.expired():
            raise errors.CallTooLong(call_seconds) from error
        raise


async def abort(
    context: Context, code: grpc.StatusCode, text: str, trailing: tuple[Any, ...] = ()
) -> None:
    """Answer with an error; a client that does not read it is cut off after a second."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ABORT_SECONDS):
            await context.abort(code, text, trailing)


def open_handler(handler: Handler, call_seconds: float) -> Handler:
    """Return a handler of health or reflection that answers malformed bytes with a status.

    gRPC would answer bytes that are no message with internal text, and log a traceback each time.
    A dialogue has a time limit; a watch of health lasts as long as the connection.
    """

    # Behaviours are Any: the stubs know those of the blocking server only.
    behavior: Any = handler.unary_unary or handler.unary_stream or handler.stream_stream

    async def answer(raw: bytes, context: Context) -> Any:
        async with _refusing(context):
            return await behavior(parse(handler, raw), context)

    async def converse(raws: AsyncIterator[bytes], context: Context) -> None:
        requests = (parse(handler, raw) async for raw in raws)
        async with _refusing(context), in_time(call_seconds):
            async for response in behavior(requests, context):
                await context.write(response)

    serializer = handler.response_serializer
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(answer, None, serializer)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(answer, None, serializer)
    return grpc.stream_stream_rpc_method_handler(converse, None, serializer)


@contextlib.asynccontextmanager
async def _refusing(context: Context) -> AsyncIterator[None]:
    try:
        yield
    except errors.CallError as error:
        await abort(context, code_of(error), str(error))
        raise asyncio.CancelledError from error
    except grpc.aio.InternalError as error:  # the client has left
        raise asyncio.CancelledError from error
