"""The log: one line per event on standard error. No library, to save memory."""

import json
import os
from collections.abc import Mapping
from select import POLLOUT, poll
from time import time_ns
from typing import Any

from runmeter.collector.text import rfc3339

LEVELS = ("debug", "info", "warning", "error")
PATIENCE_MS = 250
_PIPE_BYTES = 4096  # a pipe that is ready accepts this many without blocking
_FIRST_KEYS = ("timestamp", "level", "event")


def render(log_format: str, fields: Mapping[str, Any]) -> str:
    """Return one log line: JSON, or text as ``time level event key=value …``.

    ``fields``: timestamp, level and event, then the others.
    """
    if log_format == "json":
        return json.dumps(fields, separators=(",", ":"))
    head = f"{fields['timestamp']} {fields['level']:7} {fields['event']}"
    rest = [f"{k}={_text(v)}" for k, v in fields.items() if k not in _FIRST_KEYS]
    return " ".join([head, *rest])


def _text(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and not set(value) & set(' "='):
        return value or '""'
    return json.dumps(value, separators=(",", ":"))


def write_line(descriptor: int, text: str, patience_ms: int = PATIENCE_MS) -> None:
    """Write a whole line; if the descriptor is closed, full or stalled, the line is lost.

    ``patience_ms``: how long to wait for a reader that does not read; -1: without limit.
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
    """The log of one process, on one descriptor."""

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
