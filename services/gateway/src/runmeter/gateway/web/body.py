"""Bodies of requests: JSON only, in UTF-8, up to a limit, in time; or every bad field by name."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec
from sanic.http import Http

from runmeter.gateway.errors import (
    BodyTooLarge,
    FieldError,
    InvalidRequest,
    UnsupportedMediaType,
)
from runmeter.gateway.web.request import GatewayRequest
from runmeter.v1.json_values import BadFields, parse_number

T = TypeVar("T")

_DECODER = msgspec.json.Decoder(float_hook=parse_number)


class BodyLimits(NamedTuple):
    """Maximum size of a body, and time for it to arrive."""

    max_bytes: int
    timeout_seconds: float = 30.0


async def read_body(
    request: GatewayRequest, read: Callable[[dict[str, Any]], T], limits: BodyLimits
) -> T:
    """Read the body of a streaming handler's request with ``read``.

    Raises:
        BodyTooLarge, UnsupportedMediaType, TooSlow, InvalidRequest
    """
    _refuse_length(request.headers.getone("content-length", ""), limits.max_bytes)
    _refuse_type(
        request.headers.getone("content-type", ""),
        request.headers.getone("content-encoding", "identity"),
    )
    body = await _received(request, limits.max_bytes)
    if not body:
        raise InvalidRequest("The body is empty; it must be a JSON object.")
    return decode_body(read, body)


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
        raise UnsupportedMediaType("Send the body without a content encoding.")


def decode_body(read: Callable[[dict[str, Any]], T], body: bytes) -> T:
    """Read a JSON object with ``read``.

    Raises:
        InvalidRequest: not JSON, nested too deep, or with all bad fields, at most `ERRORS_MAX`.
    """
    try:
        body.decode()
        value = _decode(body)
    except RecursionError:
        raise InvalidRequest("The body is nested too deep.") from None
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not valid UTF-8.") from None
    except ValueError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body is not a JSON object.")
    try:
        return read(value)
    except BadFields as error:
        fields = [FieldError(*violation) for violation in error.violations]
        raise InvalidRequest(
            "The body has fields that are missing, of the wrong type or out of range.", *fields
        ) from None


def _decode(body: bytes) -> Any:
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError:  # an integer of too many digits
        return json.loads(
            body, parse_float=parse_number, parse_int=parse_number, parse_constant=_refuse
        )


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is not a number")
