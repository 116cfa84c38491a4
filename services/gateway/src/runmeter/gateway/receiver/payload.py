"""The payload of a run: statistics, containers, processes, the machine."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Final

from runmeter.gateway.receiver.values import (
    instant_from_wire,
    instant_to_wire,
    rates_from_wire,
    rates_to_wire,
    reversed_names,
    sizes_from_wire,
    sizes_to_wire,
)
from runmeter.gateway.schemas import payload as summaries
from runmeter.v1 import run_pb2 as pb

_CPU_SOURCES: Final[Mapping[summaries.CpuSource | None, pb.CpuSource.ValueType]] = {
    None: pb.CPU_SOURCE_UNSPECIFIED,
    "cgroup": pb.CPU_SOURCE_CGROUP,
    "ledger": pb.CPU_SOURCE_LEDGER,
}
_CLOCK_SOURCES: Final[Mapping[summaries.ClockSource | None, pb.ClockSource.ValueType]] = {
    None: pb.CLOCK_SOURCE_UNSPECIFIED,
    "process_clock": pb.CLOCK_SOURCE_PROCESS_CLOCK,
    "stat": pb.CLOCK_SOURCE_STAT,
}
_METHODS: Final[Mapping[summaries.PercentileMethod | None, pb.PercentileMethod.ValueType]] = {
    None: pb.PERCENTILE_METHOD_UNSPECIFIED,
    "nearest_rank": pb.PERCENTILE_METHOD_NEAREST_RANK,
    "log_buckets": pb.PERCENTILE_METHOD_LOG_BUCKETS,
}
_CPU_SOURCE_NAMES: Final = reversed_names(_CPU_SOURCES)
_CLOCK_SOURCE_NAMES: Final = reversed_names(_CLOCK_SOURCES)
_METHOD_NAMES: Final = reversed_names(_METHODS)
_PROCESS: Final = attrgetter(*summaries.Process.__struct_fields__)


def summary_to_wire(summary: summaries.Summary) -> pb.Summary:
    """Make the payload of a push."""
    return pb.Summary(
        start_time=instant_to_wire(summary.start_time),
        end_time=instant_to_wire(summary.end_time),
        duration_seconds=summary.duration_seconds,
        sample_count=summary.sample_count,
        cpu_total_percent=rates_to_wire(summary.cpu_total_percent),
        mem_used_bytes=sizes_to_wire(summary.mem_used_bytes),
        mem_used_percent=rates_to_wire(summary.mem_used_percent),
        containers=[_container_to_wire(c) for c in summary.containers],
        top_cpu_processes=[_process_to_wire(p) for p in summary.top_cpu_processes],
        top_mem_processes=[_process_to_wire(p) for p in summary.top_mem_processes],
        host=None if summary.host is None else _host_to_wire(summary.host),
        coverage=None if summary.coverage is None else _coverage_to_wire(summary.coverage),
        percentile_method=_METHODS[summary.percentile_method],
    )


def summary_from_wire(summary: pb.Summary) -> summaries.Summary:
    """Read the payload of a stored run."""
    has = summary.HasField
    return summaries.Summary(
        start_time=instant_from_wire(summary.start_time),
        end_time=instant_from_wire(summary.end_time),
        duration_seconds=summary.duration_seconds,
        sample_count=summary.sample_count,
        cpu_total_percent=rates_from_wire(summary.cpu_total_percent)
        if has("cpu_total_percent")
        else None,
        mem_used_bytes=sizes_from_wire(summary.mem_used_bytes) if has("mem_used_bytes") else None,
        mem_used_percent=rates_from_wire(summary.mem_used_percent)
        if has("mem_used_percent")
        else None,
        containers=[_container_from_wire(c) for c in summary.containers],
        top_cpu_processes=[_process_from_wire(p) for p in summary.top_cpu_processes],
        top_mem_processes=[_process_from_wire(p) for p in summary.top_mem_processes],
        host=_host_from_wire(summary.host) if has("host") else None,
        coverage=_coverage_from_wire(summary.coverage) if has("coverage") else None,
        percentile_method=_METHOD_NAMES.get(summary.percentile_method),
    )


def _container_to_wire(container: summaries.Container) -> pb.Container:
    limits = container.limits
    return pb.Container(
        name=container.name,
        sample_count=container.sample_count,
        cpu_cores=rates_to_wire(container.cpu_cores),
        cpu_seconds=container.cpu_seconds,
        cpu_source=_CPU_SOURCES[container.cpu_source],
        limits=None
        if limits is None
        else pb.Limits(cpu_cores=limits.cpu_cores, memory_bytes=limits.memory_bytes),
        memory_bytes=sizes_to_wire(container.memory_bytes),
        memory_anon_bytes=sizes_to_wire(container.memory_anon_bytes),
        memory_cgroup_bytes=sizes_to_wire(container.memory_cgroup_bytes),
        memory_working_set_bytes=sizes_to_wire(container.memory_working_set_bytes),
        memory_peak_bytes=container.memory_peak_bytes,
        oom_kills=container.oom_kills,
        cpu_throttled_seconds=container.cpu_throttled_seconds,
    )


def _container_from_wire(container: pb.Container) -> summaries.Container:
    has = container.HasField
    return summaries.Container(
        name=container.name,
        sample_count=container.sample_count or (0 if has("sample_count") else None),
        cpu_cores=rates_from_wire(container.cpu_cores) if has("cpu_cores") else None,
        cpu_seconds=container.cpu_seconds or (0.0 if has("cpu_seconds") else None),
        cpu_source=_CPU_SOURCE_NAMES.get(container.cpu_source),
        limits=_limits_from_wire(container.limits) if has("limits") else None,
        memory_bytes=sizes_from_wire(container.memory_bytes) if has("memory_bytes") else None,
        memory_anon_bytes=sizes_from_wire(container.memory_anon_bytes)
        if has("memory_anon_bytes")
        else None,
        memory_cgroup_bytes=sizes_from_wire(container.memory_cgroup_bytes)
        if has("memory_cgroup_bytes")
        else None,
        memory_working_set_bytes=sizes_from_wire(container.memory_working_set_bytes)
        if has("memory_working_set_bytes")
        else None,
        memory_peak_bytes=container.memory_peak_bytes or (0 if has("memory_peak_bytes") else None),
        oom_kills=container.oom_kills or (0 if has("oom_kills") else None),
        cpu_throttled_seconds=container.cpu_throttled_seconds
        or (0.0 if has("cpu_throttled_seconds") else None),
    )


def _limits_from_wire(limits: pb.Limits) -> summaries.Limits:
    has = limits.HasField
    return summaries.Limits(
        cpu_cores=limits.cpu_cores if has("cpu_cores") else None,
        memory_bytes=limits.memory_bytes if has("memory_bytes") else None,
    )


def _process_to_wire(process: summaries.Process) -> pb.Process:
    return pb.Process(
        pid=process.pid,
        name=process.name,
        container=process.container,
        peak_cpu_percent=process.peak_cpu_percent,
        cpu_seconds=process.cpu_seconds,
        peak_mem_bytes=process.peak_mem_bytes,
    )


def _process_from_wire(process: pb.Process) -> summaries.Process:
    values = _PROCESS(process)
    if all(values):  # what is not zero is there
        return summaries.Process(*values)
    has = process.HasField
    return summaries.Process(
        pid=process.pid,
        name=process.name,
        container=process.container,
        peak_cpu_percent=process.peak_cpu_percent if has("peak_cpu_percent") else None,
        cpu_seconds=process.cpu_seconds if has("cpu_seconds") else None,
        peak_mem_bytes=process.peak_mem_bytes if has("peak_mem_bytes") else None,
    )


def _host_to_wire(host: summaries.Host) -> pb.Host:
    return pb.Host(
        cpu_count=host.cpu_count,
        memory_total_bytes=host.memory_total_bytes,
        kernel=host.kernel or "",
        cgroup_version=host.cgroup_version,
        clock_source=_CLOCK_SOURCES[host.clock_source],
    )


def _host_from_wire(host: pb.Host) -> summaries.Host:
    has = host.HasField
    return summaries.Host(
        cpu_count=host.cpu_count if has("cpu_count") else None,
        memory_total_bytes=host.memory_total_bytes if has("memory_total_bytes") else None,
        kernel=host.kernel or None,
        cgroup_version=host.cgroup_version if has("cgroup_version") else None,
        clock_source=_CLOCK_SOURCE_NAMES.get(host.clock_source),
    )


def _coverage_to_wire(coverage: summaries.Coverage) -> pb.Coverage:
    return pb.Coverage(
        interval_seconds=coverage.interval_seconds,
        missed_samples=coverage.missed_samples,
        vanished=coverage.vanished,
        denied=coverage.denied,
        self_cpu_seconds=coverage.self_cpu_seconds,
        self_peak_rss_bytes=coverage.self_peak_rss_bytes,
    )


def _coverage_from_wire(coverage: pb.Coverage) -> summaries.Coverage:
    has = coverage.HasField
    return summaries.Coverage(
        interval_seconds=coverage.interval_seconds,
        missed_samples=coverage.missed_samples,
        vanished=coverage.vanished,
        denied=coverage.denied,
        self_cpu_seconds=coverage.self_cpu_seconds if has("self_cpu_seconds") else None,
        self_peak_rss_bytes=coverage.self_peak_rss_bytes if has("self_peak_rss_bytes") else None,
    )
