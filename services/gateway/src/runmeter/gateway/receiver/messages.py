"""Messages of the contract to and from the JSON and the queries of the API."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp

from runmeter.gateway.model import RunQuery
from runmeter.gateway.schemas import api as schemas
from runmeter.v1 import ingest_service_pb2 as ingest_pb
from runmeter.v1 import run_pb2 as pb
from runmeter.v1 import run_service_pb2 as query_pb
from runmeter.v1 import token_service_pb2 as token_pb
from runmeter.v1.json_reading import run_from_json
from runmeter.v1.json_values import set_time, time_ms, time_text
from runmeter.v1.json_writing import StoredRun, stored_run_to_json

_STATES: Mapping[schemas.RunState, pb.RunState.ValueType] = {
    "running": pb.RUN_STATE_RUNNING,
    "interrupted": pb.RUN_STATE_INTERRUPTED,
    "completed": pb.RUN_STATE_COMPLETED,
}
_STATE_NAMES = {value: name for name, value in _STATES.items()}


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


def token_from_wire(answer: token_pb.CreatePushTokenResponse) -> schemas.Token:
    """Read a minted push token."""
    has_expiry = answer.HasField("expires_at")
    return schemas.Token(answer.token, _time_text(answer.expires_at) if has_expiry else None)


def query_to_wire(query: RunQuery) -> query_pb.ListRunsRequest:
    """Make the request for a listing."""
    scope = query.scope
    return query_pb.ListRunsRequest(
        scope=pb.Scope(
            organization=scope.organization,
            repository=scope.repository,
            workflow=scope.workflow,
            job=scope.job,
        ),
        limit=query.limit,
        before_id=query.before_id,
        since=_timestamp(query.since_unix_ms),
        until=_timestamp(query.until_unix_ms),
        run_id=query.run_id,
        states=[_STATES[state] for state in query.states],
    )


def records_from_wire(page: query_pb.ListRunsPage) -> list[StoredRun]:
    """Return the runs of a page as they are answered."""
    return [stored_run_to_json(stored) for stored in page.runs]


def repository_from_wire(found: query_pb.Repository) -> schemas.Repository:
    """Read one repository."""
    return schemas.Repository(
        organization=found.organization,
        repository=found.repository,
        run_count=found.run_count,
        last_run=_last_run(found.last_run),
    )


def job_from_wire(found: query_pb.Job) -> schemas.Job:
    """Read one job."""
    return schemas.Job(
        workflow=found.workflow,
        job=found.job,
        run_count=found.run_count,
        last_run=_last_run(found.last_run),
    )


def _last_run(found: query_pb.LastRun) -> schemas.LastRun:
    return schemas.LastRun(
        id=found.id,
        received_at=_time_text(found.received_at),
        state=_STATE_NAMES.get(found.state),  # None: only a newer receiver knows it
    )


def _time_text(timestamp: Timestamp) -> str:
    return time_text(time_ms(timestamp))


def _timestamp(unix_ms: int | None) -> Timestamp | None:
    if unix_ms is None:
        return None
    timestamp = Timestamp()
    set_time(timestamp, unix_ms)
    return timestamp
