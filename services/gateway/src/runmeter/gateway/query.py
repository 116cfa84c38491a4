"""Paths and query strings: raw text to names and a query, each part decoded exactly once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
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


class RunQuery(NamedTuple):
    """What to list; None: not asked for, so the receiver's default counts."""

    scope: Scope
    limit: int | None = None
    before_id: int | None = None
    since: Instant | None = None
    until: Instant | None = None
    run_id: str | None = None
    states: tuple[RunState, ...] = ()


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
    raw = {
        "organization": organization,
        "repository": repository,
        "workflow": workflow,
        "job": job,
    }
    names: dict[str, str] = {}
    errors: list[FieldError] = []
    for field, part in raw.items():
        try:
            names[field] = decode_component(part)
        except ValueError as error:
            errors.append(FieldError(field, str(error)))
    if errors:
        raise InvalidRequest("The path cannot be decoded.", *errors)
    return Scope(**names)


def path_of(scope: Scope) -> str:
    """Write the four-part form of a scope's path below ``/api/v1/metrics/repo/``."""
    parts = (scope.organization, scope.repository, scope.workflow, scope.job)
    return "/".join(quote(part, safe="") for part in parts)


def parameters_of(query_string: str) -> dict[str, str]:
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
        if name not in _PARSERS:
            known = ", ".join(_PARSERS)
            errors.append(FieldError(name, f"is not a parameter of this path; there are {known}"))
        elif name in found:
            errors.append(FieldError(name, "is given twice"))
        else:
            found[name] = value
    if errors:
        raise InvalidRequest("The query string cannot be understood.", *errors)
    return found


def query_of(scope: Scope, parameters: Mapping[str, str]) -> RunQuery:
    """Read the parameters of a listing.

    Only their form is checked: whether a limit is allowed is the receiver's to say, after it
    has checked the token.

    Raises:
        InvalidRequest: with every parameter of the wrong form.
    """
    found: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, text in parameters.items():
        field, parse = _PARSERS[name]
        try:
            found[field] = parse(text)
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    if errors:
        raise InvalidRequest("The query string has values of the wrong form.", *errors)
    return RunQuery(scope, **found)


def next_page(scope: Scope, parameters: Mapping[str, str], before_id: int) -> str:
    """Write the address of the page that follows: the same question from ``before_id`` on."""
    following = urlencode({**parameters, "before": str(before_id)}, quote_via=quote)
    return f"/api/v1/metrics/repo/{path_of(scope)}?{following}"


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


_PARSERS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "state": ("states", _states),
    "limit": ("limit", _integer(32, "a whole number, 1 to 10000")),
    "before": ("before_id", _integer(64, "a whole number, at least 1")),
    "since": ("since", _instant),
    "until": ("until", _instant),
    "run_id": ("run_id", str),
}
