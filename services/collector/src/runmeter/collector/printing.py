"""What a run prints and writes at its end: the table, the payload, the summary file."""

import json
import os
from typing import Any

from runmeter.collector.config import Config
from runmeter.collector.output import PATIENCE_MS, Log, table, write_line


def print_run(config: Config, log: Log, payload: dict[str, Any]) -> None:
    """Write the table to a terminal; if the run is not kept, the payload anywhere else."""
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
    """Write the payload to the file that was asked for; a failure is a warning."""
    if not config.summary_file:
        return
    try:
        with open(config.summary_file, "w", encoding="ascii") as file:
            json.dump(payload, file, indent=2)
            file.write("\n")
    except OSError as error:
        reason = f"--summary-file={config.summary_file!r}: {error.strerror}"
        log.write("warning", "summary_file.failed", reason=reason)
