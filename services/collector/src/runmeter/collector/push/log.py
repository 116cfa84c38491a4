"""The log of the pusher: structlog, in the keys and format of the sampling process."""

from time import time_ns
from typing import Any, TextIO, cast

import structlog

from runmeter.collector.log import render, write_line
from runmeter.collector.text import rfc3339


class _Stderr:
    """Standard error that loses a line rather than the run when nobody reads it."""

    def write(self, text: str) -> None:
        """Write the lines of a text."""
        write_line(2, text.removesuffix("\n"))

    def flush(self) -> None:
        """Do nothing: every line is written at once."""


def logger(log_format: str, level: str) -> Any:
    """Return the logger of this process; one line per event on standard error."""

    def stamp(_: Any, __: str, fields: Any) -> Any:
        return {"timestamp": rfc3339(time_ns() // 1_000_000), **fields}

    def line(_: Any, __: str, fields: Any) -> str:
        return render(log_format, fields)

    structlog.configure(
        processors=[structlog.processors.add_log_level, stamp, line],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Stderr())),
    )
    return structlog.get_logger()
