"""Strict checks of request heads and body sizes.

If a proxy and the gateway read a head differently, one request can hide in another (request
smuggling). Sanic accepts more than RFC 9112 allows (a space before a colon, digits of any script),
so everything else is refused here.
"""

import re

from runmeter.gateway.errors import InvalidRequest

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# no "#" in the target: a fragment is not sent to servers
_REQUEST_LINE = re.compile(_TOKEN + rb" ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?"
)
_ABSOLUTE = re.compile(rb"([A-Za-z][0-9A-Za-z+.-]*)://([^/?]*)")
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}
_SINGLE = (b"Content-Type", b"Content-Encoding")
_SIZES = {10: re.compile(r"[0-9]{1,18}"), 16: re.compile(r"[0-9A-Fa-f]{1,16}")}


def check_head(head: bytes) -> None:
    """Check the head of a request, without the empty line after it.

    Raises:
        InvalidRequest: a line is malformed; the host, the length of the body, or another header
            that may occur once is ambiguous.

    Source: RFC 9112, 2.2, 3.2, 5 and 6; RFC 9110, 4.2.4 and 5.3.
    """
    line, *fields = head.split(b"\r\n")
    found: dict[bytes, list[bytes]] = {}
    for field in fields:
        match = _FIELD.fullmatch(field)
        if match is None:
            raise InvalidRequest("A header field is malformed.")
        found.setdefault(match[1].lower(), []).append(match[2].rstrip(b" \t"))
    requested = _REQUEST_LINE.fullmatch(line)
    if requested is None:
        raise InvalidRequest("The request line is malformed.")
    target, is_old = requested[1], requested[2] == b"0"  # HTTP/1.0
    _check_host(target, found.get(b"host", []), is_old)
    for name in _SINGLE:
        if len(found.get(name.lower(), ())) > 1:
            raise InvalidRequest(f"There must be only one {name.decode()} header.")
    codings = found.get(b"transfer-encoding", [])
    if codings and (codings != [b"chunked"] or is_old):
        raise InvalidRequest("Transfer-Encoding must be chunked.")


def _check_host(target: bytes, hosts: list[bytes], is_old: bool) -> None:
    """Check that there is one valid host, and no other in the target."""
    if len(hosts) > 1 or not (hosts or is_old):
        raise InvalidRequest("There must be one Host header.")
    if not all(map(_HOST.fullmatch, hosts)):
        raise InvalidRequest("The Host header is not a valid host.")
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        return
    port = _DEFAULT_PORTS.get(absolute[1].lower(), b"")
    named = {host.lower().removesuffix(port) for host in (absolute[2], *hosts)}
    if len(named) > 1 or not absolute[2] or not _HOST.fullmatch(absolute[2]):
        raise InvalidRequest("The request line and the Host header name different hosts.")


def size_of(text: str, base: int) -> int:
    """Parse the length of a body (base 10), or of a chunk (base 16), in bytes.

    Raises:
        ValueError: it has a sign, a prefix, or digits that are not ASCII.
    """
    text = text.rstrip(" \t")
    if not _SIZES[base].fullmatch(text):
        raise ValueError(text)
    return int(text, base)
