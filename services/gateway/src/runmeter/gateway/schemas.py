"""The JSON of the REST API as types: what a body may hold, what an answer holds.

Input is strict (no string for a number, no ``5.0`` for a whole number), unknown fields are
ignored, ``null`` in an optional field is the same as leaving it out. Ranges beyond what 64 bits
hold are the receiver's to check: it reports all of them at once, and only to those it trusts.
Output leaves out what is absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta, Struct, field, json

from runmeter.gateway.instant import Instant, parse_instant

Int32: TypeAlias = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

RunState: TypeAlias = Literal["running", "interrupted", "completed"]
CpuSource: TypeAlias = Literal["cgroup", "ledger"]
ClockSource: TypeAlias = Literal["process_clock", "stat"]
PercentileMethod: TypeAlias = Literal["nearest_rank", "log_buckets"]


def _none() -> list[Any]:
    # a factory of our own: with `list` itself, omit_defaults would leave out an empty array
    return []


class RateStatistics(Struct, kw_only=True):
    """Statistics of a rate or a share; all six belong together."""

    peak: float
    p99: float
    p95: float
    p75: float
    p50: float
    avg: float


class ByteStatistics(Struct, kw_only=True):
    """Statistics of a size, bytes; all six belong together."""

    peak: Int64
    p99: Int64
    p95: Int64
    p75: Int64
    p50: Int64
    avg: Int64


class Limits(Struct, kw_only=True, omit_defaults=True):
    """What a container may use."""

    cpu_cores: float | None = None
    memory_bytes: Int64 | None = None


class Container(Struct, kw_only=True, omit_defaults=True):
    """One container of a run."""

    name: str
    sample_count: Int64 | None = None
    cpu_cores: RateStatistics | None = None
    cpu_seconds: float | None = None
    cpu_source: CpuSource | None = None
    limits: Limits | None = None
    memory_bytes: ByteStatistics | None = None
    memory_anon_bytes: ByteStatistics | None = None
    memory_cgroup_bytes: ByteStatistics | None = None
    memory_working_set_bytes: ByteStatistics | None = None
    memory_peak_bytes: Int64 | None = None
    oom_kills: Int64 | None = None
    cpu_throttled_seconds: float | None = None


class Process(Struct, kw_only=True, omit_defaults=True):
    """One entry of a top list."""

    pid: Int64
    name: str
    container: str
    peak_cpu_percent: float | None = None
    cpu_seconds: float | None = None
    peak_mem_bytes: Int64 | None = None


class Host(Struct, kw_only=True, omit_defaults=True):
    """The machine a run was measured on."""

    cpu_count: Int32 | None = None
    memory_total_bytes: Int64 | None = None
    kernel: str | None = None
    cgroup_version: Int32 | None = None
    clock_source: ClockSource | None = None


class Coverage(Struct, kw_only=True, omit_defaults=True):
    """What the measuring could see, and what it cost."""

    interval_seconds: float
    missed_samples: Int64
    vanished: Int64
    denied: Int64
    self_cpu_seconds: float | None = None
    self_peak_rss_bytes: Int64 | None = None


class Summary(Struct, kw_only=True, omit_defaults=True):
    """Statistics of a run: the ``payload``."""

    start_time: Instant
    end_time: Instant
    duration_seconds: float
    sample_count: Int64
    cpu_total_percent: RateStatistics | None = None
    mem_used_bytes: ByteStatistics | None = None
    mem_used_percent: RateStatistics | None = None
    containers: list[Container] = field(default_factory=_none)
    top_cpu_processes: list[Process] = field(default_factory=_none)
    top_mem_processes: list[Process] = field(default_factory=_none)
    host: Host | None = None
    coverage: Coverage | None = None
    percentile_method: PercentileMethod | None = None


class Scope(Struct, kw_only=True):
    """One job of one workflow of one repository; ``repository`` with or without its owner."""

    organization: str
    repository: str
    workflow: str
    job: str


class TokenBody(Scope, kw_only=True):
    """Body of ``POST /api/v1/token``."""

    expires_in_seconds: Int64 | None = None


class RunBody(Scope, kw_only=True):
    """Body of ``POST /api/v1/metrics``.

    Without ``push_id`` it is a completed run of its own, whatever ``state`` and ``revision`` say.
    """

    run_id: str | None = None
    push_id: str | None = None
    state: RunState | None = None
    revision: Int64 | None = None
    run_attempt: Int32 | None = None
    runner_name: str | None = None
    labels: dict[str, str] | None = None
    exit_code: Int32 | None = None
    collector_version: str | None = None
    next_push_within_seconds: float | None = None
    payload: Summary


class RunRecord(Struct, kw_only=True, omit_defaults=True):
    """One stored run, as ``GET /api/v1/metrics/repo/…`` answers it."""

    id: int
    organization: str
    repository: str
    workflow: str
    job: str
    run_id: str
    push_id: str
    state: RunState | None = None
    revision: int
    run_attempt: int | None = None
    runner_name: str | None = None
    labels: dict[str, str] | None = None
    exit_code: int | None = None
    collector_version: str | None = None
    next_push_within_seconds: float | None = None
    received_at: Instant
    updated_at: Instant
    payload: Summary


class LastRun(Struct, kw_only=True, omit_defaults=True):
    """The run of a repository or job that was first received last: the one with the highest id.

    ``state`` is left out if this gateway is too old to know it.
    """

    id: int
    received_at: Instant
    state: RunState | None = None


class Repository(Struct, kw_only=True):
    """A repository that has runs, as ``GET /api/v1/repos`` answers it.

    ``repository`` is the full path; ``run_count`` counts runs of every state, at least 1.
    """

    organization: str
    repository: str
    run_count: int
    last_run: LastRun


class Job(Struct, kw_only=True):
    """A job that has runs, as ``GET /api/v1/repos/{org}/{repo}/jobs`` answers it.

    ``run_count`` counts runs of every state, at least 1.
    """

    workflow: str
    job: str
    run_count: int
    last_run: LastRun


class Pushed(Struct):
    """Answer to ``POST /api/v1/metrics``."""

    id: int
    duplicate: bool


class Token(Struct, omit_defaults=True):
    """Answer to ``POST /api/v1/token``."""

    token: str
    expires_at: Instant | None = None


class Health(Struct):
    """Answer to ``GET /health``."""

    status: Literal["ok"] = "ok"


class Bad(Struct):
    """One entry of ``errors`` in a problem."""

    field: str
    reason: str


class Problem(Struct, omit_defaults=True):
    """An error, as RFC 9457 lays it out."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[Bad] | None = None


def decode_custom(expected: type[Any], value: object) -> object:
    """Make of a JSON value what msgspec does not know by itself: only `Instant`.

    Raises:
        ValueError: the value is no time; its text is the reason.
    """
    if expected is not Instant:
        raise NotImplementedError(expected)
    if not isinstance(value, str):
        raise ValueError("is not a string")
    return parse_instant(value)


def _encode_custom(value: object) -> str:
    if isinstance(value, Instant):
        return str(value)
    raise NotImplementedError(type(value))


_ENCODER: Final = json.Encoder(enc_hook=_encode_custom)


def encode(value: object) -> bytes:
    """Write any of these types as JSON."""
    return _ENCODER.encode(value)
