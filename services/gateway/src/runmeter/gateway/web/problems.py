"""Every error as RFC 9457 ``application/problem+json``.

One table maps gRPC codes to HTTP statuses, another one has the name and text of each status.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import structlog
from sanic import Blueprint, HTTPResponse, Request
from sanic.exceptions import PayloadTooLarge, RequestCancelled, SanicException
from sanic.handlers import ErrorHandler

from runmeter.gateway import events
from runmeter.gateway.errors import (
    AddressTooLong,
    BodyTooLarge,
    DecodedSlash,
    FieldError,
    GatewayError,
    HeadTooLarge,
    InvalidRequest,
    MissingBearer,
    NoPushToken,
    Overloaded,
    ReceiverError,
    TooManyAtOnce,
    TooManyRequests,
    TooSlow,
    UnsupportedMediaType,
)
from runmeter.gateway.schemas.api import encode
from runmeter.gateway.schemas.problem import TEXT_MAX, Bad, Problem

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1
"""If the receiver gives no time."""

STATUS_OF_CODE: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "CANCELLED": 503,  # by a receiver that shuts down
    "DEADLINE_EXCEEDED": 504,
}
"""gRPC code → HTTP status; every other code is a defect: 500."""


class Kind(NamedTuple):
    """Type and title of a status, and the default detail of its problems."""

    slug: str
    title: str
    detail: str


KINDS: Mapping[int, Kind] = {
    400: Kind(
        "invalid-request",
        "Invalid request",
        "This is not valid HTTP; check the request line, the headers and the length of the body.",
    ),
    401: Kind("unauthenticated", "Unauthenticated", "The bearer token is not valid."),
    403: Kind("permission-denied", "Permission denied", "The token is not for this scope."),
    404: Kind("not-found", "Not found", "This path does not exist; send a slash in a name as %2F."),
    405: Kind("method-not-allowed", "Method not allowed", "This path does not have this method."),
    408: Kind("request-timeout", "Request timeout", "The request did not arrive in time."),
    409: Kind("conflict", "Conflict", "The run is already stored with different content."),
    413: Kind("too-large", "Too large", "The request is too large."),
    414: Kind("too-large", "Too large", "The address is too long."),
    415: Kind("unsupported-media-type", "Unsupported media type", "The body must be JSON."),
    417: Kind("expectation-failed", "Expectation failed", "Only 100-continue is supported."),
    429: Kind("too-many-requests", "Too many requests", "The receiver is busy; try again later."),
    431: Kind("too-large", "Too large", "The headers are too large."),
    499: Kind("cancelled", "Cancelled", "The client closed the connection."),
    500: Kind(
        "internal",
        "Internal error",
        "Send the request_id to the operator: the log has the cause.",
    ),
    503: Kind(
        "unavailable",
        "Unavailable",
        "The receiver or its database is not available; try again later.",
    ),
    504: Kind("timeout", "Timeout", "The receiver did not answer in time."),
}

# statuses whose text the receiver writes for the caller; texts of others may be gRPC's own
_RECEIVER_TEXTS = frozenset({400, 401, 403, 404, 409})


class Outcome(NamedTuple):
    """An error as an HTTP answer."""

    status: int
    detail: str | None = None
    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = {}


def outcome_of(error: BaseException) -> Outcome:
    """Return the answer to an error; an unknown error is a defect: 500, without its text."""
    if isinstance(error, GatewayError):
        return _of_gateway(error)
    if isinstance(error, PayloadTooLarge):
        return Outcome(413, str(error) or None)
    if isinstance(error, RequestCancelled):
        return Outcome(499)
    if isinstance(error, SanicException) and error.status_code in KINDS:
        return Outcome(error.status_code, headers=_headers_of(error))
    return Outcome(500)


def _headers_of(error: SanicException) -> Mapping[str, str]:
    if "Allow" in error.headers:  # sorted: Sanic's order changes
        return {"Allow": ", ".join(sorted(error.headers["Allow"].split(", ")))}
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status_code == 503 else {}


def _of_gateway(error: GatewayError) -> Outcome:
    match error:
        case InvalidRequest():
            return Outcome(400, error.detail, error.errors)
        case MissingBearer():
            return Outcome(401, "Send the token as `Authorization: Bearer <token>`.", (), _BEARER)
        case NoPushToken():
            return Outcome(401, "The bearer is not a push token.", (), _BEARER)
        case BodyTooLarge():
            return Outcome(413, f"The body may have at most {error.limit_bytes} bytes.")
        case TooSlow():
            limit = f"{error.timeout_seconds:g}"
            return Outcome(408, f"The {error.part} did not arrive within {limit} seconds.")
        case DecodedSlash():
            return Outcome(
                404,
                f"There are no runs of these names, only of {error.path}: send a slash in a name "
                "as %2F. If you did, a proxy has decoded it.",
            )
        case UnsupportedMediaType():
            return Outcome(415, error.detail, (), {"Accept": "application/json"})
        case ReceiverError():
            return _of_receiver(error)
    return _of_limit(error)


def _of_limit(error: GatewayError) -> Outcome:
    match error:
        case AddressTooLong():
            return Outcome(414)
        case HeadTooLarge():
            return Outcome(431, f"The headers may have at most {error.limit_bytes} bytes.")
        case TooManyRequests():
            detail = f"A client may send {error.per_second} requests per second."
            return Outcome(429, detail, (), _retry_after(error.retry_after_seconds))
        case TooManyAtOnce():
            detail = "This client has too many requests at the same time; send fewer."
            return Outcome(429, detail, (), _retry_after(None))
        case Overloaded():
            return Outcome(503, "The gateway is busy; try again later.", (), _retry_after(None))
    return Outcome(500)


_BEARER = {"WWW-Authenticate": "Bearer"}


def _of_receiver(error: ReceiverError) -> Outcome:
    status = 413 if error.too_large else STATUS_OF_CODE.get(error.code, 500)
    # of 503 the receiver's own has a time to wait, gRPC's has none
    is_receivers = status in _RECEIVER_TEXTS or (status == 503 and error.retry_after_seconds)
    detail = error.message if is_receivers and error.message else None
    headers: Mapping[str, str] = {}
    if status == 401:
        headers = _BEARER
    elif status in (429, 503):
        headers = _retry_after(error.retry_after_seconds)
    if status == 400 and error.errors:
        # the receiver's text may name fields as the contract does; `errors` names them as JSON
        detail = "The receiver refused these fields."
    return Outcome(status, detail, error.errors if status == 400 else (), headers)


def _retry_after(seconds: float | None) -> Mapping[str, str]:
    whole = RETRY_AFTER_SECONDS if seconds is None else max(1, math.ceil(seconds))
    return {"Retry-After": str(whole)}


def problem_of(outcome: Outcome, request_id: str) -> Problem:
    """Make the problem of RFC 9457."""
    kind = KINDS[outcome.status]
    return Problem(
        type=f"urn:runmeter:problem:{kind.slug}",
        title=kind.title,
        status=outcome.status,
        detail=_cut(outcome.detail or kind.detail),
        request_id=request_id,
        errors=[Bad(_cut(field), _cut(reason)) for field, reason in outcome.errors] or None,
    )


def _cut(text: str) -> str:
    """Cut a text that contains input of the client, such as a key."""
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "\u2026"


def problem_response(outcome: Outcome, request_id: str) -> HTTPResponse:
    """Make the answer."""
    return HTTPResponse(
        encode(problem_of(outcome, request_id)),
        status=outcome.status,
        headers={**outcome.headers, "Cache-Control": "no-store"},
        content_type=CONTENT_TYPE,
    )


class Routes(Blueprint):
    """Routes whose errors are problems: Sanic need not parse their source to find a format."""

    def _determine_error_format(self, handler: object) -> str:
        return "json"


class ProblemHandler(ErrorHandler):
    """Answers every exception with a problem."""

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        """Make the problem; a defect is logged with its traceback, which is not sent."""
        outcome = outcome_of(exception)
        request_id: str = getattr(request, "request_id", "")
        if isinstance(exception, ReceiverError):
            request.ctx.failure = _failure_of(exception, outcome.status)
        if outcome.status == 500:
            log_failed(exception, request_id, getattr(request, "route_template", None))
        return problem_response(outcome, request_id)


def _failure_of(error: ReceiverError, status: int) -> Mapping[str, str]:
    """Return for the log how a call ended, with its text unless the answer has it."""
    text = {} if status in _RECEIVER_TEXTS else {"message": error.message}
    return {"code": error.code, **text}


def log_failed(error: BaseException, request_id: str, route: str | None) -> None:
    """Log a defect, or what ended an answer after its first byte."""
    log = structlog.get_logger().bind(request_id=request_id, route=route)
    if isinstance(error, ReceiverError):
        log.error(events.REQUEST_FAILED, code=error.code, message=error.message)
    else:
        log.error(events.REQUEST_FAILED, exc_info=error)
