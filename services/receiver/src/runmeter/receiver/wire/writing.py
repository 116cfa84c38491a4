"""Write answers, and the bytes that are stored: the model becomes messages."""

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from runmeter.receiver.model import (
    ByteStatistics,
    Container,
    Coverage,
    GroupPage,
    Host,
    Process,
    RateStatistics,
    Run,
    RunGroup,
    Scope,
    StoredRun,
    Summary,
)
from runmeter.receiver.wire.cursors import cursor_of
from runmeter.v1 import run_pb2, run_service_pb2


def run_bytes(run: Run) -> bytes:
    """Return the protobuf of a run, as it is stored and answered."""
    return run_to_wire(run).SerializeToString(deterministic=True)


def run_to_wire(run: Run) -> run_pb2.Run:
    """Return the message of a run."""
    message = run_pb2.Run(
        scope=scope_to_wire(run.scope),
        push_id=run.push_id,
        state=run_pb2.RunState.ValueType(run.state),
        revision=run.revision,
        run_id=run.run_id,
        run_attempt=run.run_attempt,
        runner_name=run.runner_name,
        labels=dict(run.labels),
        exit_code=run.exit_code,
        collector_version=run.collector_version,
        next_push_within_seconds=run.next_push_within_seconds,
        payload=_summary(run.payload),
    )
    return message


def scope_to_wire(scope: Scope) -> run_pb2.Scope:
    """Return the message of a scope."""
    return run_pb2.Scope(**scope._asdict())


def timestamp(time_ms: int) -> Timestamp:
    """Return the message of a time."""
    return Timestamp(seconds=time_ms // 1000, nanos=time_ms % 1000 * 1_000_000)


def page_to_wire(runs: Iterable[StoredRun]) -> run_service_pb2.ListRunsResponse:
    """Return a page of stored runs, each in the state it reads as."""
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


def _summary(summary: Summary) -> run_pb2.Summary:
    return run_pb2.Summary(
        start_time=timestamp(summary.start_time_ms),
        end_time=timestamp(summary.end_time_ms),
        duration_seconds=summary.duration_seconds,
        sample_count=summary.sample_count,
        cpu_total_percent=_rates(summary.cpu_total_percent),
        mem_used_bytes=_sizes(summary.mem_used_bytes),
        mem_used_percent=_rates(summary.mem_used_percent),
        containers=map(_container, summary.containers),
        top_cpu_processes=map(_process, summary.top_cpu_processes),
        top_mem_processes=map(_process, summary.top_mem_processes),
        host=_host(summary.host),
        coverage=_coverage(summary.coverage),
        percentile_method=run_pb2.PercentileMethod.ValueType(summary.percentile_method),
    )


def _container(container: Container) -> run_pb2.Container:
    limits = container.limits
    return run_pb2.Container(
        name=container.name,
        sample_count=container.sample_count,
        cpu_cores=_rates(container.cpu_cores),
        cpu_seconds=container.cpu_seconds,
        cpu_source=run_pb2.CpuSource.ValueType(container.cpu_source),
        limits=None if limits is None else run_pb2.Limits(**limits._asdict()),
        memory_bytes=_sizes(container.memory_bytes),
        memory_anon_bytes=_sizes(container.memory_anon_bytes),
        memory_cgroup_bytes=_sizes(container.memory_cgroup_bytes),
        memory_working_set_bytes=_sizes(container.memory_working_set_bytes),
        memory_peak_bytes=container.memory_peak_bytes,
        oom_kills=container.oom_kills,
        cpu_throttled_seconds=container.cpu_throttled_seconds,
    )


def _process(process: Process) -> run_pb2.Process:
    return run_pb2.Process(**process._asdict())


def _host(host: Host | None) -> run_pb2.Host | None:
    if host is None:
        return None
    return run_pb2.Host(
        cpu_count=host.cpu_count,
        memory_total_bytes=host.memory_total_bytes,
        kernel=host.kernel,
        cgroup_version=host.cgroup_version,
        clock_source=run_pb2.ClockSource.ValueType(host.clock_source),
    )


def _coverage(coverage: Coverage | None) -> run_pb2.Coverage | None:
    return None if coverage is None else run_pb2.Coverage(**coverage._asdict())


def _rates(statistics: RateStatistics | None) -> run_pb2.RateStatistics | None:
    return None if statistics is None else run_pb2.RateStatistics(**statistics._asdict())


def _sizes(statistics: ByteStatistics | None) -> run_pb2.ByteStatistics | None:
    return None if statistics is None else run_pb2.ByteStatistics(**statistics._asdict())
