"""Runs, tokens and queries: messages to and from the JSON of the API."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from runmeter.gateway.model import RunQuery
from runmeter.gateway.receiver.values import instant_from_wire, instant_to_wire, reversed_names
from runmeter.gateway.schemas import api as schemas
from runmeter.v1 import ingest_service_pb2 as ingest_pb
from runmeter.v1 import run_pb2 as pb
from runmeter.v1 import run_service_pb2 as query_pb
from runmeter.v1 import token_service_pb2 as token_pb
from runmeter.v1.json_reading import create_push_token_request_from_json, run_from_json
from runmeter.v1.json_writing import StoredRun, stored_run_to_json

_STATES: Mapping[schemas.RunState, pb.RunState.ValueType] = {
    "running": pb.RUN_STATE_RUNNING,
    "interrupted": pb.RUN_STATE_INTERRUPTED,
    "completed": pb.RUN_STATE_COMPLETED,
}
STATE_NAMES = reversed_names(_STATES)


def push_from_json(body: dict[str, Any]) -> ingest_pb.PushRunRequest:
    """Return the push of a body; without ``push_id`` it is a new completed run.

    Raises:
        BadFields: fields are missing or of the wrong type.
    """
    run = run_from_json(body)
    is_own = body.get("push_id") is None
    if is_own:
        run.push_id = str(uuid4())
    if is_own or body.get("state") is None:
        run.state = pb.RUN_STATE_COMPLETED
    if is_own or body.get("revision") is None:
        run.revision = 1
    return ingest_pb.PushRunRequest(run=run)


def token_request_from_json(body: dict[str, Any]) -> token_pb.CreatePushTokenRequest:
    """Return the request for a push token.

    Raises:
        BadFields: fields are missing or of the wrong type.
    """
    return create_push_token_request_from_json(body)


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


def records_from_wire(page: query_pb.ListRunsPage) -> list[StoredRun]:
    """Return the runs of a page as they are answered."""
    return [stored_run_to_json(stored) for stored in page.runs]


def _scope_to_wire(scope: schemas.Scope) -> pb.Scope:
    return pb.Scope(
        organization=scope.organization,
        repository=scope.repository,
        workflow=scope.workflow,
        job=scope.job,
    )
