"""Parsers of flags and variables: each function takes one text and returns its value.

All raise UsageError; a QuantityError names what is allowed.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from runmeter.collector.config.quantities import parse_cpu, parse_duration, parse_memory
from runmeter.collector.errors import QuantityError, UsageError
from runmeter.collector.model import Limit

_NAME_BYTES = 255
_SHOWN = 80  # characters of a bad value in its error


def is_name(text: str, most_bytes: int = _NAME_BYTES) -> bool:
    """Return whether a text can be stored: UTF-8, no control characters, not too long."""
    try:
        return len(text.encode()) <= most_bytes and all(ord(c) > 31 and c != "\x7f" for c in text)
    except UnicodeEncodeError:
        return False


def duration(
    low_ns: int, high_ns: int, allowed: str, *, or_never: bool = False
) -> Callable[[str], int]:
    """Return a parser of durations in a range, to nanoseconds; ``or_never``: 0 is allowed."""
    expected = f"a duration from {allowed}, such as 2s or 1m30s"
    if or_never:
        expected += ", or 0 for never"

    def parse(text: str) -> int:
        try:
            value = parse_duration(text)
        except QuantityError as error:
            raise QuantityError(text, expected) from error
        if not low_ns <= value <= high_ns and not (or_never and value == 0):
            raise QuantityError(text, expected)
        return value

    return parse


class SpoolMax(NamedTuple):
    """The limits of the spool."""

    run_count: int
    size_bytes: int


SPOOL_MAX = SpoolMax(100, 64 * 1024 * 1024)


def spool_max(text: str) -> SpoolMax:
    """Return limits of the spool from ``100``, ``64Mi`` or ``100,64Mi``.

    A number without suffix is a count of runs, one with a suffix a size; the other has its default.
    """
    found = SPOOL_MAX
    first, comma, second = text.partition(",")
    for part in (first, second) if comma else (first,):
        if part.isascii() and part.isdigit():
            found = found._replace(run_count=_run_count(part, text))
        else:
            found = found._replace(size_bytes=_size_bytes(part, text))
    if comma and first.isdigit() == second.isdigit():
        raise _spool_max_error(text)
    return found


def _run_count(part: str, text: str) -> int:
    if len(part) > 6 or int(part) == 0:
        raise _spool_max_error(text)
    return int(part)


def _size_bytes(part: str, text: str) -> int:
    try:
        return parse_memory(part)
    except QuantityError as error:
        raise _spool_max_error(text) from error


def _spool_max_error(text: str) -> QuantityError:
    return QuantityError(text, "runs (1 to 999999), a size such as 64Mi, or both as in 100,64Mi")


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers in a range, up to nine digits."""

    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and len(text) < 10
        if not is_number or not low <= int(text) <= high:
            raise QuantityError(text, f"a whole number from {low} to {high}")
        return int(text)

    return parse


def one_of(*allowed: str) -> Callable[[str], str]:
    """Return a parser that accepts only these words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise QuantityError(text, f"one of {', '.join(allowed)}")
        return text

    return parse


def log_level(text: str) -> str:
    """Return a log level; ``warn`` is ``warning``."""
    return one_of("debug", "info", "warning", "error")("warning" if text == "warn" else text)


def switch(text: str) -> bool:
    """Return whether something is turned on."""
    lowered = text.lower()
    if lowered not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise QuantityError(text, "true or false")
    return lowered in ("1", "true", "yes", "on")


def labels(text: str) -> dict[str, str]:
    """Return labels from ``key=value,…``; a value holds no comma."""
    found: dict[str, str] = {}
    for pair in text.split(","):
        key, equals, value = pair.strip().partition("=")
        if not key or not equals or not is_name(key, 63) or not is_name(value):
            raise QuantityError(
                text, "key=value pairs separated by commas, keys to 63 bytes, values to 255"
            )
        found[key] = value
    if len(found) > 32:
        raise QuantityError(text, "at most 32 labels")
    return found


def _json_object(
    text: str, shape: str, parse_float: Callable[[str], Any] = float
) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_float=parse_float)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{text[:_SHOWN]!r} is not JSON ({error}); give {shape}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{text[:_SHOWN]!r} must be a JSON object such as {shape}")
    return value


def process_map(text: str) -> dict[str, str]:
    """Return container name by process name from a JSON object."""
    shape = '{"node":"runner"}'
    value = _json_object(text, shape)
    for process, container in value.items():
        named = isinstance(container, str) and container and is_name(container)
        if not process or not is_name(process) or not named:
            raise UsageError(
                f"{process!r} must map a process name to a container name, both to "
                f"{_NAME_BYTES} bytes without control characters, as in {shape}"
            )
    return value


def limits(text: str) -> dict[str, Limit]:
    """Return limits by container name from a JSON object of Kubernetes quantities."""
    shape = '{"runner":{"cpu":"2","memory":"1Gi"}}'
    found = _json_object(text, shape, parse_float=str)  # a float may be another number
    return {name: _limit(name, given, shape) for name, given in found.items()}


def _limit(name: str, given: object, shape: str) -> Limit:
    if not isinstance(given, dict) or not given.keys() <= {"cpu", "memory"}:
        raise UsageError(f"{name!r} must have cpu, memory or both, as in {shape}")
    texts = {}
    for resource, quantity in given.items():
        if isinstance(quantity, bool) or not isinstance(quantity, str | int | float):
            raise UsageError(f"{resource} of {name!r} must be a quantity, as in {shape}")
        texts[resource] = str(quantity)
    try:
        return Limit(
            parse_cpu(texts["cpu"]) if "cpu" in texts else None,
            parse_memory(texts["memory"]) if "memory" in texts else None,
        )
    except QuantityError as error:
        raise UsageError(f"limit of {name!r}: {error}") from error


def token(text: str) -> str:
    """Return a token without the newline at its end; errors do not show it."""
    text = text.removesuffix("\n")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError("a token is printable ASCII without spaces (its value is not shown)")
    return text
