"""Errors, as one tree; the facts are attributes, the text is built from them.

├── StartupError                ends the program before it serves (runmeter.service.errors)
│   ├── DatabaseUnusable        exit 1: cannot be opened, written, or is not migrated
│   ├── NamesConflict           exit 1: runs of both names of a repository contradict each other
│   └── StreamUnusable          exit 1: an export cannot be written, an import cannot be read
├── LineRejected                a line of an import holds no run that can be stored
├── Interrupted                 a signal ended a command early
└── CallError                   ends one call; ``rpc.handling.CODES`` has its status
    ├── InvalidRequest          fields are invalid; the error lists them
    ├── MalformedRequest        the bytes are no message
    ├── MessageTooLarge         larger than --max-message-bytes
    ├── UnknownMethod           no such method here
    ├── Unauthenticated         the bearer is missing or not accepted
    │   ├── BearerMissing
    │   ├── BearerUnknown
    │   └── TokenExpired
    ├── WrongScope              a push token for another scope
    ├── OtherCase               no runs of these names, but of the same in another case
    ├── PushConflict            an equal push with other content is stored
    ├── Busy                    too many pushes are waiting
    ├── TooManyFailures         a refused bearer, after too many of this caller
    ├── CallTooLong             longer than --call-timeout
    └── Unavailable             not now
        ├── StoreUnavailable    the database cannot be read or written
        └── ShuttingDown        the receiver is ending
"""

from typing import NamedTuple

from runmeter.service.errors import StartupError


class Violation(NamedTuple):
    """One bad field: its path in the request and what is allowed there."""

    field: str
    reason: str


class DatabaseUnusable(StartupError):
    """The database cannot be opened, written, or is not migrated."""

    def __init__(self, database: str, reason: str) -> None:
        super().__init__(f"cannot use the database {database}: {reason}")
        self.database = database
        self.reason = reason


class NamesConflict(StartupError):
    """A run is stored under both names of a repository with different content."""

    def __init__(self, source: str, target: str, ids: tuple[int, int], count: int) -> None:
        more = f", as in {count - 1} more cases" if count > 1 else ""
        super().__init__(
            f"cannot rename {source} to {target}: run {ids[0]} of the one and run {ids[1]} of the "
            f"other have the same push_id, state and revision, but different content{more}"
        )
        self.source = source
        self.target = target
        self.ids = ids
        self.count = count


class StreamUnusable(StartupError):
    """A file or stream cannot be read or written. ``doing`` is for example "read runs.jsonl"."""

    def __init__(self, doing: str, reason: str) -> None:
        super().__init__(f"cannot {doing}: {reason}")
        self.doing = doing
        self.reason = reason


class LineRejected(Exception):
    """A line of an import holds no run that can be stored."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Interrupted(Exception):
    """A signal ended a command early."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(f"ended by {signal_name}")
        self.signal_name = signal_name


class CallError(Exception):
    """One call fails; the text is for the caller and shows nothing internal."""

    retry_after_seconds: float | None = None


class InvalidRequest(CallError):
    """Fields are invalid; ``omitted_count`` violations are not listed."""

    def __init__(self, violations: tuple[Violation, ...], omitted_count: int = 0) -> None:
        listed = "; ".join(f"{field}: {reason}" for field, reason in violations)
        more = f"; and {omitted_count} more" if omitted_count else ""
        super().__init__(f"invalid request: {listed}{more}")
        self.violations = violations
        self.omitted_count = omitted_count


class MalformedRequest(CallError):
    """The bytes are not a message of this method."""

    def __init__(self) -> None:
        super().__init__("malformed request: the bytes are not a message of this method")


class MessageTooLarge(CallError):
    """The message is larger than allowed."""

    def __init__(self, allowed_bytes: int) -> None:
        super().__init__(f"the request has no message, or one of more than {allowed_bytes} bytes")
        self.allowed_bytes = allowed_bytes


class UnknownMethod(CallError):
    """The method does not exist."""

    def __init__(self) -> None:
        super().__init__("this method does not exist; server reflection lists the methods")


class Unauthenticated(CallError):
    """The bearer is missing or not accepted."""


class BearerMissing(Unauthenticated):
    """The call has no bearer, or several."""

    def __init__(self) -> None:
        super().__init__("send the metadata `authorization: Bearer <token>`, once")


class BearerUnknown(Unauthenticated):
    """The bearer is not of the kind that this method accepts."""

    def __init__(self, wanted: str) -> None:
        super().__init__(f"the bearer is not {wanted}")
        self.wanted = wanted


class TokenExpired(Unauthenticated):
    """A push token for this scope that has expired."""

    def __init__(self) -> None:
        super().__init__("the push token has expired; mint a new one")


class WrongScope(CallError):
    """The token has the form of a push token and does not verify for this scope."""

    def __init__(self) -> None:
        super().__init__(
            "the push token is not for this organization, repository, workflow, job (names are "
            "compared exactly, including upper and lower case)"
        )


class OtherCase(CallError):
    """No run has the names of the query; some have the same names in another case."""

    def __init__(self, stored: tuple[str, ...]) -> None:
        # the name of the repository begins with the organization
        kinds = ("repository", "workflow", "job")
        names = ", ".join(f"{kind} {name}" for kind, name in zip(kinds, stored[1:], strict=False))
        super().__init__(
            f"there are no runs of these names, only of {names}; names are compared exactly, "
            "including upper and lower case"
        )
        self.stored = stored


class PushConflict(CallError):
    """An equal push, by (COMPLETED or not, revision, state), is stored with different content."""

    def __init__(self, revision: int) -> None:
        super().__init__(
            f"a run with the same push_id, state and revision {revision} is already stored with "
            "different content; a changed run needs a higher revision"
        )
        self.revision = revision


class Busy(CallError):
    """Too many pushes wait to be written."""

    retry_after_seconds = 1.0

    def __init__(self) -> None:
        super().__init__("too many pushes are waiting to be stored; try again")


class TooManyFailures(CallError):
    """A refused bearer after too many others; ``cause`` is why it was refused."""

    def __init__(self, cause: CallError, wait_seconds: float) -> None:
        super().__init__(
            f"{cause} (and too many calls from this address or with this bearer were refused; a "
            "valid bearer is still accepted)"
        )
        self.cause = cause
        self.retry_after_seconds = max(1.0, wait_seconds)


class CallTooLong(CallError):
    """The call took longer than --call-timeout."""

    def __init__(self, allowed_seconds: float) -> None:
        super().__init__(f"the call took longer than {allowed_seconds:g} s, which is the limit")
        self.allowed_seconds = allowed_seconds


class Unavailable(CallError):
    """Not possible now; the same call may succeed later."""


class StoreUnavailable(Unavailable):
    """The database cannot be read or written; ``reason`` is for the caller."""

    retry_after_seconds = 5.0

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database of the receiver is unavailable: {reason}; try again later")
        self.reason = reason


class ShuttingDown(Unavailable):
    """The receiver is ending."""

    retry_after_seconds = 1.0

    def __init__(self) -> None:
        super().__init__("the receiver is shutting down; try again")
