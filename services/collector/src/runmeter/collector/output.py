"""What a person reads: log lines, one line per sample, the table at the end.

One renderer makes the log lines of the sampling process, which has no structlog, and of the
pusher, which has it: both look alike.
"""

import json
import os
from collections.abc import Iterable, Mapping
from select import POLLOUT, poll
from time import gmtime, time_ns
from typing import TYPE_CHECKING, Any

from runmeter.collector.payload import Limit

if TYPE_CHECKING:
    from runmeter.collector.containers import Group
    from runmeter.collector.process import Process
    from runmeter.collector.sampler import Sample

LEVELS = ("debug", "info", "warning", "error")
_NS = 1_000_000_000
PATIENCE_MS = 250
_PIPE_BYTES = 4096  # a pipe that is ready takes so much without blocking
_FIRST_KEYS = ("timestamp", "level", "event")


def rfc3339(unix_ms: int) -> str:
    """Return a time as RFC 3339 in UTC with milliseconds."""
    seconds, ms = divmod(unix_ms, 1000)
    t = gmtime(seconds)
    return (
        f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T"
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}.{ms:03}Z"
    )


def render(log_format: str, fields: Mapping[str, Any]) -> str:
    """Return one log line: JSON, or text as ``time level event key=value …``."""
    if log_format == "json":
        ordered = {name: fields[name] for name in _FIRST_KEYS if name in fields}
        ordered.update(fields)
        return json.dumps(ordered, separators=(",", ":"))
    head = f"{fields['timestamp']} {fields['level']:7} {fields['event']}"
    rest = [f"{k}={_text(v)}" for k, v in fields.items() if k not in _FIRST_KEYS]
    return " ".join([head, *rest])


def _text(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and not set(value) & set(' "='):
        return value or '""'
    return json.dumps(value, separators=(",", ":"))


def write_line(descriptor: int, text: str, patience_ms: int = PATIENCE_MS) -> None:
    """Write a whole line; a closed, full or stalled descriptor loses the line, never the run.

    ``patience_ms``: how long to wait for a reader that does not read; -1: for ever.
    """
    left = memoryview(f"{text}\n".encode("utf-8", "backslashreplace"))
    writable = poll()
    writable.register(descriptor, POLLOUT)
    try:
        while left and writable.poll(patience_ms):
            left = left[os.write(descriptor, left[:_PIPE_BYTES]) :]
    except OSError:
        pass


class Log:
    """The log of the sampling process: one line per event, on one descriptor."""

    def __init__(self, log_format: str, level: str, descriptor: int = 2) -> None:
        self.format = log_format
        self._least = LEVELS.index(level)
        self._descriptor = descriptor

    @property
    def is_debug(self) -> bool:
        """Whether samples are logged."""
        return self._least == 0

    def write(self, level: str, event: str, **fields: Any) -> None:
        """Write one event."""
        if LEVELS.index(level) < self._least:
            return
        stamp = rfc3339(time_ns() // 1_000_000)
        line = {"timestamp": stamp, "level": level, "event": event, **fields}
        write_line(self._descriptor, render(self.format, line))


# -- one sample ---------------------------------------------------------------------------


def sample_fields(
    sample: "Sample",
    before: "Sample | None",
    names: "Mapping[Group, str]",
    limits: Mapping[str, Limit],
    processes: "Iterable[Process]",
    top: int,
) -> dict[str, Any]:
    """Return one sample: the machine, containers with their share of limits, top processes.

    Rates are since the sample before; the first sample has none.
    """
    elapsed_ns = sample.monotonic_ns - before.monotonic_ns if before else 0
    containers = []
    for group, found in sample.groups.items():
        if group in names:
            name = names[group]
            limit = limits.get(name.partition("#")[0])
            containers.append(_container(name, found, elapsed_ns, limit))
    return {
        "system": _system(sample, before),
        "containers": containers,
        "top_processes": _top(names, processes, elapsed_ns, top),
    }


def _container(name: str, found: Any, elapsed_ns: int, limit: Limit | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name}
    if elapsed_ns > 0:
        entry["cpu_cores"] = round(found.cpu_ns / elapsed_ns, 4)
    if found.rss_bytes is not None:
        entry["memory_bytes"] = found.rss_bytes
    if limit and limit.cpu_cores is not None and "cpu_cores" in entry:
        entry["cpu_limit_percent"] = round(100 * entry["cpu_cores"] / limit.cpu_cores, 2)
    if limit and limit.memory_bytes is not None and "memory_bytes" in entry:
        entry["memory_limit_percent"] = round(100 * entry["memory_bytes"] / limit.memory_bytes, 2)
    return entry


def _system(sample: "Sample", before: "Sample | None") -> dict[str, Any]:
    system: dict[str, Any] = {}
    now, then = sample.system, before.system if before else None
    if now.busy_ticks is not None and then is not None and then.busy_ticks is not None:
        total = (now.total_ticks or 0) - (then.total_ticks or 0)
        if total > 0:
            busy = 100 * (now.busy_ticks - then.busy_ticks) / total
            system["cpu_total_percent"] = round(min(100.0, max(0.0, busy)), 2)
    if now.mem_used_bytes is not None:
        system["mem_used_bytes"] = now.mem_used_bytes
    return system


def _top(
    names: "Mapping[Group, str]", processes: "Iterable[Process]", elapsed_ns: int, top: int
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
            entry["cpu_percent"] = round(100 * process.interval_ns / elapsed_ns, 2)
        entry["memory_bytes"] = process.rss_bytes
        entries.append(entry)
    return entries


def sample_text(fields: Mapping[str, Any]) -> str:
    """Return one sample as a line for a person."""
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


# -- the table at the end -----------------------------------------------------------------


def size(count: int) -> str:
    """Return bytes with a binary unit: ``512 B``, ``17.7 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def table(payload: Mapping[str, Any]) -> str:
    """Return the payload as a short table: the run, its containers, its top processes."""
    lines = [_headline(payload), ""]
    rows: list[tuple[str, ...]] = [
        ("CONTAINER", "CPU s", "peak", "p95", "avg cores", "RSS peak", "p95", "avg")
    ]
    for found in payload["containers"]:
        cores, rss = found.get("cpu_cores"), found.get("memory_bytes")
        rows.append(
            (
                found["name"],
                f"{found['cpu_seconds']:.2f}" if "cpu_seconds" in found else "-",
                *(f"{cores[k]:.2f}" if cores else "-" for k in ("peak", "p95", "avg")),
                *(size(rss[k]) if rss else "-" for k in ("peak", "p95", "avg")),
            )
        )
    lines += aligned(rows)
    if payload["top_cpu_processes"]:
        rows = [("PROCESS", "pid", "container", "CPU s", "peak %", "peak RSS")]
        for found in payload["top_cpu_processes"][:5]:
            rows.append(
                (
                    found["name"],
                    str(found["pid"]),
                    found["container"],
                    f"{found['cpu_seconds']:.2f}",
                    f"{found['peak_cpu_percent']:.0f}",
                    size(found["peak_mem_bytes"]) if "peak_mem_bytes" in found else "-",
                )
            )
        lines += ["", *aligned(rows)]
    return "\n".join(lines)


def _headline(payload: Mapping[str, Any]) -> str:
    parts = [f"{payload['duration_seconds']:.1f} s", f"{payload['sample_count']} snapshots"]
    if "cpu_total_percent" in payload:
        cpu = payload["cpu_total_percent"]
        parts.append(f"machine CPU avg {cpu['avg']:.0f} %, peak {cpu['peak']:.0f} %")
    if "mem_used_bytes" in payload:
        parts.append(f"memory peak {size(payload['mem_used_bytes']['peak'])}")
    return " · ".join(parts)


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the rows as lines: the first column to the left, all others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
