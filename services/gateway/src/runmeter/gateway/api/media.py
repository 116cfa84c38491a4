"""Bodies of requests: JSON only, in UTF-8, up to a limit, in time."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from msgspec import Struct
from sanic.http import Http

from runmeter.gateway.api.request import GatewayRequest
from runmeter.gateway.bodies import decode_body
from runmeter.gateway.errors import (
    BodyTooLarge,
    InvalidRequest,
    UnsupportedMediaType,
)

T = TypeVar("T", bound=Struct)


class BodyLimits(NamedTuple):
    """What a body may cost."""

    max_bytes: int
    timeout_seconds: float = 30.0


async def read_body(request: GatewayRequest, expected: type[T], limits: BodyLimits) -> T:
    """Read the body of a streaming handler's request as ``expected``.

    Raises:
        BodyTooLarge, UnsupportedMediaType, BodyTooSlow, InvalidRequest
    """
    _refuse_length(request.headers.getone("content-length", ""), limits.max_bytes)
    _refuse_type(
        request.headers.getone("content-type", ""),
        request.headers.getone("content-encoding", "identity"),
    )
    body = await _received(request, limits.max_bytes)
    if not body:
        raise InvalidRequest("The body is empty; it must be a JSON object.")
    return decode_body(expected, body)


async def _received(request: GatewayRequest, limit_bytes: int) -> bytes:
    body = bytearray()
    if isinstance(request.stream, Http):
        async for chunk in request.stream:
            body += chunk
            request.app.ctx.metrics.body_received(len(chunk))
            if len(body) > limit_bytes:
                raise BodyTooLarge(limit_bytes)
    return bytes(body)


def _refuse_length(content_length: str, limit_bytes: int) -> None:
    if content_length.isdecimal() and int(content_length) > limit_bytes:
        raise BodyTooLarge(limit_bytes)


def _refuse_type(content_type: str, content_encoding: str) -> None:
    media, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media != "application/json":
        raise UnsupportedMediaType("Send JSON, declared as `Content-Type: application/json`.")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in ("utf-8", "utf8"):
            raise UnsupportedMediaType("JSON must be in UTF-8.")
    if content_encoding.strip().lower() != "identity":
        raise UnsupportedMediaType("Send the body as it is, without a content encoding.")
