"""What each token permits; a client without one learns nothing."""

import itertools
from typing import Any

import grpc
import httpx
import pytest
from rig.problem import problem
from rig.stack import Scope, Stack, a_record, bearer

METRICS, TOKEN = "/api/v1/metrics", "/api/v1/token"
STRANGERS: list[dict[str, str]] = [
    {},
    bearer("guess"),
    bearer("0123456789abcdef" * 4),
    {"Authorization": "Basic Z3Vlc3M6Z3Vlc3M="},
]


def seen(answer: httpx.Response) -> tuple[int, dict[str, str], Any]:
    """Return what a caller sees of an answer, without what differs with every request."""
    changing = ("x-request-id", "date")
    headers = {k: v for k, v in answer.headers.items() if k.lower() not in changing}
    return answer.status_code, headers, {**answer.json(), "request_id": None}


@pytest.mark.parametrize("headers", STRANGERS, ids=["none", "guess", "push form", "basic"])
def test_existence_is_hidden(stack: Stack, scope: Scope, headers: dict[str, str]) -> None:
    """Without the right token a scope with runs and an unknown one give the same answer."""
    record = a_record(scope, push_id="0c8f5b1e-3d52-4c8e-9a57-6f1f0d2b7a44")
    assert stack.post(record, stack.token(scope)).status_code == 201
    unknown = scope._replace(organization="nobody", repository="nobody/repo")
    for known, other in (
        (stack.rest.get(s.path, headers=headers) for s in (scope, unknown)),
        (stack.rest.get(f"{s.path}?limit=0", headers=headers) for s in (scope, unknown)),
        (
            stack.rest.post(METRICS, json=record | s._asdict(), headers=headers)
            for s in (scope, unknown)
        ),
        (stack.rest.post(TOKEN, json=s._asdict(), headers=headers) for s in (scope, unknown)),
    ):
        assert known.status_code in (401, 403)
        assert seen(known) == seen(other)


def test_strangers_read_and_write_nothing(stack: Stack, scope: Scope) -> None:
    """No request without its bearer changes a row or shows a word of a run."""
    marker = "only-the-reader-may-see-this"
    other = scope._replace(job="other")
    assert stack.post(a_record(scope, run_id=marker), stack.token(scope)).status_code == 201
    wrong = {
        "push": [*STRANGERS, stack.reading, bearer(stack.token(other))],
        "read": [*STRANGERS, bearer(stack.token(scope))],
    }
    before = stack.row_counts()
    assert before["run"] >= 1
    for headers in wrong["push"]:
        for record in (a_record(scope), a_record(scope, run_id="")):
            answer = stack.rest.post(METRICS, json=record, headers=headers)
            assert answer.status_code in (401, 403)
            assert marker not in answer.text
    for headers in wrong["read"]:
        for method, path in itertools.product(
            ("GET", "HEAD"), (scope.path, f"{scope.path}?state=all")
        ):
            answer = stack.rest.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert marker not in answer.text
            assert "etag" not in answer.headers
        answer = stack.rest.post(TOKEN, json=scope._asdict(), headers=headers)
        assert answer.status_code == 401
        assert "token" not in answer.json()
    assert stack.row_counts() == before


def test_strangers_learn_nothing_over_grpc(stack: Stack, scope: Scope) -> None:
    """gRPC refuses the same clients."""
    before = stack.row_counts()
    for token in (None, "guess", stack.token(scope)):
        for call in (stack.rpc.runs, stack.rpc.mint):
            with pytest.raises(grpc.RpcError) as caught:
                call(scope, token)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert stack.row_counts() == before


def test_slashes_keep_scopes_apart(stack: Stack) -> None:
    """``a`` with ``b/c`` and ``a/b`` with ``c`` are two scopes: neither token fits the other."""
    one, other = Scope("a", "b/c", "w", "j"), Scope("a/b", "c", "w", "j")
    tokens = {scope: stack.token(scope) for scope in (one, other)}
    assert tokens[one] != tokens[other]
    problem(stack.post(a_record(one), tokens[other]), 403)
    problem(stack.post(a_record(other), tokens[one]), 403)
    assert stack.post(a_record(one, run_id="one"), tokens[one]).status_code == 201
    assert stack.post(a_record(other, run_id="other"), tokens[other]).status_code == 201
    (found,) = stack.listed(one)
    assert (found["organization"], found["repository"], found["run_id"]) == ("a", "a/b/c", "one")
    (found,) = stack.listed(other)
    assert (found["organization"], found["repository"]) == ("a/b", "a/b/c")
    assert found["run_id"] == "other"


def test_fields_do_not_run_into_each_other(stack: Stack) -> None:
    """Moving a letter from one name to the next makes another token."""
    scopes = [
        Scope("o", "o/r", "wj", "x"),
        Scope("o", "o/r", "w", "jx"),
        Scope("o", "o/rw", "j", "x"),
        Scope("or", "or/w", "j", "x"),
    ]
    assert len({stack.token(scope) for scope in scopes}) == len(scopes)


def test_both_forms_of_a_repository_share_a_token(stack: Stack, scope: Scope) -> None:
    """``repo`` and ``org/repo`` are one repository, for tokens, pushes and queries."""
    short = scope._replace(repository="repo")
    assert stack.token(short) == stack.token(scope)
    assert stack.post(a_record(short), stack.token(scope)).status_code == 201
    assert stack.post(a_record(scope), stack.token(short)).status_code == 201
    assert stack.listed(short) == stack.listed(scope)
    assert [run["repository"] for run in stack.listed(scope)] == [scope.repository] * 2


@pytest.mark.parametrize("field", Scope._fields)
def test_names_are_compared_byte_by_byte(stack: Stack, scope: Scope, field: str) -> None:
    """Upper case, a trailing space or another Unicode form is another name."""
    token = stack.token(scope)
    value = getattr(scope, field)
    for other in (value.upper(), f"{value} ", f"{value}\u00e9", f"{value}e\u0301"):
        changed = scope._replace(**{field: other})
        if field == "organization":
            changed = changed._replace(repository=f"{other}/repo")
        problem(stack.post(a_record(changed), token), 403)
    assert stack.listed(scope) == []


def test_checks_come_in_order(stack: Stack, scope: Scope) -> None:
    """Bearer, size, syntax, scope, token, then all other fields are checked."""
    good, other = stack.token(scope), stack.token(scope._replace(job="other"))
    bad_field = a_record(scope, exit_code=-1)
    bad_scope = a_record(scope._replace(job=""), exit_code=-1)
    lacking = a_record(scope)
    del lacking["run_id"]
    large = {"content": b" " * (2**20 + 1)}
    broken = {"content": b"{"}
    plain = {"Content-Type": "text/plain"}
    cases: list[tuple[dict[str, str], dict[str, Any], int]] = [
        ({}, large, 401),
        ({}, broken, 401),
        ({}, {"json": bad_scope}, 401),
        (stack.reading, large, 401),
        (bearer("guess"), large, 401),
        (bearer("guess"), broken, 401),
        (bearer("guess") | plain, broken, 401),
        (bearer(other) | plain, broken, 415),
        (bearer(good), large, 413),
        (bearer(other), large, 413),
        (bearer(other), broken, 400),
        (bearer(other), {"json": lacking}, 400),
        (bearer("guess"), {"json": lacking}, 401),
        (bearer(other), {"json": bad_scope}, 400),
        (bearer(other), {"json": bad_field}, 403),
        (bearer(good), {"json": bad_field}, 400),
    ]
    for headers, body, status in cases:
        sent = {"Content-Type": "application/json"} | headers
        problem(stack.rest.post(METRICS, headers=sent, **body), status)
    answer = stack.rest.post(METRICS, json=bad_scope, headers=bearer(other))
    assert problem(answer, 400).keys() == {"job"}
