"""What can be wrong with a request; `web.problems` makes texts and statuses of these.

GatewayError
├── InvalidRequest         head, path, query or body
├── MissingBearer          no usable ``Authorization: Bearer``
├── NoPushToken            a bearer that no push token can be
├── DecodedSlash           a path that has runs only if a slash belongs to a name
├── AddressTooLong
├── HeadTooLarge
├── BodyTooLarge
├── TooSlow                the headers, or the body
├── UnsupportedMediaType
├── TooManyRequests        of one client in the last seconds
├── TooManyAtOnce          of one client at this moment
├── Overloaded             requests or connections of all clients at this moment
└── ReceiverError          a call to the receiver ended with a gRPC status
"""

from typing import NamedTuple

ERRORS_MAX = 100
"""Maximum number of bad fields in an answer."""


class FieldError(NamedTuple):
    """One bad field: its name in the JSON API, and what is wrong with it."""

    field: str
    reason: str


class GatewayError(Exception):
    """Base of all errors that the gateway answers with a problem."""


class InvalidRequest(GatewayError):
    """Head, path, query or body cannot be read; ``errors`` has the bad fields, if any."""

    def __init__(self, detail: str, *errors: FieldError) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors[:ERRORS_MAX]


class MissingBearer(GatewayError):
    """The request has no ``Authorization: Bearer …``, or one that cannot be a token."""


class NoPushToken(GatewayError):
    """The bearer of a push is malformed."""


class DecodedSlash(GatewayError):
    """The path has no runs as it is read; with a slash as a part of a name it has."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path
        """The names that have runs, as parts of a path."""


class AddressTooLong(GatewayError):
    """The request line is larger than the limit for headers."""


class HeadTooLarge(GatewayError):
    """The headers are larger than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"more than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class BodyTooLarge(GatewayError):
    """The body is larger than the configured limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"more than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class TooSlow(GatewayError):
    """A part of a request, "headers" or "body", did not arrive in time."""

    def __init__(self, part: str, timeout_seconds: float) -> None:
        super().__init__(f"{part} not complete after {timeout_seconds:g} s")
        self.part = part
        self.timeout_seconds = timeout_seconds


class UnsupportedMediaType(GatewayError):
    """The body is not declared as plain JSON in UTF-8."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class TooManyRequests(GatewayError):
    """The client has sent more requests than the configured rate."""

    def __init__(self, per_second: int, retry_after_seconds: float) -> None:
        super().__init__(f"more than {per_second} a second")
        self.per_second = per_second
        self.retry_after_seconds = retry_after_seconds


class TooManyAtOnce(GatewayError):
    """The client has reached its limit of requests answered at the same time."""


class Overloaded(GatewayError):
    """The limit of connections, or of requests answered at the same time, is reached."""


class ReceiverError(GatewayError):
    """A call to the receiver failed.

    ``code`` is the name of the gRPC status code, ``message`` its text, which clients may see only
    if the receiver itself wrote it. ``too_large``: RESOURCE_EXHAUSTED because of the size of the
    request.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after_seconds: float | None = None,
        too_large: bool = False,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.errors = errors
        self.retry_after_seconds = retry_after_seconds
        self.too_large = too_large
