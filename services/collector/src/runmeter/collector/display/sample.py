"""Show one sample: the fields of its log event, and the same as text."""

from collections.abc import Iterable, Mapping
from typing import Any

from runmeter.collector.model import Group, Limit, Sample
from runmeter.collector.processes.process import Process
from runmeter.collector.text import size


def sample_fields(
    sample: Sample,
    before: Sample | None,
    names: Mapping[Group, str],
    limits: Mapping[str, Limit],
    processes: Iterable[Process],
    top: int,
    most_cores: float,
) -> dict[str, Any]:
    """Return one sample: the machine, containers with their share of limits, top processes.

    Rates are since the sample before, and no higher than ``most_cores``; the first sample has none.
    """
    elapsed_ns = sample.monotonic_ns - before.monotonic_ns if before else 0
    containers = []
    for group, found in sample.groups.items():
        if group in names:
            name = names[group]
            limit = limits.get(name.partition("#")[0])
            containers.append(_container(name, found, elapsed_ns, limit, most_cores))
    return {
        "system": _system(sample, before),
        "containers": containers,
        "top_processes": _top(names, processes, elapsed_ns, top, most_cores),
    }


def _container(
    name: str, found: Any, elapsed_ns: int, limit: Limit | None, most_cores: float
) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name}
    if elapsed_ns > 0:
        entry["cpu_cores"] = round(min(found.cpu_ns / elapsed_ns, most_cores), 4)
    if found.rss_bytes is not None:
        entry["memory_bytes"] = found.rss_bytes
    if limit and limit.cpu_cores is not None and "cpu_cores" in entry:
        entry["cpu_limit_percent"] = round(100 * entry["cpu_cores"] / limit.cpu_cores, 2)
    if limit and limit.memory_bytes is not None and "memory_bytes" in entry:
        entry["memory_limit_percent"] = round(100 * entry["memory_bytes"] / limit.memory_bytes, 2)
    return entry


def _system(sample: Sample, before: Sample | None) -> dict[str, Any]:
    system: dict[str, Any] = {}
    now = sample.system
    busy = now.cpu_percent_since(before.system) if before else None
    if busy is not None:
        system["cpu_total_percent"] = round(busy, 2)
    if now.mem_used_bytes is not None:
        system["mem_used_bytes"] = now.mem_used_bytes
    return system


def _top(
    names: Mapping[Group, str],
    processes: Iterable[Process],
    elapsed_ns: int,
    top: int,
    most_cores: float,
) -> list[dict[str, Any]]:
    listed = [p for p in processes if p.group in names and (p.interval_ns or p.rss_bytes)]
    listed.sort(key=lambda p: (-p.interval_ns, -p.rss_bytes, p.pid))
    entries = []
    for process in listed[:top]:
        entry: dict[str, Any] = {
            "pid": process.pid,
            "name": process.comm,
            "container": names[process.group],
        }
        if elapsed_ns > 0:
            cores = min(process.interval_ns / elapsed_ns, most_cores)
            entry["cpu_percent"] = round(100 * cores, 2)
        entry["memory_bytes"] = process.rss_bytes
        entries.append(entry)
    return entries


def sample_text(fields: Mapping[str, Any]) -> str:
    """Return the fields of a sample as a line of text."""
    system = fields["system"]
    parts = []
    if "cpu_total_percent" in system:
        parts.append(f"cpu {system['cpu_total_percent']:.1f} %")
    if "mem_used_bytes" in system:
        parts.append(f"mem {size(system['mem_used_bytes'])}")
    parts.extend(_container_text(found) for found in fields["containers"])
    if fields["top_processes"]:
        shown = (
            f"{p['name']}[{p['pid']}] {p.get('cpu_percent', 0):.1f} % {size(p['memory_bytes'])}"
            for p in fields["top_processes"]
        )
        parts.append("top: " + ", ".join(shown))
    return "; ".join(parts)


def _container_text(found: Mapping[str, Any]) -> str:
    text = f"{found['name']}:"
    if "cpu_cores" in found:
        text += f" {found['cpu_cores']:.3f} cores"
        if "cpu_limit_percent" in found:
            text += f" ({found['cpu_limit_percent']:.0f} % of limit)"
    if "memory_bytes" in found:
        text += f" {size(found['memory_bytes'])}"
        if "memory_limit_percent" in found:
            text += f" ({found['memory_limit_percent']:.0f} % of limit)"
    return text
