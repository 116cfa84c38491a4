"""Descriptions of fields for the OpenAPI document; nothing is checked here.

The receiver checks ranges and lengths, all at once, after the token. Bounds go into the JSON Schema
under a key of their own, which `openapi.document` moves to their place.
"""

from typing import Any

from msgspec import Meta

BOUNDS = "x-bounds"
UNIT = "x-unit"
INSTANT_LENGTH = len("2026-02-06T14:30:02.185Z")
INT64_MAX = 2**63 - 1

_CONTROL = r"\u0000-\u001f\u007f-\u009f"
_LINE = rf"[^{_CONTROL}]"
_OTHER = rf"[^{_CONTROL}/]"
# a part between slashes: anything except "." and ".."
_PART = rf"(?:[^{_CONTROL}/.]{_OTHER}*|\.[^{_CONTROL}/.]{_OTHER}*|\.\.{_OTHER}+)"

TEXT = rf"^{_LINE}*$"
"""No control characters."""
PATH = rf"^{_PART}(?:/{_PART})*$"
"""Names between slashes, none of them empty, ``.`` or ``..``; no control characters."""
LOOSE_PATH = rf"^(?:{_PART})?(?:/(?:{_PART})?)*$"
"""The same, but parts may be empty."""
PUSH_TOKEN = r"^[0-9a-f]{64}(?:\.(?:0|[1-9][0-9]{0,18}))?$"
"""A MAC, and if it expires its unix time."""
AFTER = "^[A-Za-z0-9_-]*$"
"""Start of a page; opaque."""
LIMIT_MAX = 10_000
"""Maximum number of entries in one listing."""


def about(text: str, example: Any = None, unit: str = "none", **bounds: Any) -> Meta:
    """Describe a field: a sentence, an example, its unit, and its bounds in terms of JSON Schema.

    An object needs no example: one is made of the examples of its fields.
    """
    extra = {BOUNDS: bounds} if bounds else {}
    return Meta(
        description=text,
        examples=None if example is None else [example],
        extra_json_schema=extra | {UNIT: unit},
    )


def moment(text: str, example: str, **bounds: Any) -> Meta:
    """Describe a time, RFC 3339; as input its length is not limited."""
    return about(text, example, "UTC", format="date-time", **bounds)


def answered(text: str, example: str) -> Meta:
    """Describe a time that occurs in answers only, always in the same form."""
    return moment(text, example, minLength=INSTANT_LENGTH, maxLength=INSTANT_LENGTH)


def whole(text: str, example: int, unit: str, minimum: int = 0, maximum: int = INT64_MAX) -> Meta:
    """Describe a whole number that is never negative."""
    return about(text, example, unit, minimum=minimum, maximum=maximum)


def text(words: str, example: str, maximum: int = 255, minimum: int = 0, form: str = TEXT) -> Meta:
    """Describe a text; ``maximum`` is in bytes of UTF-8, which JSON Schema cannot express."""
    most = f"At most {maximum} bytes of UTF-8."
    return about(f"{words} {most}", example, minLength=minimum, maxLength=maximum, pattern=form)
