"""Heads of requests and sizes of bodies, taken to the letter.

What two programs on the way read differently lets one request hide in another. Sanic is lenient in
places (a space before a colon, digits of any script), so whatever RFC 9112 does not allow is
refused here.
"""

from __future__ import annotations

import re
from typing import Final

from sanic.exceptions import BadRequest

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(_TOKEN + rb" [\x21-\x7e]+ HTTP/1\.[01]")
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
_SIZES: Final = {10: re.compile(r"[0-9]{1,18}"), 16: re.compile(r"[0-9A-Fa-f]{1,16}")}


def check_head(head: bytes) -> None:
    """Check the head of a request, without the empty line behind it.

    Raises:
        BadRequest: a line is not of its form, the host or the length of the body is unclear.

    Source: RFC 9112, 2.2, 3.2, 5 and 6.
    """
    line, *fields = head.split(b"\r\n")
    found: dict[bytes, list[bytes]] = {}
    for field in fields:
        match = _FIELD.fullmatch(field)
        if match is None:
            raise BadRequest("A header field is not of the form of one.")
        found.setdefault(match[1].lower(), []).append(match[2].rstrip(b" \t"))
    if not _REQUEST_LINE.fullmatch(line):
        raise BadRequest("The request line is not of the form of one.")
    is_old = line.endswith(b"0")  # HTTP/1.0
    host_count = len(found.get(b"host", ()))
    if host_count > 1 or not (host_count or is_old):
        raise BadRequest("There must be one Host header.")
    codings = found.get(b"transfer-encoding", [])
    if codings and (codings != [b"chunked"] or is_old):
        raise BadRequest("Transfer-Encoding can only be chunked.")


def size_of(text: str, base: int) -> int:
    """Read the length of a body (base 10), or of a part of it (base 16), in bytes.

    Raises:
        ValueError: it has a sign, a prefix, or digits that are not ASCII.
    """
    text = text.rstrip(" \t")
    if not _SIZES[base].fullmatch(text):
        raise ValueError(text)
    return int(text, base)
