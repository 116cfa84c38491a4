"""Deliver one run: try until it is acknowledged or refused, or the time is up.

Each wait is random, up to a growing maximum, so that many collectors do not retry at the
same time. If the receiver says when to retry, the collector does not retry earlier.
"""

import enum
from collections.abc import Callable
from select import select
from time import monotonic_ns
from typing import Any, NamedTuple, Protocol

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from runmeter.collector.errors import CollectorError
from runmeter.collector.model import KEPT, REJECTED, Acknowledgement

ATTEMPT_SECONDS = 10.0
_NS = 1_000_000_000
_LAST_SECONDS = 0.5  # of the time, for the last attempt
_jitter_seconds = wait_random_exponential(multiplier=0.5, max=4, min=0.02)


class Kind(enum.Enum):
    """What a failed push means for the run and for the following runs."""

    BUSY = "the receiver may accept it later"
    UNUSABLE = "no run can be pushed this way: TLS fails, or another program answers"
    FAILED = "the receiver has an internal error"
    MISDIRECTED = "the endpoint does not accept pushes"
    TOKEN = "the token is not for this run"
    INVALID = "it will never be accepted as it is"


_REJECTING = (Kind.MISDIRECTED, Kind.TOKEN, Kind.INVALID)


class PushError(CollectorError):
    """The receiver has not acknowledged the run."""

    def __init__(self, kind: Kind, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds

    @property
    def code(self) -> int:
        """The exit code of the push."""
        return REJECTED if self.kind in _REJECTING else KEPT


class Tls(NamedTuple):
    """The files of a TLS connection, and the name in the receiver's certificate.

    Empty: the system's CAs, no client certificate, the endpoint's host.
    """

    ca: str
    cert: str
    key: str
    server_name: str


class Transport(Protocol):
    """A way to push: gRPC or HTTP."""

    def send(self, run: dict[str, Any], timeout_seconds: float) -> Acknowledgement:
        """Push once.

        Raises:
            PushError: it is not acknowledged.
            ForeignError: it is not a run.
        """


class Retry(NamedTuple):
    """Why and when a push is tried again."""

    reason: str
    attempt: int
    delay_seconds: float


def deliver(
    transport: Transport,
    run: dict[str, Any],
    deadline_ns: int,
    on_retry: Callable[[Retry], None],
) -> Acknowledgement:
    """Push a run, again and again until a deadline of the monotonic clock, but at least once.

    Raises:
        PushError: it is not acknowledged; the last refusal.
        ForeignError: it is not a run.
    """

    def attempt() -> Acknowledgement:
        left_seconds = (deadline_ns - monotonic_ns()) / _NS
        return transport.send(run, max(0.001, min(ATTEMPT_SECONDS, left_seconds)))

    def log_retry(state: RetryCallState) -> None:
        on_retry(Retry(str(_error(state)), state.attempt_number, round(state.upcoming_sleep, 3)))

    retrying = Retrying(
        retry=retry_if_exception(lambda e: isinstance(e, PushError) and e.kind is Kind.BUSY),
        wait=lambda state: _wait_seconds(state, deadline_ns),
        stop=lambda state: monotonic_ns() + state.upcoming_sleep * _NS >= deadline_ns,
        before_sleep=log_retry,
        sleep=_sleep,
        reraise=True,
    )
    return retrying(attempt)


def _sleep(seconds: float) -> None:
    """Wait; unlike ``time.sleep``, ``select`` works when tests fake the clocks."""
    select((), (), (), seconds)


def _wait_seconds(state: RetryCallState, deadline_ns: int) -> float:
    error = _error(state)
    hint_seconds = getattr(error, "retry_after_seconds", None) or 0.0
    wait_seconds = hint_seconds + _jitter_seconds(state)
    latest_seconds = (deadline_ns - monotonic_ns()) / _NS - _LAST_SECONDS
    if hint_seconds < latest_seconds < wait_seconds:
        return latest_seconds  # make one last attempt
    return wait_seconds


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
