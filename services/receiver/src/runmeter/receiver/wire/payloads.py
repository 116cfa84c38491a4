"""Read payloads: the statistics of a run, validated."""

import math
from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from runmeter.receiver.model import (
    ByteStatistics,
    Container,
    Coverage,
    Host,
    Limits,
    Process,
    RateStatistics,
    Summary,
)
from runmeter.receiver.wire.checks import WHOLE_MAX, Checks
from runmeter.v1 import run_pb2

CONTAINERS_MAX = 4096
TOP_MAX = 1000
# logarithmic buckets are off by up to 1 %, so 100 % may come as 101
_PERCENT_MAX = 101.0
_BUCKET_SLACK = 0.02
_ROUNDING_SLACK = 1e-6
_INT32_MAX = 2**31 - 1
_PATH = "run.payload"
_PERCENTILE_METHODS = frozenset(run_pb2.PercentileMethod.values())
_CPU_SOURCES = frozenset(run_pb2.CpuSource.values())
_CLOCK_SOURCES = frozenset(run_pb2.ClockSource.values())


def payload_from_wire(checks: Checks, message: run_pb2.Summary, given: bool) -> Summary:
    """Read a summary; violations go to `checks`. An absent one is the caller's violation."""
    buckets = message.percentile_method == run_pb2.PERCENTILE_METHOD_LOG_BUCKETS
    slack = _BUCKET_SLACK if buckets else _ROUNDING_SLACK
    start_ms, end_ms = _times(checks, message) if given else (0, 0)
    return Summary(
        start_time_ms=start_ms,
        end_time_ms=end_ms,
        duration_seconds=checks.number(_PATH, "duration_seconds", message.duration_seconds),
        sample_count=checks.whole(_PATH, "sample_count", message.sample_count),
        cpu_total_percent=_rates(checks, message, _PATH, "cpu_total_percent", slack, _PERCENT_MAX),
        mem_used_bytes=_sizes(checks, message, _PATH, "mem_used_bytes", slack),
        mem_used_percent=_rates(checks, message, _PATH, "mem_used_percent", slack, _PERCENT_MAX),
        containers=_containers(checks, message, slack),
        top_cpu_processes=_processes(checks, message, "top_cpu_processes"),
        top_mem_processes=_processes(checks, message, "top_mem_processes"),
        host=_host(checks, message.host) if message.HasField("host") else None,
        coverage=_coverage(checks, message.coverage) if message.HasField("coverage") else None,
        percentile_method=checks.known(_PERCENTILE_METHODS, message.percentile_method),
    )


def timestamp_ms(checks: Checks, field: str, message: Timestamp) -> int:
    """Return whole milliseconds since 1970, the rest cut off."""
    # 0001-01-01 to 9999-12-31, as protobuf allows
    if not -62135596800 <= message.seconds <= 253402300799:
        checks.add(field, "is not a time of the years 1 to 9999")
        return 0
    if not 0 <= message.nanos <= 999_999_999:
        checks.add(field, "has nanos outside 0 to 999999999")
        return 0
    milliseconds, rest = divmod(message.nanos, 1_000_000)
    checks.altered |= rest != 0
    return message.seconds * 1000 + milliseconds


def bound_ms(checks: Checks, field: str, message: Timestamp) -> int:
    """Return the first whole millisecond at or after a time.

    Stored times are whole milliseconds: this one bound serves "at or after" and "before".
    """
    cut = timestamp_ms(checks, field, message)
    return cut + (1 if message.nanos % 1_000_000 else 0)


def _times(checks: Checks, message: run_pb2.Summary) -> tuple[int, int]:
    before = checks.found_count
    times = []
    for name in ("start_time", "end_time"):
        if message.HasField(name):
            times.append(timestamp_ms(checks, f"{_PATH}.{name}", getattr(message, name)))
        else:
            checks.add(f"{_PATH}.{name}", "is required")
            times.append(0)
    start_ms, end_ms = times
    if checks.found_count == before and end_ms < start_ms:
        checks.add(f"{_PATH}.end_time", "is before start_time")
    return start_ms, end_ms


def _containers(checks: Checks, message: run_pb2.Summary, slack: float) -> tuple[Container, ...]:
    if not checks.count(_PATH, "containers", len(message.containers), CONTAINERS_MAX):
        return ()
    seen: set[str] = set()
    containers = []
    for index, container in enumerate(message.containers):
        path = f"{_PATH}.containers[{index}]"
        if container.name in seen:
            checks.add(f"{path}.name", "is the name of another container too")
        seen.add(container.name)
        containers.append(_container(checks, path, container, slack))
    return tuple(containers)


def _container(checks: Checks, path: str, message: run_pb2.Container, slack: float) -> Container:
    return Container(
        name=checks.text(path, "name", message.name, 1, 1024),
        sample_count=_whole(checks, message, path, "sample_count"),
        cpu_cores=_rates(checks, message, path, "cpu_cores", slack),
        cpu_seconds=_number(checks, message, path, "cpu_seconds"),
        cpu_source=checks.known(_CPU_SOURCES, message.cpu_source),
        limits=_limits(checks, f"{path}.limits", message.limits)
        if message.HasField("limits")
        else None,
        memory_bytes=_sizes(checks, message, path, "memory_bytes", slack),
        memory_anon_bytes=_sizes(checks, message, path, "memory_anon_bytes", slack),
        memory_cgroup_bytes=_sizes(checks, message, path, "memory_cgroup_bytes", slack),
        memory_working_set_bytes=_sizes(checks, message, path, "memory_working_set_bytes", slack),
        memory_peak_bytes=_whole(checks, message, path, "memory_peak_bytes"),
        oom_kills=_whole(checks, message, path, "oom_kills"),
        cpu_throttled_seconds=_number(checks, message, path, "cpu_throttled_seconds"),
    )


def _limits(checks: Checks, path: str, message: run_pb2.Limits) -> Limits:
    cores = memory = None
    if message.HasField("cpu_cores"):
        cores = checks.positive(path, "cpu_cores", message.cpu_cores)
    if message.HasField("memory_bytes"):
        memory = checks.whole(path, "memory_bytes", message.memory_bytes, 1)
    return Limits(cores, memory)


def _processes(checks: Checks, message: run_pb2.Summary, name: str) -> tuple[Process, ...]:
    entries = getattr(message, name)
    if not checks.count(_PATH, name, len(entries), TOP_MAX):
        return ()
    return tuple(
        _process(checks, f"{_PATH}.{name}[{index}]", entry) for index, entry in enumerate(entries)
    )


def _process(checks: Checks, path: str, message: run_pb2.Process) -> Process:
    return Process(
        pid=checks.whole(path, "pid", message.pid, 1),
        name=checks.text(path, "name", message.name, 0, 255),
        container=checks.text(path, "container", message.container, 1, 1024),
        peak_cpu_percent=_number(checks, message, path, "peak_cpu_percent"),
        cpu_seconds=_number(checks, message, path, "cpu_seconds"),
        peak_mem_bytes=_whole(checks, message, path, "peak_mem_bytes"),
    )


def _host(checks: Checks, message: run_pb2.Host) -> Host:
    path = f"{_PATH}.host"
    return Host(
        cpu_count=_whole(checks, message, path, "cpu_count", 1, _INT32_MAX),
        memory_total_bytes=_whole(checks, message, path, "memory_total_bytes"),
        kernel=checks.text(path, "kernel", message.kernel, 0, 255),
        cgroup_version=_whole(checks, message, path, "cgroup_version", 1, 2),
        clock_source=checks.known(_CLOCK_SOURCES, message.clock_source),
    )


def _coverage(checks: Checks, message: run_pb2.Coverage) -> Coverage:
    path = f"{_PATH}.coverage"
    return Coverage(
        interval_seconds=checks.number(path, "interval_seconds", message.interval_seconds),
        missed_samples=checks.whole(path, "missed_samples", message.missed_samples),
        vanished=checks.whole(path, "vanished", message.vanished),
        denied=checks.whole(path, "denied", message.denied),
        self_cpu_seconds=_number(checks, message, path, "self_cpu_seconds"),
        self_peak_rss_bytes=_whole(checks, message, path, "self_peak_rss_bytes"),
    )


_Statistics = run_pb2.Summary | run_pb2.Container
_Optionals = run_pb2.Container | run_pb2.Process | run_pb2.Host | run_pb2.Coverage


def _rates(
    checks: Checks,
    message: _Statistics,
    path: str,
    name: str,
    slack: float,
    most: float = float("inf"),
) -> RateStatistics | None:
    if not message.HasField(name):  # type: ignore[arg-type]
        return None
    found: run_pb2.RateStatistics = getattr(message, name)
    values = RateStatistics(found.peak, found.p99, found.p95, found.p75, found.p50, found.avg)
    if _is_plain(values, most):
        return values
    before = checks.found_count
    inner = f"{path}.{name}"
    values = RateStatistics(
        peak=checks.number(inner, "peak", found.peak, most),
        p99=checks.number(inner, "p99", found.p99, most),
        p95=checks.number(inner, "p95", found.p95, most),
        p75=checks.number(inner, "p75", found.p75, most),
        p50=checks.number(inner, "p50", found.p50, most),
        avg=checks.number(inner, "avg", found.avg, most),
    )
    if checks.found_count == before:
        checks.ordered(path, name, values, slack)
    return values


def _sizes(
    checks: Checks, message: _Statistics, path: str, name: str, slack: float
) -> ByteStatistics | None:
    if not message.HasField(name):  # type: ignore[arg-type]
        return None
    found: run_pb2.ByteStatistics = getattr(message, name)
    values = ByteStatistics(found.peak, found.p99, found.p95, found.p75, found.p50, found.avg)
    if _is_plain(values, WHOLE_MAX):
        return values
    before = checks.found_count
    inner = f"{path}.{name}"
    values = ByteStatistics(
        peak=checks.whole(inner, "peak", found.peak),
        p99=checks.whole(inner, "p99", found.p99),
        p95=checks.whole(inner, "p95", found.p95),
        p75=checks.whole(inner, "p75", found.p75),
        p50=checks.whole(inner, "p50", found.p50),
        avg=checks.whole(inner, "avg", found.avg),
    )
    if checks.found_count == before:
        checks.ordered(path, name, values, slack)
    return values


def _is_plain(values: Sequence[float], most: float) -> bool:
    """Tell that statistics pass every check as they are, at the price of one expression.

    Zeros do not: they may be negative ones. Neither does anything that is not a number.
    """
    peak, p99, p95, p75, p50, avg = values
    return 0 < p50 <= p75 <= p95 <= p99 <= peak <= most and 0 < avg <= peak < math.inf


def _number(checks: Checks, message: _Optionals, path: str, name: str) -> float | None:
    if not message.HasField(name):  # type: ignore[arg-type]
        return None
    return checks.number(path, name, getattr(message, name))


def _whole(
    checks: Checks, message: _Optionals, path: str, name: str, least: int = 0, most: int = 2**63 - 1
) -> int | None:
    if not message.HasField(name):  # type: ignore[arg-type]
        return None
    return checks.whole(path, name, getattr(message, name), least, most)
