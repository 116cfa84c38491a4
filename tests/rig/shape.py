"""What a record of a collector looks like, field by field, as the interfaces say."""

import re
import unicodedata
from datetime import datetime
from typing import Any

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
STATISTICS = ("peak", "p99", "p95", "p75", "p50", "avg")

# name → type; what the documentation shows first
DOCUMENTED: dict[str, type] = {
    "id": int,
    "organization": str,
    "repository": str,
    "workflow": str,
    "job": str,
    "run_id": str,
    "received_at": str,
    "payload": dict,
}
ADDED: dict[str, type] = {
    "push_id": str,
    "state": str,
    "revision": int,
    "collector_version": str,
    "updated_at": str,
}
ADDED_SOMETIMES: dict[str, type] = {
    "run_attempt": int,
    "runner_name": str,
    "labels": dict,
    "exit_code": int,
    "next_push_within_seconds": float,
}
PAYLOAD_DOCUMENTED: dict[str, type] = {
    "start_time": str,
    "end_time": str,
    "duration_seconds": float,
    "sample_count": int,
    "cpu_total_percent": dict,
    "mem_used_bytes": dict,
    "containers": list,
    "top_cpu_processes": list,
    "top_mem_processes": list,
}
PAYLOAD_ADDED: dict[str, type] = {
    "mem_used_percent": dict,
    "host": dict,
    "coverage": dict,
    "percentile_method": str,
}
CONTAINER: dict[str, type] = {"name": str, "sample_count": int, "cpu_source": str}
CONTAINER_SOMETIMES: dict[str, type] = {
    "cpu_cores": dict,
    "cpu_seconds": float,
    "memory_bytes": dict,
    "limits": dict,
    "memory_anon_bytes": dict,
    "memory_cgroup_bytes": dict,
    "memory_working_set_bytes": dict,
    "memory_peak_bytes": int,
    "oom_kills": int,
    "cpu_throttled_seconds": float,
}
PROCESS: dict[str, type] = {"pid": int, "name": str, "container": str}
PROCESS_SOMETIMES: dict[str, type] = {
    "peak_cpu_percent": float,
    "cpu_seconds": float,
    "peak_mem_bytes": int,
}
HOST: dict[str, type] = {"kernel": str, "clock_source": str}
HOST_SOMETIMES: dict[str, type] = {
    "cpu_count": int,
    "memory_total_bytes": int,
    "cgroup_version": int,
}
COVERAGE: dict[str, type] = {
    "interval_seconds": float,
    "missed_samples": int,
    "vanished": int,
    "denied": int,
}
COVERAGE_SOMETIMES: dict[str, type] = {
    "self_cpu_seconds": float,
    "self_peak_rss_bytes": int,
    "unreadable": int,
    "unattributed_births": int,
}


def check_record(record: dict[str, Any]) -> None:
    """Check a record of a collector, read over REST."""
    _fields(record, DOCUMENTED | ADDED, ADDED_SOMETIMES)
    assert record["id"] >= 1
    assert record["revision"] >= 1
    assert UUID.fullmatch(record["push_id"])
    assert record["state"] in ("running", "interrupted", "completed")
    assert TIME.fullmatch(record["received_at"])
    assert TIME.fullmatch(record["updated_at"])
    assert record["repository"].startswith(f"{record['organization']}/")
    check_payload(record["payload"])


def check_payload(payload: dict[str, Any]) -> None:
    """Check the payload of a collector's run."""
    _fields(payload, PAYLOAD_DOCUMENTED | PAYLOAD_ADDED, {})
    _check_times(payload)
    for name in ("cpu_total_percent", "mem_used_percent"):
        _statistics(payload[name], float)
        assert payload[name]["peak"] <= 100
    _statistics(payload["mem_used_bytes"], int)
    for container in payload["containers"]:
        _check_container(container, payload["sample_count"])
    _check_order(payload)
    for process in [*payload["top_cpu_processes"], *payload["top_mem_processes"]]:
        _fields(process, PROCESS, PROCESS_SOMETIMES)
        _printable(process["name"])
        assert process["pid"] >= 1
    _check_host(payload["host"])
    _fields(payload["coverage"], COVERAGE, COVERAGE_SOMETIMES)
    assert payload["percentile_method"] in ("nearest_rank", "log_buckets")


def _check_times(payload: dict[str, Any]) -> None:
    """Check milliseconds, Z, three decimals, end = start + duration, two snapshots at least."""
    assert TIME.fullmatch(payload["start_time"])
    assert TIME.fullmatch(payload["end_time"])
    duration = payload["duration_seconds"]
    assert duration == round(duration, 3)
    times = [datetime.fromisoformat(payload[name]) for name in ("start_time", "end_time")]
    assert round((times[1] - times[0]).total_seconds(), 3) == duration
    assert payload["sample_count"] >= 2
    coverage = payload["coverage"]
    ticks = duration / coverage["interval_seconds"]
    missed = coverage["missed_samples"]
    taken = payload["sample_count"] + missed
    # one at the start, one per tick, one at the end unless its interval were less than half;
    # on a busy machine the last tick may come late, and so may those that are missed
    assert ticks - 1.5 < taken - 1 <= ticks + 1 + missed, (ticks, taken)


def _check_container(container: dict[str, Any], sample_count: int) -> None:
    _fields(container, CONTAINER, CONTAINER_SOMETIMES)
    _printable(container["name"])
    assert container["name"]
    assert 0 <= container["sample_count"] <= sample_count
    assert container["cpu_source"] in ("cgroup", "ledger")
    if "cpu_cores" in container:
        _statistics(container["cpu_cores"], float)
    for name in CONTAINER_SOMETIMES:
        if name in container and name.startswith("memory") and name != "memory_peak_bytes":
            _statistics(container[name], int)
    if "limits" in container:
        _fields(container["limits"], {}, {"cpu_cores": float, "memory_bytes": int})


def _check_order(payload: dict[str, Any]) -> None:
    """Check that containers are sorted, names unique, top lists ranked and bounded."""
    containers = payload["containers"]
    order = [(-found.get("cpu_seconds", 0.0), found["name"]) for found in containers]
    assert order == sorted(order)
    assert len({found["name"] for found in containers}) == len(containers)
    for name, peak in (
        ("top_cpu_processes", "peak_cpu_percent"),
        ("top_mem_processes", "peak_mem_bytes"),
    ):
        entries = payload[name]
        ranks = [(-e[peak], -e.get("cpu_seconds", 0.0)) for e in entries]
        # percents and seconds are rounded, so that equal ones may rank by digits not shown
        assert [rank[0] for rank in ranks] == sorted(rank[0] for rank in ranks)
        if peak == "peak_mem_bytes":
            assert ranks == sorted(ranks)


def _check_host(host: dict[str, Any]) -> None:
    _fields(host, HOST, HOST_SOMETIMES)
    assert host.get("cpu_count", 1) >= 1
    assert host.get("cgroup_version", 1) in (1, 2)
    assert host["clock_source"] in ("process_clock", "stat")


def _fields(value: dict[str, Any], needed: dict[str, type], allowed: dict[str, type]) -> None:
    """Check names and types of an object's fields; numbers are not negative."""
    assert needed.keys() <= value.keys() <= needed.keys() | allowed.keys(), value
    for name, inner in value.items():
        kind = (needed | allowed)[name]
        # a JSON number without fraction is a whole one to Python
        good = type(inner) in (int, float) if kind is float else type(inner) is kind
        assert good, (name, inner)
        assert not isinstance(inner, int | float) or inner >= 0, (name, inner)


def _statistics(value: dict[str, Any], kind: type) -> None:
    """Check that all six are there, in order, of one type, and do not contradict each other."""
    assert tuple(value) == STATISTICS
    _fields(value, dict.fromkeys(STATISTICS, kind), {})
    ranked = [value[name] for name in STATISTICS[:5]]
    assert ranked == sorted(ranked, reverse=True), value
    assert value["avg"] <= value["peak"] + 1e-6


def _printable(name: str) -> None:
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name), name
