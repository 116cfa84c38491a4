"""Statuses that gateway and receiver decide together; those of the gateway are tested there."""

import re
import time
from typing import Any

import httpx
import pytest
from rig.problem import problem
from rig.stack import Scope, Stack, a_record, bearer

SCOPE = Scope("status", "status/repo", "ci.yml", "build")
METRICS, TOKEN, LISTING = "/api/v1/metrics", "/api/v1/token", SCOPE.path
ROUTES = [
    ("POST", METRICS),
    ("POST", TOKEN),
    ("GET", LISTING),
]
UNKNOWN_PUSH_TOKEN = "0123456789abcdef" * 4


def request(stack: Stack, method: str, path: str, **more: Any) -> httpx.Response:
    """Send a good request, with what ``more`` replaces."""
    if path == LISTING:
        return stack.rest.request(method, path, **{"headers": stack.reading, **more})
    token = stack.token(SCOPE) if path == METRICS else stack.receiver.read_token
    body = a_record(SCOPE) if path == METRICS else SCOPE._asdict()
    good = {"headers": bearer(token)} | ({} if "content" in more else {"json": body})
    return stack.rest.request(method, path, **{**good, **more})


def test_success(stack: Stack, scope: Scope) -> None:
    """200 for a token, 201 for a run, 200 for the same run again, 200 for the listing."""
    answer = stack.rest.post(TOKEN, json=scope._asdict(), headers=stack.reading)
    assert answer.status_code == 200
    assert answer.json().keys() == {"token"}
    token = stack.stage.keep(answer.json()["token"])
    assert re.fullmatch(r"[0-9a-f]{64}", token)
    record = a_record(scope, push_id="0c8f5b1e-3d52-4c8e-9a57-6f1f0d2b7a44")
    first = stack.post(record, token)
    again = stack.post(record, token)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == {"id": first.json()["id"], "duplicate": False}
    assert again.json() == {"id": first.json()["id"], "duplicate": True}
    assert [run["id"] for run in stack.listed(scope)] == [first.json()["id"]]


def test_nothing_stored_is_an_empty_array(stack: Stack, scope: Scope) -> None:
    """A scope without runs reads as ``[]``: 200, not 404."""
    assert stack.listed(scope) == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic bXktc2VjcmV0LXRva2Vu"},
        bearer("not-a-token-of-ours"),
        bearer("a b"),
        bearer(UNKNOWN_PUSH_TOKEN.upper()),
        bearer(UNKNOWN_PUSH_TOKEN[:-1]),
        bearer("x" * 5000),
    ],
    ids=["none", "empty", "no-token", "basic", "unknown", "two", "upper", "short", "long"],
)
def test_401(stack: Stack, method: str, path: str, headers: dict[str, str]) -> None:
    """Without a bearer of the right form the answer is 401, and names the scheme."""
    answer = request(stack, method, path, headers=headers)
    assert problem(answer, 401) == {}
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_401_for_the_other_kind_of_token(stack: Stack, scope: Scope) -> None:
    """The read token may not push, a push token may not read or mint."""
    token = stack.token(scope)
    problem(stack.post(a_record(scope), stack.receiver.read_token), 401)
    problem(stack.rest.get(scope.path, headers=bearer(token)), 401)
    problem(stack.rest.post(TOKEN, json=scope._asdict(), headers=bearer(token)), 401)


def test_403(stack: Stack, scope: Scope) -> None:
    """A push token of another scope is refused."""
    other = stack.token(scope._replace(job="other"))
    for token in (other, UNKNOWN_PUSH_TOKEN, f"{UNKNOWN_PUSH_TOKEN}.4294967296"):
        assert problem(stack.post(a_record(scope), token), 403) == {}
    assert stack.listed(scope) == []


def test_400_names_all_fields(stack: Stack, scope: Scope) -> None:
    """All bad fields are named at once, as the JSON names them."""
    record = a_record(scope, run_id="x" * 256, exit_code=256, labels={"": "x"})
    record["payload"]["sample_count"] = -1
    record["payload"]["containers"] = [{"name": ""}]
    errors = problem(stack.post(record, stack.token(scope)), 400)
    assert {
        "run_id",
        "exit_code",
        "payload.sample_count",
        "payload.containers[0].name",
    } <= errors.keys()
    assert any(field.startswith("labels") for field in errors)
    assert stack.listed(scope) == []


def test_400_of_a_token_request(stack: Stack) -> None:
    """Names of a token request are checked as those of a push are."""
    body = {"organization": "a/../b", "repository": "", "workflow": "w\n", "job": "j" * 256}
    answer = stack.rest.post(TOKEN, json={**body, "expires_in_seconds": 0}, headers=stack.reading)
    assert problem(answer, 400).keys() == {*body, "expires_in_seconds"}


def test_409(stack: Stack, scope: Scope) -> None:
    """An equal push with other content conflicts; what is stored stays."""
    token = stack.token(scope)
    record = a_record(scope, push_id="0c8f5b1e-3d52-4c8e-9a57-6f1f0d2b7a44")
    assert stack.post(record, token).status_code == 201
    assert problem(stack.post(record | {"run_id": "other"}, token), 409) == {}
    assert [run["run_id"] for run in stack.listed(scope)] == ["run-123"]


def test_the_largest_body_is_taken(stack: Stack, scope: Scope) -> None:
    """A body of exactly the limit is read: ignored fields may fill it."""
    token = stack.token(scope)
    body = httpx.Request("POST", "http://x", json=a_record(scope, ignored="")).content
    filled = body.replace(b'"ignored":""', b'"ignored":"%s"' % (b"x" * (2**20 - len(body))))
    assert len(filled) == 2**20
    headers = bearer(token) | {"Content-Type": "application/json"}
    assert stack.rest.post(METRICS, content=filled, headers=headers).status_code == 201


def test_415_for_a_compressed_body(stack: Stack) -> None:
    """A content encoding is not undone, so it is refused."""
    headers = bearer(stack.token(SCOPE)) | {"Content-Encoding": "gzip"}
    problem(stack.rest.post(METRICS, json={}, headers=headers), 415)


def test_503_without_receiver(own_stack: Stack) -> None:
    """Without the receiver every route says so and when to come back; /health still answers.

    When the receiver is there again, at the same address, the gateway finds it by itself.
    """
    stack = own_stack
    token = stack.token(SCOPE)
    receiver = stack.receiver
    assert receiver.stop() == 0
    sent = [
        lambda: stack.post(a_record(SCOPE), token),
        lambda: stack.rest.post(TOKEN, json=SCOPE._asdict(), headers=stack.reading),
        lambda: stack.rest.get(LISTING, headers=stack.reading),
    ]
    for send in sent:
        answer = send()
        assert problem(answer, 503) == {}
        assert int(answer.headers["retry-after"]) >= 1
    assert stack.rest.get("/health").status_code == 200
    stack.stage.receiver(
        address=receiver.address, read_token=receiver.read_token, database=receiver.database
    )
    deadline = time.monotonic() + 20
    while (status := sent[2]().status_code) == 503 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status == 200
