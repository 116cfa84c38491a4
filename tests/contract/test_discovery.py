"""What there is to query, over REST: repositories and jobs, with their runs counted."""

import re
from typing import Any

import httpx
import pytest
from rig.stack import Scope, Stack, a_record, bearer

REPOS = "/api/v1/repos"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def get(stack: Stack, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return what a path lists."""
    answer = stack.rest.get(path, params=parameters, headers=stack.reading)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def push(stack: Stack, scope: Scope, **more: Any) -> int:
    """Push a run; return its id."""
    answer = stack.post(a_record(scope, **more), stack.token(scope))
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def test_what_is_pushed_is_found(own_stack: Stack, scope: Scope) -> None:
    """From nothing to everything: repositories, their jobs, and with these names the runs."""
    stack = own_stack
    assert get(stack, REPOS) == []
    other = scope._replace(job="test/linux")
    push(stack, scope)
    push(stack, other, push_id="0c8f5b1e-3d52-4c8e-9a57-6f1f0d2b7a40", state="running", revision=1)
    last_id = push(stack, scope)
    (repository,) = get(stack, REPOS)
    last_run = repository.pop("last_run")
    owner = scope.organization
    assert repository == {"organization": owner, "repository": f"{owner}/repo", "run_count": 3}
    assert (last_run["id"], last_run["state"]) == (last_id, "completed")
    assert TIME.fullmatch(last_run["received_at"])
    build, test = get(stack, f"{REPOS}/{owner}/repo/jobs")
    assert build == {"workflow": "ci.yml", "job": "build", "run_count": 2, "last_run": last_run}
    assert (test["job"], test["run_count"]) == ("test/linux", 1)
    assert test["last_run"]["state"] == "running"
    for job in (build, test):
        names = Scope(owner, repository["repository"], job["workflow"], job["job"])
        runs = stack.listed(names, state="all")
        assert len(runs) == job["run_count"]
        assert {field: runs[0][field] for field in job["last_run"]} == job["last_run"]


def test_every_form_of_the_path(stack: Stack, scope: Scope) -> None:
    """The short name, the full path with a slash and with %2F are one repository."""
    push(stack, scope)
    owner = scope.organization
    forms = (f"{owner}/repo", f"{owner}/{owner}/repo", f"{owner}/{owner}%2Frepo")
    found = [get(stack, f"{REPOS}/{form}/jobs") for form in forms]
    assert len(found[0]) == 1
    assert found == [found[0]] * 3


@pytest.mark.parametrize(
    ("organization", "repository"),
    [
        ("gruppe/teil", "gruppe/teil/pro/jekt"),
        ("\u00fc \u540d", "\u00fc \u540d/a b+c?d#e&f=g%2Fh"),
    ],
)
def test_names_come_back_as_they_were(stack: Stack, organization: str, repository: str) -> None:
    """Any allowed name is listed, and its jobs can be asked for; links keep it."""
    scope = Scope(organization, repository, "w/\U0001f6e0", '"%_\\')
    push(stack, scope)
    push(stack, scope._replace(job="z"))
    names = [(one["organization"], one["repository"]) for one in get(stack, REPOS, limit=10000)]
    assert (organization, repository) in names
    path = f"{REPOS}/{'/'.join(scope.path.split('/')[5:7])}/jobs"
    (first,), (second,) = stack.pages(f"{path}?limit=1")
    assert [(one["workflow"], one["job"]) for one in (first, second)] == [
        (scope.workflow, scope.job),
        (scope.workflow, "z"),
    ]


def test_pages(stack: Stack, scope: Scope) -> None:
    """``limit`` cuts, ``Link`` leads on: nothing twice, nothing lost, in the same order."""
    for number in range(7):
        push(stack, scope._replace(repository=f"{scope.organization}/{number}", job="j"))
    whole = get(stack, REPOS, limit=10000)
    pages = stack.pages(f"{REPOS}?limit=3")
    assert [one for page in pages for one in page] == whole
    assert {len(page) for page in pages[:-1]} == {3}
    ours = [one["repository"] for one in whole if one["organization"] == scope.organization]
    assert ours == [f"{scope.organization}/{number}" for number in range(7)]


def test_etag(stack: Stack, scope: Scope) -> None:
    """What has not changed is answered 304; a push changes the tag."""
    push(stack, scope)
    for path in (REPOS, f"{REPOS}/{scope.organization}/repo/jobs"):
        first = stack.rest.get(path, headers=stack.reading)
        tag = {"If-None-Match": first.headers["etag"]}
        assert stack.rest.get(path, headers=stack.reading | tag).status_code == 304
        push(stack, scope)
        changed = stack.rest.get(path, headers=stack.reading | tag)
        assert changed.status_code == 200
        assert changed.headers["etag"] != first.headers["etag"]


def test_bad_names(stack: Stack) -> None:
    """A name that no repository can have is a 400, one that none has an empty list."""
    answer = stack.rest.get(f"{REPOS}/o/a%00b/jobs", headers=stack.reading)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["repository"]
    assert get(stack, f"{REPOS}/nobody/nothing/jobs") == []


def test_existence_is_hidden(stack: Stack, scope: Scope) -> None:
    """To all but the reader, a repository with runs and one that never was look the same."""
    push(stack, scope)
    strangers = [{}, bearer("guess"), bearer(stack.token(scope)), {"Authorization": "Basic eDp5"}]
    for headers in strangers:
        paths = (f"{REPOS}/{scope.organization}/repo/jobs", f"{REPOS}/nobody/nothing/jobs", REPOS)
        answers = [stack.rest.get(path, headers=headers) for path in paths]
        assert [seen(answer) for answer in answers] == [seen(answers[0])] * 3
        assert answers[0].status_code == 401
        assert "etag" not in answers[0].headers
        bad = [stack.rest.get(f"{path}?limit=0", headers=headers) for path in paths]
        assert [answer.status_code for answer in bad] == [401] * 3


def seen(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    """Return what a caller sees of a problem, without what differs with every request."""
    return answer.status_code, {**answer.json(), "request_id": None}
