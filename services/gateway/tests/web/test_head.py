"""Requests that two programs may read differently are refused (request smuggling)."""

import re
from typing import Any

import pytest
from rig.gateway import exchange, head

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"
HEAD = head("POST", "/api/v1/metrics", "Content-Type: application/json").removesuffix(b"\r\n")
LENGTH = b"%d" % len(HIDDEN)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        HEAD + b"Content-Length : " + LENGTH + b"\r\n\r\n" + HIDDEN,
        HEAD + b"Content-Length\t: " + LENGTH + b"\r\n\r\n" + HIDDEN,
        HEAD + b" Content-Length: " + LENGTH + b"\r\n\r\n" + HIDDEN,
        HEAD + b"X: y\r\n Content-Length: 1\r\n\r\n" + HIDDEN,
        HEAD + b"Content-Length: " + "٣٤".encode() + b"\r\n\r\n" + HIDDEN,
        HEAD + b"Content-Length: +" + LENGTH + b"\r\n\r\n" + HIDDEN,
        HEAD + b"Content-Length: 3_4\r\n\r\n" + HIDDEN,
        HEAD + b"Content-Length: 34, 34\r\n\r\n" + HIDDEN,
        HEAD + b"Content-Length:\r\n\r\n" + HIDDEN,
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        HEAD + b"Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        HEAD + b"X\x00: y\r\n\r\n" + HIDDEN,
        HEAD + b"X: a\rb\r\n\r\n" + HIDDEN,
        HEAD + b"X: a\nContent-Length: 1\r\n\r\n" + HIDDEN,
        HEAD + b": y\r\n\r\n" + HIDDEN,
        HEAD + b"Host: other\r\n\r\n" + HIDDEN,
        b"GET /health HTTP/1.1\r\n\r\n" + HIDDEN,
        b"GET /health HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n" + HIDDEN,
        HEAD + b"content-type: text/plain\r\n\r\n" + HIDDEN,
        HEAD + b"Content-Type: application/json\r\n\r\n" + HIDDEN,
        HEAD + b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n\r\n" + HIDDEN,
        b"GET http://other/health HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
        b"GET http://h:81/health HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
        b"GET HTTPS://h@other/health HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
        b"GET ftp://other/health HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
        b"GET http:///health HTTP/1.1\r\nHost:\r\n\r\n" + HIDDEN,
        b"GET http://u@h/health HTTP/1.1\r\nHost: u@h\r\n\r\n" + HIDDEN,
        b"GET http://u@h/health HTTP/1.0\r\n\r\n" + HIDDEN,
        b"GET /health#x HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
        b"GET /health?a#x HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
        b"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n" + HIDDEN,
        b"GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n" + HIDDEN,
        b"GET /health HTTP/1.1\r\nHost: a, b\r\n\r\n" + HIDDEN,
        b"GET /health HTTP/1.1\r\nHost: a:b\r\n\r\n" + HIDDEN,
        b"GET /health HTTP/1.0\r\nHost: [::1\r\n\r\n" + HIDDEN,
        b"GE(T /health HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
        b"GET /he\x01alth HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
        CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
        CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
        CHUNKED + b"0_2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
        CHUNKED + "٢".encode() + b"\r\n{}\r\n0\r\n\r\n" + HIDDEN,
        CHUNKED + b"2\r\n{}..0\r\n\r\n" + HIDDEN,
        CHUNKED + b"2\r\n{}\r\n0\r\nX: y\r\n\r\n" + HIDDEN,
    ],
    ids=lambda value: str(value.removeprefix(HEAD)[:50]),
)
def test_nothing_hides(gateway: Any, request_bytes: bytes) -> None:
    """The whole answer is one problem with a request id, and the connection ends."""
    received = exchange(gateway.address, request_bytes)
    assert received.startswith(b"HTTP/1.1 400 "), received
    assert received.count(b"HTTP/1.1 ") == 1
    answer, _, body = received.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in answer.lower()
    assert b"x-request-id: " in answer.lower()
    assert b"connection: close" in answer.lower()
    assert b"request_id" in body


def test_the_detail_says_what_to_mend(gateway: Any) -> None:
    """The problem names what is wrong with the head, or with the body's length."""
    for request_bytes, detail in (
        (HEAD + b"Host: other\r\n\r\n", b"There must be one Host header."),
        (CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n", b"the length of the body."),
    ):
        assert detail in exchange(gateway.address, request_bytes)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /health HTTP/1.1\r\nhOST:h\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost:\r\nX:\t a  b \t\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: h\r\nX: caf\xc3\xa9\r\nConnection: close\r\n\r\n",
        b"GET http://h/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"GET HTTP://H:80/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"GET http://h/health HTTP/1.0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a_b.c-d:8080\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: h\r\nX: a\r\nX: b\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.0\r\n\r\n",
    ],
)
def test_what_is_allowed(gateway: Any, request_bytes: bytes) -> None:
    """Requests that the standard allows are answered."""
    assert exchange(gateway.address, request_bytes).startswith(b"HTTP/1.1 200 ")


def test_two_request_ids(gateway: Any) -> None:
    """Of two ids neither is used: the answer has a new one."""
    lines = ("X-Request-ID: one", "X-Request-ID: two", "Connection: close")
    received = exchange(gateway.address, head("GET", "/health", *lines))
    assert received.startswith(b"HTTP/1.1 200 ")
    found = re.findall(rb"(?mi)^x-request-id: (.+)\r$", received)
    assert len(found) == 1
    assert found[0] not in (b"one", b"two")
