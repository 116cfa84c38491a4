"""Compressed listings."""

import gzip
import json
import zlib
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.gateway import RUNS

from runmeter.gateway.web.encoding import Gzip, accepts_gzip

GZIP = {"Accept-Encoding": "gzip"}
PLAIN = {"Accept-Encoding": "identity"}


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0.001", True),
        ("gzip ; q = 0.5", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("", False),
        ("identity", False),
        ("br, zstd", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=2", False),
        ("gzip;level=9", False),
        ("notgzip", False),
    ],
)
def test_accepts_gzip(value: str, accepted: bool) -> None:
    """gzip is used if the client accepts it and does not prefer identity."""
    assert accepts_gzip([value]) is accepted


def test_headers_add_up() -> None:
    """Several headers are one list; without any, no gzip."""
    assert accepts_gzip(["br", "gzip"])
    assert not accepts_gzip([])


@given(st.lists(st.text()))
def test_any_header(values: list[str]) -> None:
    """No header is an error."""
    assert accepts_gzip(values) in (True, False)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_each_part_can_be_read(parts: list[bytes]) -> None:
    """The parts so far contain all data so far; with the last part the whole is complete."""
    coder, reader = Gzip(), zlib.decompressobj(31)
    for part in parts:
        assert reader.decompress(coder.part(part)) == part
        assert not reader.eof
    assert reader.decompress(coder.last(b"end")) == b"end"
    assert reader.eof


def test_listing(client: httpx.Client, double: Any, golden_stored: Any, golden_run: Any) -> None:
    """The same array in a fraction of the bytes; each variant has its own ETag."""
    double.listing = double.streams([[golden_stored] * 100] * 3)
    with client.stream("GET", RUNS, headers=GZIP) as coded:
        sent = b"".join(coded.iter_raw())
    plain = client.get(RUNS, headers=PLAIN)
    assert coded.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert coded.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert (coded.headers["etag"], plain.headers["etag"]) == ('"etag-1-gzip"', '"etag-1"')
    assert gzip.decompress(sent) == plain.content
    assert len(sent) < len(plain.content) / 5
    assert json.loads(plain.content) == [golden_run] * 300


def test_known_variants(client: httpx.Client) -> None:
    """A client that has this variant gets 304; with another variant it gets the answer."""
    for coding, own, other in (
        (GZIP, '"etag-1-gzip"', '"etag-1"'),
        (PLAIN, '"etag-1"', '"etag-1-gzip"'),
    ):
        known = client.get(RUNS, headers=coding | {"If-None-Match": own})
        assert (known.status_code, known.headers["etag"]) == (304, own)
        assert known.headers["vary"] == "Accept-Encoding"
        assert "content-encoding" not in known.headers
        assert client.get(RUNS, headers=coding | {"If-None-Match": other}).status_code == 200


def test_empty_listing(client: httpx.Client) -> None:
    """An empty array is compressed as well."""
    answer = client.get(RUNS, headers=GZIP)
    assert (answer.headers["content-encoding"], answer.text) == ("gzip", "[]")


def test_problems_are_plain(client: httpx.Client, double: Any) -> None:
    """Problems are not compressed."""
    double.listing = double.streams([], then=double.fails(grpc.StatusCode.UNAVAILABLE))
    with client.stream("GET", RUNS, headers=GZIP) as answer:
        assert json.loads(b"".join(answer.iter_raw()))["status"] == 503
    assert "content-encoding" not in answer.headers


def test_head(client: httpx.Client, double: Any, golden_stored: Any) -> None:
    """HEAD has the headers of the variant of GET."""
    double.listing = double.streams([[golden_stored]])
    answer = client.head(RUNS, headers=GZIP)
    assert (answer.headers["content-encoding"], answer.content) == ("gzip", b"")
    assert answer.headers["etag"] == '"etag-1-gzip"'
