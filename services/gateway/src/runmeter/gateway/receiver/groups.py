"""Repositories and jobs: pages of names with their counts of runs."""

from runmeter.gateway.model import PageQuery
from runmeter.gateway.receiver.runs import STATE_NAMES
from runmeter.gateway.receiver.values import instant_from_wire
from runmeter.gateway.schemas import api as schemas
from runmeter.v1 import run_service_pb2 as pb


def repositories_to_wire(query: PageQuery) -> pb.ListRepositoriesRequest:
    """Make the request for a page of repositories."""
    return pb.ListRepositoriesRequest(limit=query.limit, after=query.after)


def jobs_to_wire(organization: str, repository: str, query: PageQuery) -> pb.ListJobsRequest:
    """Make the request for a page of the jobs of a repository."""
    return pb.ListJobsRequest(
        organization=organization, repository=repository, limit=query.limit, after=query.after
    )


def repository_from_wire(found: pb.Repository) -> schemas.Repository:
    """Read one repository."""
    return schemas.Repository(
        organization=found.organization,
        repository=found.repository,
        run_count=found.run_count,
        last_run=_last_run(found.last_run),
    )


def job_from_wire(found: pb.Job) -> schemas.Job:
    """Read one job."""
    return schemas.Job(
        workflow=found.workflow,
        job=found.job,
        run_count=found.run_count,
        last_run=_last_run(found.last_run),
    )


def next_after(answer: pb.ListRepositoriesResponse | pb.ListJobsResponse) -> str | None:
    """Return the start of the next page; None: this is the last."""
    return answer.next_after if answer.HasField("next_after") else None


def _last_run(found: pb.LastRun) -> schemas.LastRun:
    return schemas.LastRun(
        id=found.id,
        received_at=instant_from_wire(found.received_at),
        state=STATE_NAMES.get(found.state),
    )
