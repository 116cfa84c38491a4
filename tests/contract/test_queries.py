"""Reading runs over REST: paths, pages, filters, names."""

import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from rig.stack import Scope, Stack, a_record

REPO = "/api/v1/metrics/repo"


def get(stack: Stack, path: str) -> list[dict[str, Any]]:
    """Return what a path lists."""
    answer = stack.rest.get(path, headers=stack.reading)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_every_form_of_the_path(stack: Stack, scope: Scope) -> None:
    """The short name, the full path with a slash and with %2F, in either case, are one."""
    assert stack.post(a_record(scope), stack.token(scope)).status_code == 201
    owner = scope.organization
    forms = [
        f"{REPO}/{owner}/repo/ci.yml/build",
        f"{REPO}/{owner}/{owner}/repo/ci.yml/build",
        f"{REPO}/{owner}/{owner}%2Frepo/ci.yml/build",
        f"{REPO}/{owner}/{owner}%2frepo/ci.yml/build",
        f"{REPO}/{owner}/repo/ci%2Eyml/%62uild",
    ]
    found = [get(stack, form) for form in forms]
    assert len(found[0]) == 1
    assert found[0][0]["repository"] == f"{owner}/repo"
    assert [one for one in found if one != found[0]] == []


@pytest.mark.parametrize(
    "names",
    [
        ("gruppe/unter", "gruppe/unter/pro/jekt", "a/b.yml", "build/linux"),
        ("o", "o/r", "CI: \u00fcbung \u540d\u524d \U0001f6e0", "a b+c?d#e&f=g%h"),
        ("o", "o/r", "%2F", "%252F"),
        ("o", "o/r", "w", '"\\<>'),
        ("o", "o/r", "...", "/"),
    ],
    ids=["slashes", "unicode", "percent", "quotes", "dots"],
)
def test_names_come_back_as_they_were(stack: Stack, names: tuple[str, str, str, str]) -> None:
    """Any allowed name can be pushed and queried; a path part is decoded exactly once."""
    scope = Scope(*names)
    assert stack.post(a_record(scope), stack.token(scope)).status_code == 201
    (found,) = stack.listed(scope)
    assert tuple(found[field] for field in Scope._fields) == names


def test_names_in_another_case(stack: Stack, scope: Scope) -> None:
    """A query of names that are stored in another case is 404 and names them, nothing else does."""
    assert stack.post(a_record(scope), stack.token(scope)).status_code == 201
    stored = f"repository {scope.repository}, workflow ci.yml, job build;"
    other = scope.organization.upper()
    for path in (f"{other}/repo/ci.yml/build", f"{scope.organization}/REPO/Ci.yml/bUILD"):
        answer = stack.rest.get(f"{REPO}/{path}", headers=stack.reading)
        assert answer.status_code == 404
        assert stored in answer.json()["detail"]
    jobs = stack.rest.get(f"/api/v1/repos/{other}/repo/jobs", headers=stack.reading)
    assert jobs.status_code == 404
    assert f"only of repository {scope.repository};" in jobs.json()["detail"]
    named = scope._replace(workflow="Straße.yml")
    assert stack.post(a_record(named), stack.token(named)).status_code == 201
    folder = "/".join((scope.organization, "repo", "STRAßE.yml", "build"))
    answer = stack.rest.get(f"{REPO}/{folder}", headers=stack.reading)
    assert "workflow Straße.yml, job build;" in answer.json()["detail"]
    # a scope that has runs which the filters exclude, and one that is like none
    assert get(stack, f"{scope.path}?run_id=other") == []
    assert get(stack, f"{REPO}/{other}/repo/ci.yml/builds") == []
    push_token = {"Authorization": f"Bearer {stack.token(scope)}"}
    denied = stack.rest.get(f"{REPO}/{other}/repo/ci.yml/build", headers=push_token)
    assert denied.status_code == 401


def test_pages(stack: Stack, scope: Scope) -> None:
    """``limit`` cuts, ``Link`` leads on, newest first, nothing twice, nothing lost."""
    token = stack.token(scope)
    ids = [stack.post(a_record(scope), token).json()["id"] for _ in range(7)]
    pages = stack.pages(f"{scope.path}?limit=3&run_id=run-123")
    assert [run["id"] for page in pages for run in page] == sorted(ids, reverse=True)
    assert len(pages) == 3
    assert [run["id"] for run in stack.listed(scope, before=ids[2])] == [ids[1], ids[0]]


def test_more_than_one_page_of_the_receiver(stack: Stack, scope: Scope) -> None:
    """More runs than the receiver puts in one message are one JSON array."""
    token = stack.token(scope)
    ids = [stack.post(a_record(scope), token).json()["id"] for _ in range(120)]
    assert [run["id"] for run in stack.listed(scope)] == sorted(ids, reverse=True)


def test_filters(stack: Stack, scope: Scope) -> None:
    """``run_id``, ``state``, ``since`` and ``until`` choose what they say."""
    token = stack.token(scope)
    for number, state in enumerate(("completed", "interrupted", "running")):
        record = a_record(scope, run_id=f"run-{number}", state=state, revision=1)
        record["push_id"] = f"0c8f5b1e-3d52-4c8e-9a57-6f1f0d2b7a4{number}"
        assert stack.post(record, token).status_code == 201
        until = time.monotonic() + 0.003
        while time.monotonic() < until:  # received in another millisecond
            pass

    def chosen(**parameters: str) -> set[str]:
        return {run["run_id"] for run in stack.listed(scope, **parameters)}

    assert chosen() == {"run-0", "run-1"}
    assert chosen(state="all") == {"run-0", "run-1", "run-2"}
    assert chosen(state="running") == {"run-2"}
    assert chosen(state="interrupted") == {"run-1"}
    assert chosen(state="completed") == {"run-0"}
    assert chosen(run_id="run-1") == {"run-1"}
    assert chosen(run_id="run-2") == set()
    middle = next(r for r in stack.listed(scope) if r["run_id"] == "run-1")["received_at"]
    assert chosen(state="all", since=middle) == {"run-1", "run-2"}
    assert chosen(state="all", until=middle) == {"run-0"}
    moved = datetime.fromisoformat(middle) + timedelta(hours=2)
    local = moved.replace(tzinfo=None).isoformat(timespec="milliseconds") + "+02:00"
    assert chosen(state="all", since=local) == {"run-1", "run-2"}


def test_etag(stack: Stack, scope: Scope) -> None:
    """What has not changed is answered 304; a push changes the tag."""
    token = stack.token(scope)
    stack.post(a_record(scope), token)
    first = stack.rest.get(scope.path, headers=stack.reading)
    tag = {"If-None-Match": first.headers["etag"]}
    again = stack.rest.get(scope.path, headers=stack.reading | tag)
    assert (again.status_code, again.content) == (304, b"")
    stack.post(a_record(scope), token)
    changed = stack.rest.get(scope.path, headers=stack.reading | tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


def test_a_run_survives_the_receiver(own_stack: Stack, scope: Scope) -> None:
    """What was answered 201 is there after the receiver was killed and started again."""
    stack = own_stack
    assert stack.post(a_record(scope), stack.token(scope)).status_code == 201
    before = stack.listed(scope)
    old = stack.receiver
    old.process.kill()
    assert old.wait() == -9
    stack.stage.receiver(address=old.address, read_token=old.read_token, database=old.database)
    deadline = time.monotonic() + 20
    while stack.rest.get(scope.path, headers=stack.reading).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stack.listed(scope) == before
