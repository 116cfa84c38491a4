"""Statistics in the JSON form of the REST interface; values that were not measured are absent."""

from typing import Any

from runmeter.collector.model import Limit
from runmeter.collector.summary.group import GroupRecord
from runmeter.collector.summary.series import Series

_NS = 1_000_000_000
_DECIMALS = 6


def container_entry(name: str, record: GroupRecord, limit: Limit | None) -> dict[str, Any]:
    """Return the entry of a container: CPU in cores and seconds, sizes in bytes."""
    return present(
        name=name,
        sample_count=record.snapshot_count,
        cpu_cores=rates(record.cores),
        cpu_seconds=round(record.cpu_ns / _NS, _DECIMALS),
        cpu_source="cgroup" if record.cpu_is_exact else "ledger",
        limits=present(**limit._asdict()) if limit else None,
        memory_bytes=sizes(record.rss),
        memory_anon_bytes=sizes(record.anon),
        memory_cgroup_bytes=sizes(record.cgroup),
        memory_working_set_bytes=sizes(record.working_set),
        memory_peak_bytes=record.peak_bytes,
        oom_kills=record.oom_kills,
        cpu_throttled_seconds=_seconds(record.throttled_ns),
    )


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else round(ns / _NS, _DECIMALS)


def rates(series: Series) -> dict[str, float] | None:
    """Return statistics of cores or percent, six decimals; None without a value."""
    found = series.statistics()
    if found is None:
        return None
    return {name: round(value, _DECIMALS) for name, value in found._asdict().items()}


def sizes(series: Series) -> dict[str, int] | None:
    """Return statistics of sizes in whole bytes; None without a value."""
    found = series.statistics()
    if found is None:
        return None
    return {name: round(value) for name, value in found._asdict().items()}


def present(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
