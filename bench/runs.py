"""The run that storage benchmarks push: 3 KiB, four containers, ten processes in each top list."""

from runmeter.v1 import ingest_service_pb2, run_pb2

METHOD = "/runmeter.v1.IngestService/PushRun"
SCOPE = {
    "organization": "bench",
    "repository": "bench/load",
    "workflow": "ci.yml",
    "job": "build",
}


def example_run(push_id: str, job: str = SCOPE["job"]) -> bytes:
    """Return the bytes of a push request."""
    run = run_pb2.Run(
        scope=run_pb2.Scope(**{**SCOPE, "job": job}),
        push_id=push_id,
        state=run_pb2.RUN_STATE_COMPLETED,
        revision=7,
        run_id="1234567890",
        runner_name="runner-eu-1",
        labels={"python": "3.13", "os": "linux"},
        exit_code=0,
        collector_version="0.1.0",
    )
    payload = run.payload
    payload.start_time.FromMilliseconds(1_790_000_000_000)
    payload.end_time.FromMilliseconds(1_790_000_600_000)
    payload.duration_seconds, payload.sample_count = 600.0, 301
    _rates(payload.cpu_total_percent, 97.3)
    _sizes(payload.mem_used_bytes, 7_123_456_000)
    _rates(payload.mem_used_percent, 61.2)
    for number, name in enumerate(("build", "postgres", "redis", "runner")):
        _container(payload.containers.add(), name, number)
    for number in range(16):
        for top in (payload.top_cpu_processes, payload.top_mem_processes):
            top.add(
                pid=1000 + number,
                name=f"process-{number}",
                container="build",
                peak_cpu_percent=99.0 - number,
                cpu_seconds=12.5,
                peak_mem_bytes=123_456_789,
            )
    payload.host.cpu_count, payload.host.memory_total_bytes = 8, 16 * 2**30
    payload.host.kernel, payload.host.cgroup_version = "6.18.44", 2
    payload.coverage.interval_seconds = 2.0
    return ingest_service_pb2.PushRunRequest(run=run).SerializeToString()


def _container(container: run_pb2.Container, name: str, number: int) -> None:
    container.name, container.sample_count = name, 301
    _rates(container.cpu_cores, 2.1 - number / 2)
    container.cpu_seconds, container.cpu_source = 900.5, run_pb2.CPU_SOURCE_CGROUP
    container.limits.cpu_cores, container.limits.memory_bytes = 2.0, 2**31
    for name in ("memory_bytes", "memory_anon_bytes", "memory_cgroup_bytes"):
        _sizes(getattr(container, name), 1_234_567_890)
    _sizes(container.memory_working_set_bytes, 1_134_567_890)
    container.memory_peak_bytes, container.oom_kills = 1_334_567_890, 0
    container.cpu_throttled_seconds = 1.25


def _rates(statistics: run_pb2.RateStatistics, peak: float) -> None:
    for name, share in _SHARES.items():
        setattr(statistics, name, peak * share)


def _sizes(statistics: run_pb2.ByteStatistics, peak: int) -> None:
    for name, share in _SHARES.items():
        setattr(statistics, name, int(peak * share))


_SHARES = {"peak": 1.0, "p99": 0.99, "p95": 0.95, "p75": 0.8, "p50": 0.5, "avg": 0.55}
