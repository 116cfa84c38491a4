"""Headers for browsers: security headers on every answer, and CORS."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from rig.gateway import HEADERS, RUNS

ORIGIN = "https://dashboard.example.org"
PREFLIGHT = {"Access-Control-Request-Method": "GET"}


@pytest.fixture
def shared(start: Any, own_double: Any) -> Iterator[httpx.Client]:
    """A client of a gateway that allows two origins."""
    program = start(
        f"--receiver=grpc://127.0.0.1:{own_double.port}",
        f"--cors-origin={ORIGIN},http://localhost:3000",
    )
    with httpx.Client(base_url=program.url, headers=HEADERS, trust_env=False) as client:
        yield client


def cors(response: httpx.Response) -> dict[str, str]:
    """Return the CORS headers."""
    return {k: v for k, v in response.headers.items() if k.startswith("access-control-")}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("GET", RUNS),
        ("GET", f"{RUNS}?bad=1"),
        ("POST", "/api/v1/token"),
        ("DELETE", "/health"),
        ("GET", "/nowhere"),
        ("OPTIONS", "/health"),
    ],
)
def test_security_headers(client: httpx.Client, method: str, path: str) -> None:
    """Every answer of any status has the security headers; without TLS there is no HSTS."""
    headers = client.request(method, path, headers={"Origin": ORIGIN} | PREFLIGHT).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == ("private, no-cache" if path == RUNS else "no-store")
    assert "strict-transport-security" not in headers


def test_streamed_answers_have_them(client: httpx.Client, double: Any, golden_stored: Any) -> None:
    """A streamed answer has the security headers."""
    double.listing = double.streams([[golden_stored]] * 2)
    headers = client.get(RUNS).headers
    assert headers["transfer-encoding"] == "chunked"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "private, no-cache"
    assert headers["date"].endswith(" GMT")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/health"), ("HEAD", RUNS), ("POST", "/api/v1/token"), ("GET", "/nowhere")],
)
def test_date(client: httpx.Client, method: str, path: str) -> None:
    """Every answer has one Date (RFC 9110, 6.6.1)."""
    before = time.time()
    (date,) = client.request(method, path).headers.get_list("date")
    assert date.endswith(" GMT")
    assert int(before) <= parsedate_to_datetime(date).timestamp() <= time.time()


def test_no_origins(client: httpx.Client) -> None:
    """Without --cors-origin there are no CORS headers, and OPTIONS is 405."""
    for path in (RUNS, "/health", "/nowhere"):
        response = client.get(path, headers={"Origin": ORIGIN})
        assert cors(response) == {}
        assert "Origin" not in response.headers.get("vary", "")
    asked = client.options(RUNS, headers={"Origin": ORIGIN} | PREFLIGHT)
    assert (asked.status_code, cors(asked)) == (405, {})


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:3000"])
def test_preflight(shared: httpx.Client, origin: str) -> None:
    """A preflight request is answered without a token."""
    del shared.headers["authorization"]
    response = shared.options(RUNS, headers={"Origin": origin} | PREFLIGHT)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["vary"] == "Origin"
    allowed = cors(response)
    assert allowed["access-control-allow-origin"] == origin
    assert allowed["access-control-allow-methods"] == "GET, HEAD, POST"
    assert "Authorization" in allowed["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in allowed


@pytest.mark.parametrize("path", [RUNS, "/nowhere", f"{RUNS}?bad=1"])
def test_origin_may_read(shared: httpx.Client, path: str) -> None:
    """An allowed origin may read answers and problems; another may not."""
    allowed = shared.get(path, headers={"Origin": ORIGIN})
    assert cors(allowed) == {
        "access-control-allow-origin": ORIGIN,
        "access-control-expose-headers": "Link, ETag, X-Request-ID, Retry-After",
    }
    others: list[dict[str, str]] = [{}, {"Origin": f"{ORIGIN}.evil.example"}, {"Origin": "null"}]
    for headers in others:
        other = shared.get(path, headers=headers)
        assert other.status_code == allowed.status_code
        assert cors(other) == {}
        assert other.headers["vary"] == allowed.headers["vary"]
        assert "Origin" in other.headers["vary"]


def test_preflight_of_another_origin(shared: httpx.Client) -> None:
    """A preflight of another origin, and another OPTIONS, is 405."""
    for headers in ({"Origin": "https://evil.example"} | PREFLIGHT, {"Origin": ORIGIN}):
        response = shared.options(RUNS, headers=headers)
        assert response.status_code == 405
        assert "access-control-allow-methods" not in response.headers
