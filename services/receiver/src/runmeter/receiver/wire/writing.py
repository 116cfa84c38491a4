"""Write answers: records become messages."""

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from runmeter.receiver.model import GroupPage, RunGroup, StoredRun
from runmeter.receiver.wire.cursors import cursor_of
from runmeter.v1 import run_pb2, run_service_pb2


def timestamp(time_ms: int) -> Timestamp:
    """Return the message of a time."""
    return Timestamp(seconds=time_ms // 1000, nanos=time_ms % 1000 * 1_000_000)


def page_to_wire(runs: Iterable[StoredRun]) -> run_service_pb2.ListRunsResponse:
    """Return a page of stored runs, each in its current state."""
    page = run_service_pb2.ListRunsPage()
    for run in runs:
        stored = page.runs.add(
            id=run.id,
            received_at=timestamp(run.received_at_ms),
            updated_at=timestamp(run.updated_at_ms),
        )
        stored.run.MergeFromString(run.payload)
        stored.run.state = run_pb2.RunState.ValueType(run.state)
    return run_service_pb2.ListRunsResponse(page=page)


def repositories_to_wire(page: GroupPage) -> run_service_pb2.ListRepositoriesResponse:
    """Return a page of repositories."""
    answer = run_service_pb2.ListRepositoriesResponse(next_after=_cursor(page))
    for group in page.groups:
        organization, repository = group.names
        answer.repositories.add(
            organization=organization,
            repository=repository,
            run_count=group.run_count,
            last_run=_last_run(group),
        )
    return answer


def jobs_to_wire(page: GroupPage) -> run_service_pb2.ListJobsResponse:
    """Return a page of the jobs of a repository."""
    answer = run_service_pb2.ListJobsResponse(next_after=_cursor(page))
    for group in page.groups:
        workflow, job = group.names
        answer.jobs.add(
            workflow=workflow, job=job, run_count=group.run_count, last_run=_last_run(group)
        )
    return answer


def _cursor(page: GroupPage) -> str | None:
    return None if page.next_after is None else cursor_of(page.next_after)


def _last_run(group: RunGroup) -> run_service_pb2.LastRun:
    return run_service_pb2.LastRun(
        id=group.last_id,
        received_at=timestamp(group.last_received_at_ms),
        state=run_pb2.RunState.ValueType(group.last_state),
    )
