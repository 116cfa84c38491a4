"""Requests, and runs as a whole."""

from collections.abc import Mapping

from runmeter.gateway.model import RunQuery
from runmeter.gateway.receiver.payload import summary_from_wire, summary_to_wire
from runmeter.gateway.receiver.values import instant_from_wire, instant_to_wire, reversed_names
from runmeter.gateway.schemas import api as schemas
from runmeter.v1 import ingest_service_pb2 as ingest_pb
from runmeter.v1 import run_pb2 as pb
from runmeter.v1 import run_service_pb2 as query_pb
from runmeter.v1 import token_service_pb2 as token_pb

_STATES: Mapping[schemas.RunState, pb.RunState.ValueType] = {
    "running": pb.RUN_STATE_RUNNING,
    "interrupted": pb.RUN_STATE_INTERRUPTED,
    "completed": pb.RUN_STATE_COMPLETED,
}
STATE_NAMES = reversed_names(_STATES)


def push_to_wire(body: schemas.RunBody, fresh_push_id: str) -> ingest_pb.PushRunRequest:
    """Make the push of a body; one without ``push_id`` is a new completed run."""
    own = body.push_id is None
    return ingest_pb.PushRunRequest(
        run=pb.Run(
            scope=_scope_to_wire(body),
            push_id=fresh_push_id if body.push_id is None else body.push_id,
            state=_STATES["completed" if own or body.state is None else body.state],
            revision=1 if own or body.revision is None else body.revision,
            run_id=body.run_id,
            run_attempt=body.run_attempt,
            runner_name=body.runner_name,
            labels=body.labels or {},
            exit_code=body.exit_code,
            collector_version=body.collector_version or "",
            next_push_within_seconds=body.next_push_within_seconds,
            payload=summary_to_wire(body.payload),
        )
    )


def token_to_wire(body: schemas.TokenBody) -> token_pb.CreatePushTokenRequest:
    """Make the request for a push token."""
    return token_pb.CreatePushTokenRequest(
        scope=_scope_to_wire(body), expires_in_seconds=body.expires_in_seconds
    )


def token_from_wire(answer: token_pb.CreatePushTokenResponse) -> schemas.Token:
    """Read a minted push token."""
    expires_at = instant_from_wire(answer.expires_at) if answer.HasField("expires_at") else None
    return schemas.Token(answer.token, expires_at)


def query_to_wire(query: RunQuery) -> query_pb.ListRunsRequest:
    """Make the request for a listing."""
    return query_pb.ListRunsRequest(
        scope=_scope_to_wire(query.scope),
        limit=query.limit,
        before_id=query.before_id,
        since=None if query.since is None else instant_to_wire(query.since),
        until=None if query.until is None else instant_to_wire(query.until),
        run_id=query.run_id,
        states=[_STATES[state] for state in query.states],
    )


def record_from_wire(stored: query_pb.StoredRun) -> schemas.RunRecord:
    """Read a stored run."""
    run = stored.run
    return schemas.RunRecord(
        id=stored.id,
        organization=run.scope.organization,
        repository=run.scope.repository,
        workflow=run.scope.workflow,
        job=run.scope.job,
        run_id=run.run_id,
        push_id=run.push_id,
        state=STATE_NAMES.get(run.state),
        revision=run.revision,
        run_attempt=run.run_attempt if run.HasField("run_attempt") else None,
        runner_name=run.runner_name if run.HasField("runner_name") else None,
        labels=dict(run.labels) or None,
        exit_code=run.exit_code if run.HasField("exit_code") else None,
        collector_version=run.collector_version or None,
        next_push_within_seconds=(
            run.next_push_within_seconds if run.HasField("next_push_within_seconds") else None
        ),
        received_at=instant_from_wire(stored.received_at),
        updated_at=instant_from_wire(stored.updated_at),
        payload=summary_from_wire(run.payload),
    )


def _scope_to_wire(scope: schemas.Scope) -> pb.Scope:
    return pb.Scope(
        organization=scope.organization,
        repository=scope.repository,
        workflow=scope.workflow,
        job=scope.job,
    )
