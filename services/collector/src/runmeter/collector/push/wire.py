"""A run from its JSON form to the message that is pushed; what a refusal says beside its text."""

from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from runmeter.v1 import run_pb2

_STATES = {
    "running": run_pb2.RUN_STATE_RUNNING,
    "interrupted": run_pb2.RUN_STATE_INTERRUPTED,
    "completed": run_pb2.RUN_STATE_COMPLETED,
}
_CPU_SOURCES = {"cgroup": run_pb2.CPU_SOURCE_CGROUP, "ledger": run_pb2.CPU_SOURCE_LEDGER}
_CLOCK_SOURCES = {
    "process_clock": run_pb2.CLOCK_SOURCE_PROCESS_CLOCK,
    "stat": run_pb2.CLOCK_SOURCE_STAT,
}
_METHODS = {
    "nearest_rank": run_pb2.PERCENTILE_METHOD_NEAREST_RANK,
    "log_buckets": run_pb2.PERCENTILE_METHOD_LOG_BUCKETS,
}
_SCOPE = ("organization", "repository", "workflow", "job")
_SIZES = (
    "memory_bytes",
    "memory_anon_bytes",
    "memory_cgroup_bytes",
    "memory_working_set_bytes",
)


def to_wire(run: dict[str, Any]) -> run_pb2.Run:
    """Return the message of a run.

    Raises:
        KeyError, TypeError, ValueError: not a run as this version writes it.
    """
    rest = {name: value for name, value in run.items() if name not in (*_SCOPE, "state", "payload")}
    return run_pb2.Run(
        scope=run_pb2.Scope(**{name: run[name] for name in _SCOPE}),
        state=_STATES[run["state"]],
        payload=_summary(run["payload"]),
        **rest,
    )


def _summary(payload: dict[str, Any]) -> run_pb2.Summary:
    fields = dict(payload)
    return run_pb2.Summary(
        start_time=_timestamp(fields.pop("start_time")),
        end_time=_timestamp(fields.pop("end_time")),
        cpu_total_percent=_rates(fields.pop("cpu_total_percent", None)),
        mem_used_bytes=_sizes(fields.pop("mem_used_bytes", None)),
        mem_used_percent=_rates(fields.pop("mem_used_percent", None)),
        containers=[_container(found) for found in fields.pop("containers")],
        top_cpu_processes=[run_pb2.Process(**p) for p in fields.pop("top_cpu_processes")],
        top_mem_processes=[run_pb2.Process(**p) for p in fields.pop("top_mem_processes")],
        host=_host(fields.pop("host", None)),
        coverage=_coverage(fields.pop("coverage", None)),
        percentile_method=_METHODS[fields.pop("percentile_method")],
        **fields,
    )


def _container(found: dict[str, Any]) -> run_pb2.Container:
    fields = dict(found)
    limits = fields.pop("limits", None)
    sizes: dict[str, Any] = {name: _sizes(fields.pop(name, None)) for name in _SIZES}
    return run_pb2.Container(
        cpu_cores=_rates(fields.pop("cpu_cores", None)),
        cpu_source=_CPU_SOURCES[fields.pop("cpu_source")],
        limits=run_pb2.Limits(**limits) if limits is not None else None,
        **sizes,
        **fields,
    )


def _host(host: dict[str, Any] | None) -> run_pb2.Host | None:
    if host is None:
        return None
    fields = dict(host)
    return run_pb2.Host(clock_source=_CLOCK_SOURCES[fields.pop("clock_source")], **fields)


def _coverage(coverage: dict[str, Any] | None) -> run_pb2.Coverage | None:
    return run_pb2.Coverage(**coverage) if coverage is not None else None


def _rates(found: dict[str, float] | None) -> run_pb2.RateStatistics | None:
    return run_pb2.RateStatistics(**found) if found is not None else None


def _sizes(found: dict[str, int] | None) -> run_pb2.ByteStatistics | None:
    return run_pb2.ByteStatistics(**found) if found is not None else None


def _timestamp(text: str) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromisoformat(text))
    return stamp


def retry_after_seconds(details: bytes) -> float | None:
    """Return when to ask again, from the details of a refused call; None if it is not said.

    ``details``: a google.rpc.Status, as gRPC carries it in ``grpc-status-details-bin``.
    """
    found = error_details_pb2.RetryInfo()
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(found):
                delay = found.retry_delay
                return float(delay.seconds + delay.nanos / 1e9)
    except DecodeError:
        pass
    return None
