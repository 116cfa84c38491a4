"""Paths and query strings to names and queries; each part is decoded exactly once."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, unquote_to_bytes, urlencode

from runmeter.gateway.errors import FieldError, InvalidRequest
from runmeter.gateway.schemas.api import RunState
from runmeter.gateway.schemas.describe import AFTER, INT64_MAX, LIMIT_MAX, LOOSE_PATH, PATH, TEXT
from runmeter.v1.json_values import parse_time

_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INTEGER = re.compile(r"-?[0-9]{1,19}")

STATES: Mapping[str, tuple[RunState, ...]] = {
    "running": ("running",),
    "interrupted": ("interrupted",),
    "completed": ("completed",),
    "all": ("running", "interrupted", "completed"),
}


Parameters: TypeAlias = Mapping[str, tuple[str, Callable[[str], Any]]]
"""Parameters of a path: name → field of the query, and the parser of its text, which raises
ValueError with the reason."""


class Parsed(NamedTuple):
    """Names by field, parameters as they were written, and their values by field."""

    names: dict[str, str]
    parameters: dict[str, str]
    values: dict[str, Any]


def decode_component(raw: str) -> str:
    """Decode one percent-encoded part of a URL, once: ``%252F`` becomes ``%2F``.

    Raises:
        ValueError: a ``%`` without two hex digits, or bytes that are not UTF-8; the text says so.
    """
    if _BROKEN_PERCENT.search(raw):
        raise ValueError("has a % that is not followed by two hex digits")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 once it is percent-decoded") from None


def parse(
    query_string: str, known: Parameters, fields: Sequence[str] = (), parts: Sequence[str] = ()
) -> Parsed:
    """Parse raw path parts, each for its field, and a query string.

    If the path has one part more, the second name, the repository, is two parts. The receiver
    checks ranges, after the token. A request that is refused here does not reach it: then ranges
    are checked here, so that the answer lists all bad fields.

    Raises:
        InvalidRequest: with all bad fields, at most `ERRORS_MAX`.
    """
    errors: list[FieldError] = []
    names = parts if len(parts) == len(fields) else joined(parts, 1)
    decoded = _decoded(dict(zip(fields, names, strict=True)), errors)
    parameters = _split(query_string, known, errors)
    values = _parsed(parameters, known, errors)
    if errors:
        errors += out_of_range(decoded | {n: values.get(known[n][0]) for n in parameters})
        raise InvalidRequest("The path or the query string is invalid.", *errors)
    return Parsed(decoded, parameters, values)


def _decoded(raw: Mapping[str, str], errors: list[FieldError]) -> dict[str, str]:
    """Decode path parts."""
    names: dict[str, str] = {}
    for field, part in raw.items():
        try:
            names[field] = decode_component(part)
        except ValueError as error:
            errors.append(FieldError(field, str(error)))
    return names


def path_of(*names: str) -> str:
    """Write names as parts of a path; a slash in a name is escaped."""
    return "/".join(quote(name, safe="") for name in names)


def joined(parts: Sequence[str], first: int) -> tuple[str, ...]:
    """Return raw parts of a path, two neighbours joined to one name with a slash."""
    return (*parts[:first], f"{parts[first]}/{parts[first + 1]}", *parts[first + 2 :])


def other_readings(parts: Sequence[str], count: int) -> Iterator[tuple[str, ...]]:
    """Yield how else to read a path with one part too many: another slash belongs to a name.

    A path that a proxy has decoded looks like this. The second name, the repository, may have
    a slash that is not escaped: that reading is left out.
    """
    if len(parts) > count:
        yield from (joined(parts, first) for first in range(count) if first != 1)


def _split(query_string: str, known: Parameters, errors: list[FieldError]) -> dict[str, str]:
    """Split a query string into the texts of known parameters."""
    found: dict[str, str] = {}
    for item in query_string.split("&"):
        if not item:
            continue
        raw_name, _, raw_value = item.replace("+", " ").partition("=")
        try:
            name = decode_component(raw_name)
            value = decode_component(raw_value)
        except ValueError as error:
            errors.append(FieldError(raw_name, str(error)))
            continue
        if name not in known:
            names = ", ".join(known)
            reason = f"is not a parameter of this path; its parameters are {names}"
            errors.append(FieldError(name, reason))
        elif name in found:
            errors.append(FieldError(name, "is given twice"))
        else:
            found[name] = value
    return found


def _parsed(
    parameters: Mapping[str, str], known: Parameters, errors: list[FieldError]
) -> dict[str, Any]:
    """Parse the texts of known parameters to fields of the query."""
    found: dict[str, Any] = {}
    for name, text in parameters.items():
        field, parse = known[name]
        try:
            found[field] = parse(text)
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    return found


def next_page(parameters: Mapping[str, str], **cursor: str) -> str:
    """Write the address of the next page: the same query from the cursor on.

    It is relative to the address of the request, whose path a proxy may have changed.
    """
    return f"?{urlencode({**parameters, **cursor}, quote_via=quote)}"


def _integer(bits: int, allowed: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1):
            raise ValueError(f"is not {allowed}")
        return int(text)

    return parse


def _unix_ms(text: str) -> int:
    # a "+" that was not written as %2B has become a space; before an offset it must have been one
    return parse_time(re.sub(r" (?=\d\d:\d\d$)", "+", text) if text.count(":") > 2 else text)


def _states(text: str) -> tuple[RunState, ...]:
    if text not in STATES:
        raise ValueError(f"is not one of {', '.join(STATES)}")
    return STATES[text]


_LIMIT = ("limit", _integer(32, f"a whole number, 1 to {LIMIT_MAX}"))
RUN_PARAMETERS: Parameters = {
    "state": ("states", _states),
    "limit": _LIMIT,
    "before": ("before_id", _integer(64, "a whole number, at least 1")),
    "since": ("since_unix_ms", _unix_ms),
    "until": ("until_unix_ms", _unix_ms),
    "run_id": ("run_id", str),
}
PAGE_PARAMETERS: Parameters = {"limit": _LIMIT, "after": ("after", str)}


_Check: TypeAlias = Callable[[Any], str | None]
"""Takes a value; returns why it is refused, or None."""


def out_of_range(values: Mapping[str, Any]) -> Iterator[FieldError]:
    """Yield the values out of range; None is a value that is missing or could not be parsed."""
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


_NAME = "without control characters and without a part `.` or `..` between slashes"
_FULL = _text(PATH, f"{_NAME}, none of them empty")
_LOOSE = _text(LOOSE_PATH, _NAME)
_CHECKS: Mapping[str, _Check] = {
    "organization": _FULL,
    "repository": _FULL,
    "workflow": _LOOSE,
    "job": _LOOSE,
    "limit": _whole(1, LIMIT_MAX),
    "before": _whole(1, INT64_MAX),
    "run_id": _text(TEXT, "without control characters"),
    "after": _text(AFTER, "the value that the Link of an answer has", 1024),
}
