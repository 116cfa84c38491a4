"""Which names and parameters the receiver takes, for requests that never get there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from runmeter.gateway.about import AFTER, INT64_MAX, LIMIT_MAX, LOOSE_PATH, PATH, TEXT
from runmeter.gateway.errors import FieldError

_Check: TypeAlias = Callable[[Any], str | None]
"""Takes a value; returns why it is refused, None if it is not."""


def out_of_range(values: Mapping[str, Any]) -> Iterator[FieldError]:
    """Find what is out of its range, by name; what is None could not be read, or is not there."""
    for name, value in values.items():
        reason = None if value is None or name not in _CHECKS else _CHECKS[name](value)
        if reason is not None:
            yield FieldError(name, reason)


def _text(form: str, allowed: str, most_bytes: int = 255) -> _Check:
    pattern = re.compile(form)

    def check(value: str) -> str | None:
        length = len(value.encode())
        if length > most_bytes:
            return f"has {length} bytes; at most {most_bytes} are allowed"
        return None if pattern.fullmatch(value) else f"must be {allowed}"

    return check


def _whole(least: int, most: int) -> _Check:
    def check(value: int) -> str | None:
        if least <= value <= most:
            return None
        most_text = f"at least {least}" if most == INT64_MAX else f"{least} to {most}"
        return f"is {value}; must be {most_text}"

    return check


_NAME: Final = "without control characters and without a part `.` or `..` between slashes"
_FULL: Final = _text(PATH, f"{_NAME}, none of them empty")
_LOOSE: Final = _text(LOOSE_PATH, _NAME)
_CHECKS: Final[Mapping[str, _Check]] = {
    "organization": _FULL,
    "repository": _FULL,
    "workflow": _LOOSE,
    "job": _LOOSE,
    "limit": _whole(1, LIMIT_MAX),
    "before": _whole(1, INT64_MAX),
    "run_id": _text(TEXT, "without control characters"),
    "after": _text(AFTER, "what the Link of an answer has", 1024),
}
