"""Read requests: a message becomes a validated model, or InvalidRequest with all violations.

The rules are the comments of the contract. Unknown fields are ignored. An unknown number of an
enum that only describes (how percentiles were computed, where figures come from) reads as
UNSPECIFIED, which is "unknown": a newer collector is not refused for it.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from runmeter.receiver.model import GroupFilter, Run, RunFilter, RunState, Scope
from runmeter.receiver.wire.checks import Checks
from runmeter.receiver.wire.cursors import names_of
from runmeter.receiver.wire.payloads import bound_ms, payload_from_wire
from runmeter.receiver.wire.scopes import canonical_repository, canonical_scope
from runmeter.receiver.wire.writing import run_bytes, scope_to_wire
from runmeter.v1 import run_pb2, run_service_pb2, token_service_pb2

_GroupRequest: TypeAlias = run_service_pb2.ListRepositoriesRequest | run_service_pb2.ListJobsRequest

LIMIT_DEFAULT = 1000
LIMIT_MAX = 10000
LABELS_MAX = 32
EXPIRY_MAX_SECONDS = 3153600000
STATES_MAX = 32
STATES_DEFAULT = frozenset((RunState.COMPLETED, RunState.INTERRUPTED))
_INT32_MAX = 2**31 - 1
_NEXT_PUSH_MAX_SECONDS = 86400
_STATES = ", ".join(f"RUN_STATE_{state.name}" for state in RunState)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def scope_from_wire(message: run_pb2.Scope, path: str) -> Scope:
    """Return the canonical scope.

    Raises:
        InvalidRequest: a name is bad; a scope that is absent lacks all four.
    """
    checks = Checks()
    scope = _scope(checks, message, path)
    checks.close()
    return scope


def push_from_wire(message: run_pb2.Run, scope: Scope) -> tuple[Run, bytes]:
    """Return the validated run, and it in protobuf bytes, as it is stored and answered.

    Raises as `run_from_wire` does. The message loses the fields that are not known here.
    """
    checks = Checks()
    run = _run(checks, message, scope)
    if checks.altered or scope_to_wire(scope) != message.scope:
        return run, run_bytes(run)
    message.DiscardUnknownFields()
    return run, message.SerializeToString(deterministic=True)


def run_from_wire(message: run_pb2.Run, scope: Scope) -> Run:
    """Return the validated run; its scope was read before, as authorisation needs it.

    Raises:
        InvalidRequest: with every violation, under field paths from ``run`` on.
    """
    return _run(Checks(), message, scope)


def _run(checks: Checks, message: run_pb2.Run, scope: Scope) -> Run:
    if not _UUID.fullmatch(message.push_id):
        checks.add("run.push_id", "must be a UUID of 36 characters in lower case")
    if not message.HasField("payload"):
        checks.add("run.payload", "is required")
    run = Run(
        scope=scope,
        push_id=message.push_id,
        state=run_state(checks, "run.state", message.state),
        revision=checks.whole("run", "revision", message.revision, 1),
        run_id=checks.text("run", "run_id", message.run_id, 0, 255),
        run_attempt=_run_attempt(checks, message),
        runner_name=checks.text("run", "runner_name", message.runner_name, 1, 255)
        if message.HasField("runner_name")
        else None,
        labels=_labels(checks, message.labels.items(), len(message.labels)),
        exit_code=checks.whole("run", "exit_code", message.exit_code, 0, 255)
        if message.HasField("exit_code")
        else None,
        collector_version=checks.text("run", "collector_version", message.collector_version, 0, 63),
        next_push_within_seconds=_next_push(checks, message),
        payload=payload_from_wire(checks, message.payload, message.HasField("payload")),
    )
    checks.close()
    return run


def run_state(checks: Checks, field: str, number: int) -> RunState:
    """Return the state; UNSPECIFIED and unknown numbers are violations."""
    try:
        return RunState(number)
    except ValueError:
        checks.add(field, f"must be one of {_STATES}")
        return RunState.COMPLETED


def _run_attempt(checks: Checks, message: run_pb2.Run) -> int | None:
    if not message.HasField("run_attempt"):
        return None
    return checks.whole("run", "run_attempt", message.run_attempt, 1, _INT32_MAX)


def _next_push(checks: Checks, message: run_pb2.Run) -> float | None:
    if not message.HasField("next_push_within_seconds"):
        return None
    value = message.next_push_within_seconds
    return checks.positive("run", "next_push_within_seconds", value, _NEXT_PUSH_MAX_SECONDS)


def _labels(
    checks: Checks, items: Iterable[tuple[str, str]], length: int
) -> tuple[tuple[str, str], ...]:
    if not checks.count("run", "labels", length, LABELS_MAX):
        return ()
    labels = []
    for number, (key, value) in enumerate(sorted(items)):
        # keys may be as bad as values: say which one, without quoting a bad key
        good_key = checks.text(f"run.labels[{number}]", "key", key, 1, 63)
        index = good_key or str(number)
        labels.append((key, checks.text("run", f"labels[{index}]", value, 0, 255)))
    return tuple(labels)


def lifetime_from_wire(
    message: token_service_pb2.CreatePushTokenRequest, allowed_seconds: int | None
) -> tuple[Scope, int | None]:
    """Return the scope of a push token and for how many seconds it is asked; None: not said.

    Raises:
        InvalidRequest: with every violation.
    """
    checks = Checks()
    scope = _scope(checks, message.scope, "scope")
    seconds = None
    if message.HasField("expires_in_seconds"):
        most = min(allowed_seconds or EXPIRY_MAX_SECONDS, EXPIRY_MAX_SECONDS)
        seconds = checks.whole("", "expires_in_seconds", message.expires_in_seconds, 1, most)
    checks.close()
    return scope, seconds


def filter_from_wire(message: run_service_pb2.ListRunsRequest) -> RunFilter:
    """Return what a query asks for.

    Raises:
        InvalidRequest: with every violation.
    """
    checks = Checks()
    wanted = RunFilter(
        scope=_scope(checks, message.scope, "scope"),
        limit=_limit(checks, message),
        before_id=checks.whole("", "before_id", message.before_id, 1)
        if message.HasField("before_id")
        else None,
        since_ms=bound_ms(checks, "since", message.since) if message.HasField("since") else None,
        until_ms=bound_ms(checks, "until", message.until) if message.HasField("until") else None,
        run_id=checks.text("", "run_id", message.run_id, 0, 255)
        if message.HasField("run_id")
        else None,
        states=_states(checks, message.states),
    )
    checks.close()
    return wanted


def repositories_from_wire(message: run_service_pb2.ListRepositoriesRequest) -> GroupFilter:
    """Return which repositories are asked for.

    Raises:
        InvalidRequest: with every violation.
    """
    checks = Checks()
    wanted = GroupFilter((), _limit(checks, message), _after(checks, message))
    checks.close()
    return wanted


def jobs_from_wire(message: run_service_pb2.ListJobsRequest) -> GroupFilter:
    """Return which jobs are asked for, of a repository by its canonical name.

    Raises:
        InvalidRequest: with every violation.
    """
    checks = Checks()
    within = canonical_repository(checks, "", message.organization, message.repository)
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
        checks.add("after", "must be the next_after of an answer before")
        return None


def _states(checks: Checks, numbers: Sequence[int]) -> frozenset[RunState]:
    if not checks.count("", "states", len(numbers), STATES_MAX):
        return STATES_DEFAULT
    states = (run_state(checks, f"states[{i}]", number) for i, number in enumerate(numbers))
    return frozenset(states) or STATES_DEFAULT


def _scope(checks: Checks, message: run_pb2.Scope, path: str) -> Scope:
    return canonical_scope(
        checks, path, message.organization, message.repository, message.workflow, message.job
    )
