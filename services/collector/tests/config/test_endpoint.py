"""Endpoints: what is taken, what is refused and what the refusal says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.config.endpoint import SCHEMES, Endpoint, parse_endpoint
from runmeter.collector.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected", "url"),
    [
        ("grpc://receiver:50051", Endpoint("grpc", "receiver", 50051, ""), None),
        ("grpcs://receiver:443/", Endpoint("grpcs", "receiver", 443, ""), "grpcs://receiver:443"),
        ("grpc://[::1]:50051", Endpoint("grpc", "::1", 50051, ""), None),
        (
            "http://receiver:8080/api/v1/metrics",
            Endpoint("http", "receiver", 8080, "/api/v1/metrics"),
            None,
        ),
        (
            "http://receiver",
            Endpoint("http", "receiver", 80, "/api/v1/metrics"),
            "http://receiver:80/api/v1/metrics",
        ),
        (
            "https://[2001:db8::1]/",
            Endpoint("https", "2001:db8::1", 443, "/api/v1/metrics"),
            "https://[2001:db8::1]:443/api/v1/metrics",
        ),
        ("https://x:1/behind/a/proxy", Endpoint("https", "x", 1, "/behind/a/proxy"), None),
    ],
)
def test_endpoints_are_taken_apart(text: str, expected: Endpoint, url: str | None) -> None:
    """An endpoint is scheme, host, port and path, with the defaults of its scheme."""
    found = parse_endpoint(text)
    assert found == expected
    assert found.url == (url or text)
    assert found.is_tls == (found.scheme in ("grpcs", "https"))


@pytest.mark.parametrize(
    "text",
    [
        "", "receiver:50051", "ftp://receiver:1", "GRPC://receiver:1", "grpc://", "grpc://receiver",
        "grpc://:1", "grpc://receiver:", "grpc://receiver:0", "grpc://receiver:65536",
        "grpc://receiver:00008099999", "grpc://receiver:x", "grpc://receiver:²", "grpc://::1:1",
        "grpc://[::1]", "grpc://[::1]1", "grpc://[]:1", "http://[::1", "grpc://receiver:1/path",
        "http://h:1/a b", "http://h:1/a\n", "http://h:1/é", "http://é:1/",
    ],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    """A refusal names all forms that are allowed, or that of its scheme."""
    with pytest.raises(UsageError, match=r"grpc://host:port"):
        parse_endpoint(text)


@pytest.mark.parametrize("mark", ["user:hunter2@h:1", "h:1/?t=hunter2", "h:1/#hunter2"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_credentials_in_an_endpoint_are_refused_and_not_shown(scheme: str, mark: str) -> None:
    """Credentials, query and fragment may hold secrets: refused, and the error is silent."""
    with pytest.raises(UsageError) as caught:
        parse_endpoint(f"{scheme}://{mark}")
    assert "hunter2" not in str(caught.value)


@given(st.text() | st.sampled_from(SCHEMES).flatmap(lambda s: st.text().map(f"{s}://".__add__)))
def test_any_text_is_an_endpoint_that_reads_back_or_refused(text: str) -> None:
    """What is taken can be written as a URL that means the same; all else is a UsageError."""
    try:
        found = parse_endpoint(text)
    except UsageError:
        return
    assert 0 < found.port < 65536
    assert found.host
    assert parse_endpoint(found.url) == found
