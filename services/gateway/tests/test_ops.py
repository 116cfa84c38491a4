"""Pages for operators: metrics, health, readiness."""

import json
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families
from rig.gateway import HEADERS, RUNS, TOKEN, connect, head, until

TEMPLATE = "/api/v1/metrics/repo/{org}/{repo}/{workflow}/{job}"
REFUSED = grpc.StatusCode.PERMISSION_DENIED


def ask(program: Any, page: str, method: str = "GET") -> httpx.Response:
    """Get a page for operators."""
    return httpx.request(method, program.ops_url + page, timeout=20, trust_env=False)


def metric(program: Any, name: str, **labels: str) -> float | None:
    """Return one value of /metrics, None if it is missing."""
    for family in text_string_to_metric_families(ask(program, "/metrics").text):
        for sample in family.samples:
            if (sample.name, sample.labels) == (f"runmeter_gateway_{name}", labels):
                return sample.value
    return None


@pytest.fixture
def program(start: Any, own_double: Any) -> Any:
    """A gateway of this test only."""
    return start(f"--receiver=grpc://127.0.0.1:{own_double.port}")


# -- /metrics -----------------------------------------------------------------------------


def test_requests_are_counted(start: Any, own_double: Any, golden_stored: Any) -> None:
    """Requests are counted by method, template and status; names are in no label."""
    own_double.listing = own_double.streams([[golden_stored]] * 2)
    origin = "--cors-origin=https://dashboard.example.org"
    program = start(f"--receiver=grpc://127.0.0.1:{own_double.port}", origin)
    with httpx.Client(base_url=program.url, headers=HEADERS, trust_env=False) as client:
        size = sum(len(client.get(RUNS.replace("/j", f"/{n}")).content) for n in range(3))
        size += len(client.get("/secret-name").content)
        client.request("BREW", "/health")
        for method, path in (("DELETE", RUNS), ("GET", "/api/v1/metrics"), ("OPTIONS", RUNS)):
            assert client.request(method, path).status_code == 405
        asked = {"Origin": "https://dashboard.example.org", "Access-Control-Request-Method": "POST"}
        assert client.options("/api/v1/token", headers=asked).status_code == 204
        assert client.options("/nowhere").status_code == 404
        assert client.head("/health").status_code == 200
    for method, route, status, count in (
        ("GET", TEMPLATE, "200", 3),
        ("GET", "unmatched", "404", 1),
        ("other", "/health", "405", 1),
        ("DELETE", TEMPLATE, "405", 1),
        ("GET", "/api/v1/metrics", "405", 1),
        ("OPTIONS", TEMPLATE, "405", 1),
        ("OPTIONS", "/api/v1/token", "204", 1),
        ("OPTIONS", "unmatched", "404", 1),
        ("HEAD", "/health", "200", 1),
    ):
        found = metric(program, "requests_total", method=method, route=route, status=status)
        assert found == count, (method, route, status)
    timed = metric(program, "request_duration_seconds_count", method="GET", route=TEMPLATE)
    assert timed == 3
    assert metric(program, "response_body_bytes_total") >= size  # and bodies of the others
    text = ask(program, "/metrics").text
    assert "secret-name" not in text
    assert "BREW" not in text
    assert TOKEN not in text


def test_bodies_are_counted(program: Any, documented_run: Any) -> None:
    """Bytes read of bodies are counted."""
    body = json.dumps(documented_run)
    headers = HEADERS | {"Content-Type": "application/json"}
    url = f"{program.url}/api/v1/metrics"
    assert httpx.post(url, content=body, headers=headers, trust_env=False).status_code == 201
    assert metric(program, "request_body_bytes_total") == len(body)


def test_calls_are_counted(program: Any, own_double: Any, golden_stored: Any) -> None:
    """Calls to the receiver are counted by method and code; a stream by its end."""
    fails = own_double.fails(grpc.StatusCode.DATA_LOSS)
    with httpx.Client(base_url=program.url, headers=HEADERS, trust_env=False) as client:
        client.get(RUNS)
        own_double.listing = own_double.streams([], then=fails)
        client.get(RUNS)
        own_double.listing = own_double.streams([[golden_stored]], then=fails)
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(RUNS)
        own_double.token = own_double.fails(grpc.StatusCode.UNAUTHENTICATED)
        scope = {"organization": "o", "repository": "r", "workflow": "w", "job": "j"}
        client.post("/api/v1/token", json=scope)
    for method, code, count in (
        ("ListRuns", "OK", 1),
        ("ListRuns", "DATA_LOSS", 2),
        ("CreatePushToken", "UNAUTHENTICATED", 1),
    ):
        assert metric(program, "receiver_calls_total", method=method, code=code) == count


def test_requests_in_flight(program: Any, own_double: Any) -> None:
    """A request counts as in flight until its answer is over."""
    open_gate, gate = own_double.gate()
    own_double.listing = own_double.streams([], then=gate)
    with connect(program.address, head("GET", RUNS, "Connection: close")) as connection:
        own_double.call()
        assert metric(program, "requests_in_flight") == 1
        open_gate()
        while connection.recv(65536):
            pass
    assert metric(program, "requests_in_flight") == 0


# -- /healthz, /readyz --------------------------------------------------------------------


def test_ready(program: Any) -> None:
    """With a receiver that serves both pages are 200."""
    assert (ask(program, "/healthz").status_code, ask(program, "/readyz").text) == (200, "ready\n")
    assert ask(program, "/readyz", "HEAD").status_code == 200


def test_receiver_away(program: Any, own_double: Any) -> None:
    """Without a receiver it is healthy and not ready; when it is back it is ready."""
    own_double.stop()
    found = ask(program, "/readyz")
    assert (found.status_code, found.text) == (503, "not ready: the receiver is UNAVAILABLE\n")
    assert ask(program, "/healthz").status_code == 200
    lost = program.event("receiver.lost")
    assert lost["code"] == "UNAVAILABLE"
    assert str(own_double.port) in lost["message"]
    own_double.start()
    until(lambda: ask(program, "/readyz").status_code == 200)
    program.event("receiver.found")


def test_requests_say_why(program: Any, own_double: Any) -> None:
    """The log line of a request has the code if the receiver did not answer, with gRPC's text, or
    refused: then the text is in the answer.
    """
    with httpx.Client(base_url=program.url, headers=HEADERS, trust_env=False) as client:
        own_double.listing = own_double.streams([], then=own_double.fails(REFUSED, "not yours"))
        assert client.get(RUNS).status_code == 403
        line = program.event("request.finished", status=403)
        assert (line["code"], "message" in line) == ("PERMISSION_DENIED", False)
        own_double.stop()
        assert client.get(RUNS).status_code == 503
        line = program.event("request.finished", status=503)
        assert line["code"] == "UNAVAILABLE"
        assert f":{own_double.port}" in line["message"]
        assert "Connection refused" in line["message"]
        own_double.start()
        until(lambda: client.get(RUNS).status_code == 403)
        own_double.listing = own_double.streams([])
        assert client.get(RUNS).status_code == 200
        assert "code" not in program.event("request.finished", status=200)


def test_readiness_says_why(program: Any, own_double: Any) -> None:
    """A receiver that is lost for another reason is logged again, with that reason."""
    own_double.health = own_double.fails(REFUSED, "a proxy says no")
    assert ask(program, "/readyz").status_code == 503
    assert program.event("receiver.lost")["message"] == "a proxy says no"
    own_double.stop()
    until(lambda: "UNAVAILABLE" in ask(program, "/readyz").text)
    assert "Connection refused" in program.event("receiver.lost")["message"]


def test_receiver_does_not_serve(program: Any, own_double: Any) -> None:
    """A receiver that reports that it does not serve makes the gateway not ready."""
    not_serving = health_pb2.HealthCheckResponse(status="NOT_SERVING")
    own_double.health = own_double.answers(not_serving)
    assert ask(program, "/readyz").status_code == 503


def test_receiver_hangs(program: Any, own_double: Any) -> None:
    """The page does not wait for a receiver that does not answer."""
    own_double.health = own_double.hang
    found = ask(program, "/readyz")
    assert (found.status_code, found.text) == (503, "not ready: the receiver does not answer\n")


def test_not_ready_while_it_stops(start: Any, own_double: Any) -> None:
    """From the signal on it is not ready, though requests are still answered."""
    own_double.listing = own_double.streams([], then=own_double.hang)
    program = start(f"--receiver=grpc://127.0.0.1:{own_double.port}")
    with connect(program.address, head()):
        own_double.call()
        program.signal()
        program.event("shutdown.requested")
        found = ask(program, "/readyz")
        assert (found.status_code, found.text) == (503, "not ready: it is stopping\n")
        assert ask(program, "/healthz").status_code == 200
        program.signal()
        assert program.wait() == 0


# -- the server ---------------------------------------------------------------------------


def test_api_has_no_pages_of_operators(client: httpx.Client) -> None:
    """The API does not serve the pages for operators."""
    for page in ("/metrics", "/healthz", "/readyz"):
        assert client.get(page).status_code == 404


def test_none(start: Any) -> None:
    """Without an address it serves, and there are no pages."""
    program = start("--ops-addr=none")
    assert program.ops_url == "http://None"
    assert httpx.get(f"{program.url}/health", trust_env=False).status_code == 200
