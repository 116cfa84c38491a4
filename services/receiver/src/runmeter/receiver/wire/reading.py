"""Read requests: a message becomes a validated model, or InvalidRequest with all violations.

The rules are the comments of the contract. Unknown fields are ignored. An unknown number of an
enum that only describes (how percentiles were computed, where figures come from) reads as
UNSPECIFIED, which is "unknown": a newer collector is not refused for it.
"""

from collections.abc import Sequence
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from runmeter.receiver.model import GroupFilter, RunFilter, RunState, Scope
from runmeter.receiver.wire.checks import Checks
from runmeter.receiver.wire.cursors import names_of
from runmeter.receiver.wire.scopes import canonical_repository, canonical_scope
from runmeter.v1 import run_pb2, run_service_pb2, token_service_pb2
from runmeter.v1.rules import check_run

_GroupRequest: TypeAlias = run_service_pb2.ListRepositoriesRequest | run_service_pb2.ListJobsRequest

LIMIT_DEFAULT = 1000
LIMIT_MAX = 10000
EXPIRY_MAX_SECONDS = 3153600000
STATES_MAX = 32
STATES_DEFAULT = frozenset((RunState.COMPLETED, RunState.INTERRUPTED))
_STATES = ", ".join(f"RUN_STATE_{state.name}" for state in RunState)


def scope_from_wire(message: run_pb2.Scope, path: str) -> Scope:
    """Return the canonical scope.

    Raises:
        InvalidRequest: a name is invalid; an absent scope lacks all four.
    """
    checks = Checks()
    scope = canonical_scope(checks, path, message)
    checks.close()
    return scope


def stored_form(message: run_pb2.Run, scope: Scope) -> bytes:
    """Validate a run, change it to the form that is stored, and return its bytes.

    ``scope`` was read before, for authorisation. Unknown fields of the message are dropped.

    Raises:
        InvalidRequest: with every violation, under field paths from ``run`` on.
    """
    checks = Checks()
    check_run(checks, "run", message)
    checks.close()
    message.scope.repository = scope.repository
    message.DiscardUnknownFields()
    return message.SerializeToString(deterministic=True)


def lifetime_from_wire(
    message: token_service_pb2.CreatePushTokenRequest, allowed_seconds: int | None
) -> tuple[Scope, int | None]:
    """Return the scope of a push token and its lifetime in seconds; None: not given.

    Raises:
        InvalidRequest: with every violation.
    """
    checks = Checks()
    scope = canonical_scope(checks, "scope", message.scope)
    seconds = None
    if message.HasField("expires_in_seconds"):
        most = min(allowed_seconds or EXPIRY_MAX_SECONDS, EXPIRY_MAX_SECONDS)
        seconds = checks.whole("", "expires_in_seconds", message.expires_in_seconds, 1, most)
    checks.close()
    return scope, seconds


def filter_from_wire(message: run_service_pb2.ListRunsRequest) -> RunFilter:
    """Read which runs to list.

    Raises:
        InvalidRequest: with every violation.
    """
    checks = Checks()
    wanted = RunFilter(
        scope=canonical_scope(checks, "scope", message.scope),
        limit=_limit(checks, message),
        before_id=checks.whole("", "before_id", message.before_id, 1)
        if message.HasField("before_id")
        else None,
        since_ms=_bound_ms(checks, "since", message.since) if message.HasField("since") else None,
        until_ms=_bound_ms(checks, "until", message.until) if message.HasField("until") else None,
        run_id=checks.text("", "run_id", message.run_id, 0, 255)
        if message.HasField("run_id")
        else None,
        states=_states(checks, message.states),
    )
    checks.close()
    return wanted


def repositories_from_wire(message: run_service_pb2.ListRepositoriesRequest) -> GroupFilter:
    """Read which repositories to list.

    Raises:
        InvalidRequest: with every violation.
    """
    checks = Checks()
    wanted = GroupFilter((), _limit(checks, message), _after(checks, message))
    checks.close()
    return wanted


def jobs_from_wire(message: run_service_pb2.ListJobsRequest) -> GroupFilter:
    """Read which jobs of a repository to list.

    Raises:
        InvalidRequest: with every violation.
    """
    checks = Checks()
    within = canonical_repository(checks, message.organization, message.repository)
    wanted = GroupFilter(within, _limit(checks, message), _after(checks, message))
    checks.close()
    return wanted


def _limit(checks: Checks, message: run_service_pb2.ListRunsRequest | _GroupRequest) -> int:
    if not message.HasField("limit"):
        return LIMIT_DEFAULT
    return checks.whole("", "limit", message.limit, 1, LIMIT_MAX)


def _after(checks: Checks, message: _GroupRequest) -> tuple[str, str] | None:
    if not message.HasField("after"):
        return None
    try:
        return names_of(message.after)
    except ValueError:
        checks.add("", "after", "must be the next_after of an earlier answer")
        return None


def _states(checks: Checks, numbers: Sequence[int]) -> frozenset[RunState]:
    if not checks.count("", "states", len(numbers), STATES_MAX):
        return STATES_DEFAULT
    states = set()
    for index, number in enumerate(numbers):
        try:
            states.add(RunState(number))
        except ValueError:
            checks.add(("states", index), "", f"must be one of {_STATES}")
    return frozenset(states) or STATES_DEFAULT


def _bound_ms(checks: Checks, name: str, message: Timestamp) -> int:
    """Return the first whole millisecond at or after a time.

    Stored times are whole milliseconds: this one bound serves "at or after" and "before".
    """
    is_finer = message.nanos % 1_000_000 > 0
    return (checks.time("", name, message) or 0) + is_finer
