"""The output of a run at its end: the table, the payload, the summary file."""

import json
import os
from collections.abc import Mapping
from typing import Any

from runmeter.collector.config.settings import Config
from runmeter.collector.log import PATIENCE_MS, Log, write_line
from runmeter.collector.text import aligned, size


def print_run(config: Config, log: Log, payload: dict[str, Any]) -> None:
    """Write the table to a terminal; elsewhere, if the run is not kept, the payload."""
    output = 2 if config.command else 1
    if os.isatty(output):
        write_line(output, table(payload))
    else:
        if os.isatty(2):
            write_line(2, table(payload))
        if not config.is_kept:
            is_text = config.log_format == "text"
            text = table(payload) if is_text else json.dumps(payload, separators=(",", ":"))
            write_line(output, text, patience_ms=-1 if output == 1 else PATIENCE_MS)
    log.write(
        "info",
        "run.measured",
        duration_seconds=payload["duration_seconds"],
        sample_count=payload["sample_count"],
        container_count=len(payload["containers"]),
    )


def write_summary_file(config: Config, log: Log, payload: dict[str, Any]) -> None:
    """Write the payload to the summary file, if one is given; a failure is a warning."""
    if not config.summary_file:
        return
    try:
        with open(config.summary_file, "w", encoding="ascii") as file:
            json.dump(payload, file, indent=2)
            file.write("\n")
    except OSError as error:
        reason = f"--summary-file={config.summary_file!r}: {error.strerror}"
        log.write("warning", "summary_file.failed", reason=reason)


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
