"""The ``payload`` of a run as types: the statistics a collector makes of it.

How input is read is said in `schemas`. What could not be measured is absent, never 0.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct, field

from runmeter.gateway.schemas.describe import (
    FLOAT_MAX,
    INT32_MAX,
    INT64_MAX,
    about,
    moment,
    number,
    text,
    whole,
)
from runmeter.gateway.schemas.instant import Instant

Int32: TypeAlias = Annotated[int, Meta(ge=-(2**31), le=INT32_MAX)]
Int64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=INT64_MAX)]

CpuSource: TypeAlias = Literal["cgroup", "ledger"]
ClockSource: TypeAlias = Literal["process_clock", "stat"]
PercentileMethod: TypeAlias = Literal["nearest_rank", "log_buckets"]

_START, _END = "2026-02-06T14:30:02.185Z", "2026-02-06T14:30:22.190Z"
_HELD = "that of the field that holds it"


def _none() -> list[Any]:
    # a factory of our own: with `list` itself, omit_defaults would leave out an empty array
    return []


class RateStatistics(Struct, gc=False):
    """Statistics of a rate or a share; all six belong together.

    Percentiles are the smallest value with at least that share of the values at or below it.
    """

    peak: Annotated[float, number("Highest value.", 2.007, _HELD)]
    p99: Annotated[float, number("99th percentile.", 2.007, _HELD)]
    p95: Annotated[float, number("95th percentile.", 2.004, _HELD)]
    p75: Annotated[float, number("75th percentile.", 1.95, _HELD)]
    p50: Annotated[float, number("Median.", 1.817, _HELD)]
    avg: Annotated[float, number("Arithmetic mean.", 1.5, _HELD)]


class ByteStatistics(Struct, gc=False):
    """Statistics of a size, bytes; all six belong together.

    Percentiles are the smallest value with at least that share of the values at or below it.
    """

    peak: Annotated[Int64, whole("Highest value.", 18567168, "bytes")]
    p99: Annotated[Int64, whole("99th percentile.", 18567168, "bytes")]
    p95: Annotated[Int64, whole("95th percentile.", 18563072, "bytes")]
    p75: Annotated[Int64, whole("75th percentile.", 18554880, "bytes")]
    p50: Annotated[Int64, whole("Median.", 18554880, "bytes")]
    avg: Annotated[Int64, whole("Arithmetic mean, whole bytes.", 18541340, "bytes")]


class Limits(Struct, kw_only=True, omit_defaults=True, gc=False):
    """What a container may use."""

    cpu_cores: Annotated[
        float | None,
        about(
            "CPU limit; 0.5 is half a core.", 2.0, "cores", exclusiveMinimum=0, maximum=FLOAT_MAX
        ),
    ] = None
    memory_bytes: Annotated[Int64 | None, whole("Memory limit.", 1073741824, "bytes", 1)] = None


class Container(Struct, kw_only=True, omit_defaults=True, gc=False):
    """One container of a run; its statistics cover the snapshots in which it existed."""

    name: Annotated[
        str, text("Name from the process map, Kubernetes or the cgroup.", "runner", 1024, 1)
    ]
    sample_count: Annotated[
        Int64 | None, whole("Snapshots in which it had a living process.", 11, "snapshots")
    ] = None
    cpu_cores: Annotated[
        RateStatistics | None, about("CPU use; 2.0 is two full cores.", unit="cores")
    ] = None
    cpu_seconds: Annotated[
        float | None, number("CPU time used during the run.", 30.0075, "seconds")
    ] = None
    cpu_source: Annotated[
        CpuSource | None,
        about("Where its CPU figures come from: the kernel's counter, or its processes.", "cgroup"),
    ] = None
    limits: Annotated[Limits | None, about("What it may use, as the collector was told.")] = None
    memory_bytes: Annotated[
        ByteStatistics | None, about("Sum of the RSS of its processes.", unit="bytes")
    ] = None
    memory_anon_bytes: Annotated[
        ByteStatistics | None, about("The anonymous part of that RSS.", unit="bytes")
    ] = None
    memory_cgroup_bytes: Annotated[
        ByteStatistics | None, about("Usage of its cgroup, file cache included.", unit="bytes")
    ] = None
    memory_working_set_bytes: Annotated[
        ByteStatistics | None,
        about("Usage of its cgroup less inactive file cache.", unit="bytes"),
    ] = None
    memory_peak_bytes: Annotated[
        Int64 | None, whole("Highest usage since its cgroup was made.", 22020096, "bytes")
    ] = None
    oom_kills: Annotated[
        Int64 | None, whole("Processes killed for want of memory.", 1, "processes")
    ] = None
    cpu_throttled_seconds: Annotated[
        float | None, number("Time it was held back by its CPU limit.", 0.75, "seconds")
    ] = None


class Process(Struct, omit_defaults=True, gc=False):
    """One entry of a top list: a pid together with its start time."""

    pid: Annotated[Int64, whole("In the pid namespace of the collector.", 4242, "none", 1)]
    name: Annotated[
        str, text("The kernel's name of it; bytes that are not text are escaped.", "cc1plus")
    ]
    container: Annotated[str, text("Name of its container.", "runner", 1024, 1)]
    peak_cpu_percent: Annotated[
        float | None, number("Highest CPU use; 100 is one core.", 99.5, "percent of one core")
    ] = None
    cpu_seconds: Annotated[
        float | None, number("CPU time used during the run.", 12.5, "seconds")
    ] = None
    peak_mem_bytes: Annotated[Int64 | None, whole("Highest RSS.", 18567168, "bytes")] = None


class Host(Struct, kw_only=True, omit_defaults=True, gc=False):
    """The machine a run was measured on."""

    cpu_count: Annotated[Int32 | None, whole("CPUs online.", 4, "CPUs", 1, INT32_MAX)] = None
    memory_total_bytes: Annotated[
        Int64 | None, whole("Memory of the machine.", 17179869184, "bytes")
    ] = None
    kernel: Annotated[str | None, text("Release of the kernel.", "6.18.44")] = None
    cgroup_version: Annotated[
        Int32 | None, whole("Version of the cgroup hierarchy that limits it.", 2, "none", 1, 2)
    ] = None
    clock_source: Annotated[
        ClockSource | None,
        about("Where the CPU time of processes comes from.", "process_clock"),
    ] = None


class Coverage(Struct, kw_only=True, omit_defaults=True, gc=False):
    """What the measuring could see, and what it cost."""

    interval_seconds: Annotated[float, number("Time between snapshots.", 2.0, "seconds")]
    missed_samples: Annotated[Int64, whole("Ticks without a snapshot in time.", 1, "ticks")]
    vanished: Annotated[Int64, whole("Processes that ended while read.", 3, "processes")]
    denied: Annotated[Int64, whole("Reads that the kernel refused.", 2, "reads")]
    self_cpu_seconds: Annotated[
        float | None, number("CPU time of the collector itself.", 0.031, "seconds")
    ] = None
    self_peak_rss_bytes: Annotated[
        Int64 | None, whole("Highest RSS of the collector itself.", 11534336, "bytes")
    ] = None


class Summary(Struct, kw_only=True, omit_defaults=True, gc=False):
    """Statistics of a run: the ``payload``. Memory uses all snapshots, CPU the time between."""

    start_time: Annotated[Instant, moment("Wall clock at the first snapshot.", _START)]
    end_time: Annotated[Instant, moment("start_time plus the duration; not before it.", _END)]
    duration_seconds: Annotated[float, number("Monotonic time measured.", 20.005, "seconds")]
    sample_count: Annotated[Int64, whole("Number of snapshots.", 11, "snapshots")]
    cpu_total_percent: Annotated[
        RateStatistics | None,
        about("CPU use of the whole machine, 0 to 100.", unit="percent"),
    ] = None
    mem_used_bytes: Annotated[
        ByteStatistics | None, about("MemTotal less MemAvailable.", unit="bytes")
    ] = None
    mem_used_percent: Annotated[
        RateStatistics | None, about("The same as a share of MemTotal.", unit="percent")
    ] = None
    containers: Annotated[
        list[Container],
        about("One per container; names are unique. At most 4096.", maxItems=4096),
    ] = field(default_factory=_none)
    top_cpu_processes: Annotated[
        list[Process], about("By highest CPU use, most first.", maxItems=1000)
    ] = field(default_factory=_none)
    top_mem_processes: Annotated[
        list[Process], about("By highest RSS, most first.", maxItems=1000)
    ] = field(default_factory=_none)
    host: Annotated[Host | None, about("The machine.")] = None
    coverage: Annotated[Coverage | None, about("What the measuring saw and cost.")] = None
    percentile_method: Annotated[
        PercentileMethod | None,
        about("Exact, or within 1 % where there were too many values.", "nearest_rank"),
    ] = None
