"""Bodies of requests: JSON only, in UTF-8, up to a limit, in time; or every bad field by name."""

import types
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import (
    Annotated,
    Any,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import Struct
from sanic.http import Http

from runmeter.gateway.errors import (
    ERRORS_MAX,
    BodyTooLarge,
    FieldError,
    InvalidRequest,
    UnsupportedMediaType,
)
from runmeter.gateway.schemas.api import decode_custom
from runmeter.gateway.web.request import GatewayRequest

T = TypeVar("T", bound=Struct)

VISITS_MAX = 20_000
"""Maximum number of values that a search for bad fields looks at: the receiver has not checked the
token yet."""


class BodyLimits(NamedTuple):
    """Maximum size of a body, and time for it to arrive."""

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
        raise UnsupportedMediaType("Send the body without a content encoding.")


def decode_body(expected: type[T], body: bytes) -> T:
    """Read a JSON object as ``expected``.

    Raises:
        InvalidRequest: not JSON, nested too deep, or with all bad fields (at most
            `ERRORS_MAX`; at least one) in the order of the type.
    """
    try:
        body.decode()  # msgspec skips over what is not UTF-8 in fields it ignores
        decoder: msgspec.json.Decoder[T] = _decoder(expected)
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(expected, body, error) from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deep.") from None
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not valid UTF-8.") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None


@cache
def _decoder(expected: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(expected, dec_hook=decode_custom)


def _invalid(expected: type[Struct], body: bytes, first: msgspec.ValidationError) -> InvalidRequest:
    try:
        value = msgspec.json.decode(body)
    except msgspec.ValidationError:  # a number too large for a float is still well-formed JSON
        return _wrong_fields(_only(first))
    except RecursionError:
        return InvalidRequest("The body is nested too deep.")
    except msgspec.DecodeError as error:  # malformed after the first bad field
        return InvalidRequest(f"The body is not valid JSON: {error}.")
    if not isinstance(value, dict):
        return InvalidRequest("The body is not a JSON object.")
    found = islice(_Search().in_struct(expected, value, ""), ERRORS_MAX)
    return _wrong_fields(*(list(found) or [_only(first)]))  # none: it is beyond VISITS_MAX


def _wrong_fields(*found: FieldError) -> InvalidRequest:
    return InvalidRequest("The body has fields that are missing or of the wrong type.", *found)


def _only(error: msgspec.ValidationError) -> FieldError:
    """Return the bad field at which msgspec stopped: ``Expected `int` - at `$.payload.x```."""
    reason, _, path = str(error).partition(" - at `$")
    return FieldError(path.strip("`.") or "body", _sentence(reason))


class _Search:
    """Compares a decoded body with its type and yields the differences."""

    def __init__(self) -> None:
        self._visits_left = VISITS_MAX

    def in_struct(self, expected: type[Struct], value: object, path: str) -> Iterator[FieldError]:
        if not isinstance(value, dict):
            yield FieldError(path, f"is {_kind(value)}, not an object")
            return
        hints = _hints(expected)
        for entry in msgspec.structs.fields(expected):
            here = f"{path}.{entry.name}" if path else entry.name
            if entry.name in value:
                yield from self.in_value(hints[entry.name], value[entry.name], here)
            elif entry.required:
                yield FieldError(here, "is required")

    def in_value(self, expected: Any, value: object, path: str) -> Iterator[FieldError]:
        self._visits_left -= 1
        if self._visits_left < 0:
            return
        whole, expected = expected, _plain(expected)
        origin = get_origin(expected)
        if origin in (types.UnionType, Union):  # X | None is the only union used
            if value is not None:
                inner = next(a for a in get_args(expected) if a is not types.NoneType)
                yield from self.in_value(inner, value, path)
        elif origin is list and isinstance(value, list):
            for index, item in enumerate(value):
                yield from self.in_value(get_args(expected)[0], item, f"{path}[{index}]")
        elif origin is dict and isinstance(value, dict):
            for key, item in value.items():
                yield from self.in_value(get_args(expected)[1], item, f"{path}[{key}]")
        elif isinstance(expected, type) and issubclass(expected, Struct):
            yield from self.in_struct(expected, value, path)
        else:
            yield from _in_leaf(whole, value, path)


def _plain(expected: Any) -> Any:
    """Return the type without its annotations."""
    return get_args(expected)[0] if get_origin(expected) is Annotated else expected


def _in_leaf(expected: Any, value: object, path: str) -> Iterator[FieldError]:
    try:
        msgspec.convert(value, expected, strict=True, dec_hook=decode_custom)
    except msgspec.ValidationError as error:
        yield FieldError(path, _sentence(str(error)))


@cache
def _hints(expected: type[Struct]) -> dict[str, Any]:
    return get_type_hints(expected, include_extras=True)


def _sentence(reason: str) -> str:
    """``Expected `int`, got `str``` → ``expected int, got str``."""
    text = reason.replace("`", "")
    return text[:1].lower() + text[1:]


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
