"""Paths and query strings: raw text to names and a query, each part decoded exactly once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote, unquote_to_bytes, urlencode

from runmeter.gateway.errors import FieldError, InvalidRequest
from runmeter.gateway.instant import Instant, parse_instant
from runmeter.gateway.schemas import RunState, Scope

_BROKEN_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")

STATES: Final[Mapping[str, tuple[RunState, ...]]] = {
    "running": ("running",),
    "interrupted": ("interrupted",),
    "completed": ("completed",),
    "all": ("running", "interrupted", "completed"),
}


Parameters: TypeAlias = Mapping[str, tuple[str, Callable[[str], Any]]]
"""What a path takes: name of a parameter → field of the query, and what reads its text (or raises
ValueError, whose text is the reason)."""


class RunQuery(NamedTuple):
    """What to list; None: not asked for, so the receiver's default counts."""

    scope: Scope
    limit: int | None = None
    before_id: int | None = None
    since: Instant | None = None
    until: Instant | None = None
    run_id: str | None = None
    states: tuple[RunState, ...] = ()


class PageQuery(NamedTuple):
    """Which names to list; None: not asked for, so the receiver's default counts."""

    limit: int | None = None
    after: str | None = None


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


def scope_of(organization: str, repository: str, workflow: str, job: str) -> Scope:
    """Make the scope of raw path parts (``repository`` may be two of them, with a ``/``).

    Raises:
        InvalidRequest: with every part that cannot be decoded.
    """
    raw = (organization, repository, workflow, job)
    return Scope(**names_of(dict(zip(Scope.__struct_fields__, raw, strict=True))))


def names_of(raw: Mapping[str, str]) -> dict[str, str]:
    """Decode raw path parts, each under its field.

    Raises:
        InvalidRequest: with every part that cannot be decoded.
    """
    names: dict[str, str] = {}
    errors: list[FieldError] = []
    for field, part in raw.items():
        try:
            names[field] = decode_component(part)
        except ValueError as error:
            errors.append(FieldError(field, str(error)))
    if errors:
        raise InvalidRequest("The path cannot be decoded.", *errors)
    return names


def path_of(*names: str) -> str:
    """Write names as parts of a path; each stays one part, whatever it holds."""
    return "/".join(quote(name, safe="") for name in names)


def parameters_of(query_string: str, known: Parameters) -> dict[str, str]:
    """Split a query string.

    Raises:
        InvalidRequest: with every parameter that is unknown, given twice or not decodable.
    """
    found: dict[str, str] = {}
    errors: list[FieldError] = []
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
            there = ", ".join(known)
            errors.append(FieldError(name, f"is not a parameter of this path; there are {there}"))
        elif name in found:
            errors.append(FieldError(name, "is given twice"))
        else:
            found[name] = value
    if errors:
        raise InvalidRequest("The query string cannot be understood.", *errors)
    return found


def values_of(parameters: Mapping[str, str], known: Parameters) -> dict[str, Any]:
    """Read parameters, all of which are known; returns the fields of the query.

    Only their form is checked: whether a limit is allowed is the receiver's to say, after it
    has checked the token.

    Raises:
        InvalidRequest: with every parameter of the wrong form.
    """
    found: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, text in parameters.items():
        field, parse = known[name]
        try:
            found[field] = parse(text)
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    if errors:
        raise InvalidRequest("The query string has values of the wrong form.", *errors)
    return found


def next_page(path: str, parameters: Mapping[str, str], **cursor: str) -> str:
    """Write the address of the page that follows: the same question from the cursor on."""
    return f"{path}?{urlencode({**parameters, **cursor}, quote_via=quote)}"


def _integer(bits: int, allowed: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1):
            raise ValueError(f"is not {allowed}")
        return int(text)

    return parse


def _instant(text: str) -> Instant:
    # a "+" that was not written as %2B has become a space: before an offset it is clear
    return parse_instant(re.sub(r" (?=\d\d:\d\d$)", "+", text) if text.count(":") > 2 else text)


def _states(text: str) -> tuple[RunState, ...]:
    if text not in STATES:
        raise ValueError(f"is not one of {', '.join(STATES)}")
    return STATES[text]


_LIMIT: Final = ("limit", _integer(32, "a whole number, 1 to 10000"))
RUN_PARAMETERS: Final[Parameters] = {
    "state": ("states", _states),
    "limit": _LIMIT,
    "before": ("before_id", _integer(64, "a whole number, at least 1")),
    "since": ("since", _instant),
    "until": ("until", _instant),
    "run_id": ("run_id", str),
}
PAGE_PARAMETERS: Final[Parameters] = {"limit": _LIMIT, "after": ("after", str)}
