"""Every route of the real program in front of a double of the receiver."""

import http.client
import json
import time
from typing import Any
from uuid import UUID

import grpc
import httpx
import pytest
from rig.gateway import TOKEN
from rig.problem import problem

from runmeter.v1 import ingest_service_pb2, run_pb2, run_service_pb2, token_service_pb2

SCOPE = {"organization": "my-org", "repository": "my-repo", "workflow": "ci.yml", "job": "build"}
RUNS = "/api/v1/metrics/repo/my-org/my-repo/ci.yml/build"


# --- POST /api/v1/metrics


def test_push(client: httpx.Client, double: Any, golden_run: Any, golden_stored: Any) -> None:
    """A posted record arrives as the golden protobuf; the answer is 201 with its id."""
    double.push = double.answers(ingest_service_pb2.PushRunResponse(id=2**53 + 1))
    response = client.post("/api/v1/metrics", json=golden_run)
    assert (response.status_code, response.text) == (
        201,
        '{"id":9007199254740993,"duplicate":false}',
    )
    assert response.headers["content-type"] == "application/json"
    call = double.call()
    assert call.method == "PushRun"
    assert call.request.run == golden_stored.run
    assert call.metadata["authorization"] == f"Bearer {TOKEN}"
    assert call.metadata["x-request-id"] == response.headers["x-request-id"]


def test_push_duplicate(client: httpx.Client, double: Any, golden_run: Any) -> None:
    """A push that changed nothing is answered with 200."""
    double.push = double.answers(ingest_service_pb2.PushRunResponse(id=7, duplicate=True))
    response = client.post("/api/v1/metrics", json=golden_run)
    assert (response.status_code, response.json()) == (200, {"id": 7, "duplicate": True})


def test_push_documented(client: httpx.Client, double: Any, documented_run: Any) -> None:
    """The documented body is enough; each POST of it gets a new UUID."""
    for _ in range(2):
        assert client.post("/api/v1/metrics", json=documented_run).status_code == 201
    runs = [double.call().request.run for _ in range(2)]
    assert UUID(runs[0].push_id).version == 4
    assert runs[0].push_id != runs[1].push_id
    assert {(run.state, run.revision) for run in runs} == {(run_pb2.RUN_STATE_COMPLETED, 1)}


def test_push_needs_its_run_id(client: httpx.Client, double: Any, documented_run: Any) -> None:
    """A body without ``run_id``, which may be empty, is refused by name."""
    del documented_run["run_id"]
    errors = problem(client.post("/api/v1/metrics", json=documented_run), 400)
    assert errors == {"run_id": "is required"}
    assert double.calls.empty()
    documented_run["run_id"] = ""
    assert client.post("/api/v1/metrics", json=documented_run).status_code == 201


def test_push_bad_fields_of_the_receiver(
    client: httpx.Client, double: Any, golden_run: Any
) -> None:
    """Bad fields that the receiver finds are listed with their names in the JSON."""
    double.push = double.fails(
        grpc.StatusCode.INVALID_ARGUMENT,
        "run.scope.organization: empty",
        fields={
            "run.scope.organization": "is empty",
            "run.payload.containers[2].cpu_cores.p95": "is negative",
        },
    )
    response = client.post("/api/v1/metrics", json=golden_run)
    assert problem(response, 400) == {
        "organization": "is empty",
        "payload.containers[2].cpu_cores.p95": "is negative",
    }
    assert "run.scope" not in response.json()["detail"]


def test_nul_is_sent_on(client: httpx.Client, double: Any, golden_run: Any) -> None:
    """NUL in a text is sent to the receiver, which refuses it with all other bad texts."""
    golden_run["runner_name"] = "a\0b"
    client.post("/api/v1/metrics", json=golden_run)
    assert double.call().request.run.runner_name == "a\0b"


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 400), (b"[" * 100_000, 400), (b"[]", 400), (b" " * 200_001, 413)]
)
def test_bad_bodies(client: httpx.Client, double: Any, content: bytes, status: int) -> None:
    """Bodies that are not a JSON object, or too large, are refused by both routes."""
    headers = {"Content-Type": "application/json"}
    for path in ("/api/v1/metrics", "/api/v1/token"):
        problem(client.post(path, content=content, headers=headers), status)
    assert double.calls.empty()


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 415),
        ("text/plain", 415),
        ("application/json; charset=latin-1", 415),
        ("application/json; charset=utf-8", 200),
        ('Application/JSON;charset="UTF-8"', 200),
    ],
)
def test_media_types(client: httpx.Client, content_type: str | None, status: int) -> None:
    """Only JSON in UTF-8 is accepted, declared in any case, quoted or not; 415 names it."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = client.post("/api/v1/token", content=json.dumps(SCOPE), headers=headers)
    assert response.status_code == status
    if status == 415:
        problem(response, status)
        assert response.headers["accept"] == "application/json"


@pytest.mark.parametrize("size", [200_001, 5_000_000, 30_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_oversized(gateway: Any, double: Any, size: int, chunked: bool) -> None:
    """A body over the limit is answered with 413, with a declared length and without."""
    body = b" " * size
    connection = http.client.HTTPConnection(gateway.address, timeout=20)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    if not chunked:
        headers["Content-Length"] = str(size)
    connection.putrequest("POST", "/api/v1/metrics")
    for name, value in {**headers, **({"Transfer-Encoding": "chunked"} if chunked else {})}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"%x\r\n%b\r\n" % (200_001, body[:200_001]) if chunked else body[:200_001])
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["detail"] == "The body may have at most 200000 bytes."
    connection.close()
    assert double.calls.empty()


def test_oversized_then_usable(client: httpx.Client, double: Any) -> None:
    """After a body slightly over the limit, read to its end, the connection still serves."""
    for _ in range(3):
        headers = {"Content-Type": "application/json"}
        response = client.post("/api/v1/metrics", content=b" " * 2_000_000, headers=headers)
        problem(response, 413)
        assert client.get("/health").status_code == 200


# --- POST /api/v1/token


def test_token(client: httpx.Client, double: Any) -> None:
    """The answer is the minted token, and must not be cached."""
    response = client.post("/api/v1/token", json=SCOPE)
    assert (response.status_code, response.text) == (200, f'{{"token":"{"ab" * 32}"}}')
    assert response.headers["cache-control"] == "no-store"
    request = double.call().request
    assert request == token_service_pb2.CreatePushTokenRequest(scope=run_pb2.Scope(**SCOPE))


def test_expiring_token(client: httpx.Client, double: Any) -> None:
    """An expiry is sent to the receiver and answered."""
    answer = token_service_pb2.CreatePushTokenResponse(token="x.1798761600")
    answer.expires_at.FromSeconds(1798761600)
    double.token = double.answers(answer)
    response = client.post("/api/v1/token", json={**SCOPE, "expires_in_seconds": 60})
    assert response.json() == {"token": "x.1798761600", "expires_at": "2027-01-01T00:00:00.000Z"}
    assert double.call().request.expires_in_seconds == 60


# --- GET /api/v1/metrics/repo/...


def test_no_runs(client: httpx.Client, double: Any) -> None:
    """Without runs the answer is an empty array, with an ETag and without Link."""
    response = client.get(RUNS)
    assert (response.status_code, response.text) == (200, "[]")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["etag"] == '"etag-1"'
    assert "link" not in response.headers
    request = double.call().request
    assert request == run_service_pb2.ListRunsRequest(scope=run_pb2.Scope(**SCOPE))


def test_runs(client: httpx.Client, double: Any, golden_run: Any, golden_stored: Any) -> None:
    """Runs of several pages are one bare array of golden records, in order."""
    pages, expected = [], []
    for page in ((9, 8), (7,), (6, 5, 4)):
        pages.append([])
        for number in page:
            stored = run_service_pb2.StoredRun()
            stored.CopyFrom(golden_stored)
            stored.id = number
            pages[-1].append(stored)
            expected.append({**golden_run, "id": number})
    double.listing = double.streams(pages)
    assert client.get(RUNS).json() == expected


@pytest.mark.parametrize(
    ("path", "repository"),
    [
        ("my-org/my-repo", "my-repo"),
        ("my-org/my-org/my-repo", "my-org/my-repo"),
        ("my-org/my-org%2Fmy-repo", "my-org/my-repo"),
        ("my-org/my-org%2fmy-repo", "my-org/my-repo"),
        ("my-org/my-org%252Fmy-repo", "my-org%2Fmy-repo"),
    ],
)
def test_forms_of_a_repository(
    client: httpx.Client, double: Any, path: str, repository: str
) -> None:
    """All documented forms of a repository reach the receiver, which treats them as one."""
    assert client.get(f"/api/v1/metrics/repo/{path}/ci.yml/build").status_code == 200
    scope = double.call().request.scope
    assert scope == run_pb2.Scope(**{**SCOPE, "repository": repository})


@pytest.fixture
def connection(gateway: Any) -> Any:
    """Return a connection that sends paths as they are given."""
    connection = http.client.HTTPConnection(gateway.address, timeout=20)
    yield connection
    connection.close()


def test_parameters(client: httpx.Client, double: Any) -> None:
    """Every parameter of a query reaches the receiver."""
    query = {
        "state": "all",
        "limit": "20",
        "before": "77",
        "since": "2026-02-06T15:30:02.185+01:00",
        "until": "2026-02-07T00:00:00Z",
        "run_id": "run-ö&",
    }
    assert client.get(RUNS, params=query).status_code == 200
    request = double.call().request
    assert list(request.states) == [1, 2, 3]
    assert (request.limit, request.before_id, request.run_id) == (20, 77, "run-ö&")
    assert request.since.ToJsonString() == "2026-02-06T14:30:02.185Z"
    assert request.until.ToJsonString() == "2026-02-07T00:00:00Z"


def test_all_that_is_wrong_at_once(client: httpx.Client, double: Any) -> None:
    """One answer lists everything that is wrong in path and query; the receiver is not asked."""
    path = RUNS.replace("/build", "/%zz").replace("/ci.yml", "/%2E%2E")
    found = problem(client.get(f"{path}?limits=1&limit=0&before=x&state=all&state=all"), 400)
    assert found.keys() == {"job", "workflow", "limits", "limit", "before", "state"}
    found = problem(client.get("/api/v1/repos/o/%ff/jobs?page=1&limit=0"), 400)
    assert found.keys() == {"repository", "page", "limit"}
    assert double.calls.empty()


def test_parameters_the_receiver_refuses(client: httpx.Client, double: Any) -> None:
    """Values that only the receiver refuses are listed with the names of the parameters."""

    fields = {"limit": "is 0", "before_id": "is 0", "scope.job": "is empty"}
    double.fail_all(grpc.StatusCode.INVALID_ARGUMENT, fields=fields)
    found = problem(client.get(RUNS, params={"limit": "0", "before": "0"}), 400)
    assert list(found) == ["limit", "before", "job"]


def test_link(client: httpx.Client, double: Any) -> None:
    """If there are more runs there is a Link with the other parameters unchanged; it works."""
    double.listing = double.streams([], next_before_id=41)
    path = "/api/v1/metrics/repo/my-org/my-org/my-repo/a%2Fb/build"
    response = client.get(path, params={"limit": "2", "before": "99", "run_id": "a b+c"})
    assert response.links["next"]["rel"] == "next"
    target = response.links["next"]["url"]
    assert target.startswith("?")
    first = double.call().request
    client.get(response.url.join(target))
    second = double.call().request
    assert second.before_id == 41
    second.before_id = first.before_id
    assert second == first


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ('"etag-1"', 304),
        ('W/"etag-1"', 304),
        ('"other", "etag-1"', 304),
        ("*", 304),
        ('"other"', 200),
        ("etag-1", 200),
    ],
)
def test_if_none_match(client: httpx.Client, double: Any, sent: str, status: int) -> None:
    """An answer that the client has already is 304."""
    response = client.get(RUNS, headers={"If-None-Match": sent})
    assert (response.status_code, response.text) == (status, "[]" if status == 200 else "")
    assert response.headers["etag"] == '"etag-1"'


def test_not_modified_ends_the_call(client: httpx.Client, double: Any, golden_stored: Any) -> None:
    """A 304 cancels the rest of the receiver's stream."""
    double.listing = double.streams([[golden_stored]], then=double.hang)
    assert client.get(RUNS, headers={"If-None-Match": '"etag-1"'}).status_code == 304
    assert double.cancelled.wait(20)


# --- the rest


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic eDp5"}], ids=["none", "basic"])
def test_health(gateway: Any, double: Any, headers: dict[str, str]) -> None:
    """Health needs no token and does not ask the receiver."""
    response = httpx.get(f"{gateway.url}/health", headers=headers, trust_env=False)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert double.calls.empty()


def test_head(client: httpx.Client, double: Any, golden_stored: Any) -> None:
    """HEAD has the headers of GET without a body, and ends the call."""
    double.listing = double.streams([[golden_stored]], next_before_id=3, then=double.hang)
    response = client.head(RUNS)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["etag"] == '"etag-1"'
    assert "next" in response.links
    assert double.cancelled.wait(20)
    assert client.head("/health").headers["content-length"] == "15"
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/v1/metrics", "POST"),
        ("DELETE", "/api/v1/token", "POST"),
        ("POST", RUNS, "GET, HEAD"),
        ("OPTIONS", RUNS, "GET, HEAD"),
        ("PUT", "/health", "GET, HEAD"),
        ("INVENTED", "/health", "GET, HEAD"),
    ],
)
def test_methods(client: httpx.Client, method: str, path: str, allow: str) -> None:
    """Other methods are answered with 405 and the list of methods."""
    response = client.request(method, path)
    problem(response, 405)
    assert response.headers["allow"] == allow


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/v2/metrics", f"{RUNS}/more/parts", "/%zz", RUNS.replace("build", "")],
)
def test_unknown_paths(client: httpx.Client, path: str) -> None:
    """Unknown paths, and those with an empty part, are answered with 404."""
    problem(client.get(path), 404)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic eDp5", TOKEN, "Bearer a\tb", "Bearer \xe4"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/metrics"),
        ("POST", "/api/v1/token"),
        ("GET", RUNS),
        ("GET", RUNS + "2"),
        ("GET", "/api/v1/repos"),
        ("GET", "/api/v1/repos/%ff/%fe/jobs"),
    ],
)
def test_without_bearer(
    connection: http.client.HTTPConnection,
    double: Any,
    authorization: str | None,
    method: str,
    path: str,
) -> None:
    """Without a bearer nothing else is checked: 401, and how to send one."""
    headers = {} if authorization is None else {"Authorization": authorization}
    connection.request(method, f"{path}?bad=1", body=b"{", headers=headers)
    response = connection.getresponse()
    assert json.loads(response.read())["status"] == response.status == 401
    assert response.getheader("content-type") == "application/problem+json"
    assert response.getheader("www-authenticate") == "Bearer"
    assert double.calls.empty()


@pytest.mark.parametrize(
    "bearer",
    ["guess", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + ".", "0" * 64 + ".01", "0" * 64 + ".x"],
)
def test_not_of_a_push_tokens_form(
    connection: http.client.HTTPConnection, double: Any, bearer: str
) -> None:
    """A bearer that cannot be a push token is answered with 401, before size, type and syntax."""
    for body, media in (
        (b" " * 200_001, "application/json"),
        (b"{}", "text/plain"),
        (b"{", "application/json"),
    ):
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": media}
        connection.request("POST", "/api/v1/metrics", body=body, headers=headers)
        response = connection.getresponse()
        found = json.loads(response.read())
        assert (response.status, found["detail"]) == (401, "The bearer is not a push token.")
        assert response.getheader("www-authenticate") == "Bearer"
    assert double.calls.empty()


@pytest.mark.parametrize("expiry", ["", ".0", ".1798761600"])
def test_of_a_push_tokens_form(
    client: httpx.Client, double: Any, documented_run: Any, expiry: str
) -> None:
    """A push token is sent on unchanged, with its expiry."""
    headers = {"Authorization": f"bearer {TOKEN}{expiry}"}
    assert client.post("/api/v1/metrics", json=documented_run, headers=headers).status_code == 201
    assert double.call().metadata["authorization"] == f"Bearer {TOKEN}{expiry}"


def test_two_bearers(gateway: Any, double: Any) -> None:
    """Two bearers are answered as none: it is unclear which one counts."""
    headers = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    response = httpx.get(f"{gateway.url}{RUNS}", headers=headers, trust_env=False)
    problem(response, 401)
    assert double.calls.empty()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_bearer_is_sent_on(gateway: Any, double: Any, scheme: str) -> None:
    """The token is sent on byte for byte, whatever the case of the scheme."""
    headers = {"Authorization": f"{scheme} !#~ {TOKEN}"}
    httpx.get(f"{gateway.url}{RUNS}", headers=headers, trust_env=False)
    assert double.call().metadata["authorization"] == f"Bearer !#~ {TOKEN}"


STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.CANCELLED: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
CODES = set(grpc.StatusCode) - {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


@pytest.mark.parametrize("code", sorted(CODES, key=str), ids=str)
def test_statuses(
    client: httpx.Client, double: Any, golden_run: Any, code: grpc.StatusCode
) -> None:
    """A status of the receiver becomes the same problem for every call; an unknown one is 500,
    and only texts that the receiver writes are sent.
    """
    status = STATUSES.get(code, 500)
    double.fail_all(code, "text of the receiver")
    for response in (
        client.post("/api/v1/metrics", json=golden_run),
        client.post("/api/v1/token", json=SCOPE),
        client.get(RUNS),
        client.get("/api/v1/repos"),
        client.get("/api/v1/repos/o/r/jobs"),
    ):
        problem(response, status)
        assert (response.json()["detail"] == "text of the receiver") == (status < 500)
        assert ("www-authenticate" in response.headers) == (status == 401)
        assert ("retry-after" in response.headers) == (status == 503)


def test_busy_or_too_large(client: httpx.Client, double: Any, golden_run: Any) -> None:
    """RESOURCE_EXHAUSTED is 429 with the receiver's Retry-After; without one a push is too large:
    413.
    """
    double.fail_all(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_seconds=2.5)
    response = client.post("/api/v1/metrics", json=golden_run)
    problem(response, 429)
    assert response.headers["retry-after"] == "3"
    double.fail_all(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max")
    problem(client.post("/api/v1/metrics", json=golden_run), 413)
    problem(client.post("/api/v1/token", json=SCOPE), 429)


def test_defect_of_the_receiver_is_logged(client: httpx.Client, gateway: Any, double: Any) -> None:
    """The log has what the client does not see, under the same request id."""
    double.token = double.fails(grpc.StatusCode.INTERNAL, "a disk is on fire")
    response = client.post("/api/v1/token", json=SCOPE, headers={"X-Request-ID": "on-fire-1"})
    assert "fire" not in response.json()["detail"]
    line = gateway.event("request.failed", request_id="on-fire-1")
    assert (line["code"], line["message"]) == ("INTERNAL", "a disk is on fire")


@pytest.mark.parametrize("given_id", ["a", "A.b_c-9", "x" * 64])
def test_request_id_kept(client: httpx.Client, double: Any, given_id: str) -> None:
    """A valid request id is kept in the answer and sent to the receiver."""
    response = client.get(RUNS, headers={"X-Request-ID": given_id})
    assert response.headers["x-request-id"] == given_id
    assert double.call().metadata["x-request-id"] == given_id


@pytest.mark.parametrize("given_id", ["", "x" * 65, "a b", "a\u00e4", '"', "a,b"])
def test_request_id_replaced(client: httpx.Client, double: Any, given_id: str) -> None:
    """An invalid request id is replaced by a new one."""
    response = client.get(RUNS, headers={b"X-Request-ID": given_id.encode("latin-1")})
    assert UUID(response.headers["x-request-id"]).version == 4
    assert double.call().metadata["x-request-id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        (RUNS, "/api/v1/metrics/repo/{org}/{repo}/{workflow}/{job}", 200),
        (
            "/api/v1/metrics/repo/o/o/r/w/j",
            "/api/v1/metrics/repo/{org}/{owner}/{name}/{workflow}/{job}",
            200,
        ),
        ("/health", "/health", 200),
        ("/api/v1/repos", "/api/v1/repos", 200),
        ("/api/v1/repos/o/secret-path/jobs", "/api/v1/repos/{org}/{repo}/jobs", 200),
        ("/api/v1/repos/o/o/r/jobs", "/api/v1/repos/{org}/{owner}/{name}/jobs", 200),
        ("/secret-path", None, 404),
    ],
)
def test_log_line(client: httpx.Client, gateway: Any, path: str, route: str, status: int) -> None:
    """Each request is one log line with the template of its route, not its path."""
    request_id = f"line-{abs(hash(path))}"
    began = time.monotonic()
    client.get(path, headers={"X-Request-ID": request_id})
    line = gateway.event("request.finished", request_id=request_id)
    assert (line["method"], line["route"], line["status"]) == ("GET", route, status)
    assert 0 <= line["duration_seconds"] <= time.monotonic() - began
    assert line["peer"].startswith("127.0.0.1:")
    assert "secret-path" not in json.dumps(line)
