"""The record of a run, as it is kept and pushed: the JSON of the REST interface."""

import os
from typing import Any

from runmeter.collector.config.settings import Config
from runmeter.collector.text import rfc3339
from runmeter.collector.version import VERSION
from runmeter.procfs import decode_name

_NS = 1_000_000_000
_TEXT_BYTES = 255


def new_push_id() -> str:
    """Return a random UUID, version 4 (``uuid`` costs a megabyte)."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    digits = raw.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def run_record(
    config: Config,
    push_id: str,
    payload: dict[str, Any],
    exit_code: int | None,
    *,
    revision: int = 1,
    is_running: bool = False,
) -> dict[str, Any]:
    """Return the record of a run, with the facts of the environment."""
    record: dict[str, Any] = {
        "organization": _clean(config.scope.organization),
        "repository": _clean(config.scope.repository),
        "workflow": _clean(config.scope.workflow),
        "job": _clean(config.scope.job),
        "run_id": _short(config.run_id),
        "push_id": push_id,
        "state": "running" if is_running else "completed",
        "revision": revision,
        "collector_version": VERSION,
    }
    if config.run_attempt is not None:
        record["run_attempt"] = config.run_attempt
    if config.runner_name:
        record["runner_name"] = _short(config.runner_name)
    if config.labels:
        record["labels"] = config.labels
    if exit_code is not None:
        record["exit_code"] = exit_code
    if is_running and config.checkpoint_push_ns:
        record["next_push_within_seconds"] = config.checkpoint_push_ns / _NS
    record["payload"] = payload
    return record


def times(start_unix_ms: int, duration_seconds: float) -> dict[str, str]:
    """Return start and end of a run; the end is the start plus the monotonic duration."""
    return {
        "start_time": rfc3339(start_unix_ms),
        "end_time": rfc3339(start_unix_ms + round(duration_seconds * 1000)),
    }


def _clean(text: str) -> str:
    """Return a text of the environment in a form that can be stored."""
    return decode_name(os.fsencode(text))


def _short(text: str) -> str:
    return _clean(text).encode()[:_TEXT_BYTES].decode("utf-8", "ignore")
