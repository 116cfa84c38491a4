"""``/api/v1/repos…`` of the real program in front of a double of the receiver."""

from ipaddress import ip_address
from typing import Any

import grpc
import httpx
import pytest
from rig.problem import problem

from runmeter.v1 import run_service_pb2 as pb

REPOS = "/api/v1/repos"
JOBS = f"{REPOS}/my-org/my-repo/jobs"
LAST_RUN = pb.LastRun(id=2**53 + 1, state=3)
LAST_RUN.received_at.FromMilliseconds(1770388202185)
LAST_RUN_JSON = (
    '{"id":9007199254740993,"received_at":"2026-02-06T14:30:02.185Z","state":"completed"}'
)
PATHS = pytest.mark.parametrize("path", [REPOS, JOBS])


def test_repositories(client: httpx.Client, double: Any) -> None:
    """A bare array in the receiver's order; counts and ids are numbers."""
    page = pb.ListRepositoriesResponse()
    for name, count in (("b", 2**40), ("a", 1)):
        page.repositories.add(
            organization="o", repository=f"o/{name}", run_count=count, last_run=LAST_RUN
        )
    double.repositories = double.answers(page)
    response = client.get(REPOS)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "private, no-cache"
    assert "link" not in response.headers
    assert response.text == (
        f'[{{"organization":"o","repository":"o/b","run_count":{2**40},'
        f'"last_run":{LAST_RUN_JSON}}},'
        f'{{"organization":"o","repository":"o/a","run_count":1,"last_run":{LAST_RUN_JSON}}}]'
    )
    call = double.call()
    assert (call.method, call.request) == ("ListRepositories", pb.ListRepositoriesRequest())
    assert call.metadata["x-request-id"] == response.headers["x-request-id"]


def test_jobs(client: httpx.Client, double: Any) -> None:
    """A bare array of jobs."""
    page = pb.ListJobsResponse()
    page.jobs.add(workflow="ci.yml", job="build/x", run_count=7, last_run=LAST_RUN)
    double.jobs = double.answers(page)
    assert client.get(JOBS).text == (
        f'[{{"workflow":"ci.yml","job":"build/x","run_count":7,"last_run":{LAST_RUN_JSON}}}]'
    )


def test_a_state_only_a_newer_receiver_knows(client: httpx.Client, double: Any) -> None:
    """A state that the gateway does not know is left out."""
    page = pb.ListJobsResponse()
    page.jobs.add(workflow="w", job="j", run_count=1, last_run={"id": 1, "state": 99})
    double.jobs = double.answers(page)
    assert client.get(JOBS).json()[0]["last_run"] == {"id": 1, "received_at": EPOCH}


EPOCH = "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("my-org/my-repo", ("my-org", "my-repo")),
        ("my-org/my-org/my-repo", ("my-org", "my-org/my-repo")),
        ("my-org/my-org%2Fmy-repo", ("my-org", "my-org/my-repo")),
        ("my-org/my-org%252Fmy-repo", ("my-org", "my-org%2Fmy-repo")),
        ("a%2Fb/a%2Fb%2Fc%20%C3%B6", ("a/b", "a/b/c ö")),
        ("o/jobs", ("o", "jobs")),
        ("o/o/jobs", ("o", "o/jobs")),
    ],
)
def test_forms_of_a_repository(
    client: httpx.Client, double: Any, path: str, names: tuple[str, str]
) -> None:
    """All forms reach the receiver; each part is decoded once."""
    assert client.get(f"{REPOS}/{path}/jobs").status_code == 200
    request = double.call().request
    assert (request.organization, request.repository) == names


@PATHS
def test_parameters(client: httpx.Client, double: Any, path: str) -> None:
    """limit and after reach the receiver; here only their form is checked."""
    client.get(path, params={"limit": "0", "after": "b3A-_ö"})
    request = double.call().request
    assert (request.limit, request.after) == (0, "b3A-_ö")
    client.get(path)
    request = double.call().request
    assert not request.HasField("limit")
    assert not request.HasField("after")


@PATHS
def test_bad_parameters(client: httpx.Client, double: Any, path: str) -> None:
    """Unknown, repeated and malformed parameters are named; the receiver is not asked."""
    assert list(problem(client.get(f"{path}?before=1&state=all"), 400)) == ["before", "state"]
    assert list(problem(client.get(f"{path}?after=a&after=b"), 400)) == ["after"]
    assert list(problem(client.get(f"{path}?limit=many"), 400)) == ["limit"]
    assert double.calls.empty()


@PATHS
def test_what_the_receiver_refuses(client: httpx.Client, double: Any, path: str) -> None:
    """Fields that the receiver refuses are named as in path and query."""
    fields = {"organization": "a", "repository": "b", "limit": "c", "after": "d"}
    double.fail_all(grpc.StatusCode.INVALID_ARGUMENT, fields=fields)
    assert problem(client.get(path), 400) == fields


@pytest.mark.parametrize("path", [REPOS, f"{REPOS}/my-org/my-org/a%20b/jobs"])
def test_link(client: httpx.Client, double: Any, path: str) -> None:
    """If there are more entries there is a Link to the same query from there on."""
    double.repositories = double.answers(pb.ListRepositoriesResponse(next_after="bwBv_-x"))
    double.jobs = double.answers(pb.ListJobsResponse(next_after="bwBv_-x"))
    response = client.get(path, params={"limit": "2", "after": "old"})
    first = double.call().request
    client.get(response.url.join(response.links["next"]["url"]))
    second = double.call().request
    assert (first.after, second.after) == ("old", "bwBv_-x")
    second.after = first.after
    assert second == first


@PATHS
def test_etag(client: httpx.Client, double: Any, path: str) -> None:
    """Unchanged answers are 304; another entry, or a next page, changes the ETag."""
    first = client.get(path)
    tags = [first.headers["etag"]]
    again = client.get(path, headers={"If-None-Match": f"W/{tags[0]}"})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tags[0])
    double.repositories = double.answers(pb.ListRepositoriesResponse(next_after="x"))
    double.jobs = double.answers(pb.ListJobsResponse(next_after="x"))
    tags.append(client.get(path).headers["etag"])
    one = {"run_count": 1, "last_run": LAST_RUN}
    double.repositories = double.answers(pb.ListRepositoriesResponse(repositories=[one]))
    double.jobs = double.answers(pb.ListJobsResponse(jobs=[one]))
    changed = client.get(path, headers={"If-None-Match": tags[0]})
    assert changed.status_code == 200
    tags.append(changed.headers["etag"])
    assert len(set(tags)) == 3


@PATHS
def test_head_and_methods(client: httpx.Client, path: str) -> None:
    """HEAD has the headers of GET without a body; other methods are refused."""
    found, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-type", "content-length", "cache-control"):
        assert head.headers[name] == found.headers[name]
    refused = client.post(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_an_address_is_sent_without_its_port(double: Any, start: Any) -> None:
    """The address is sent without port, also from a socket for IPv6 and IPv4."""
    program = start(f"--receiver=grpc://127.0.0.1:{double.port}", "--addr=:0")
    port = program.address.rpartition(":")[2]
    with httpx.Client(trust_env=False, headers={"Authorization": "Bearer x"}) as client:
        client.get(f"http://127.0.0.1:{port}{REPOS}")
    sent = ip_address(double.call().metadata["x-forwarded-for"])
    assert str(getattr(sent, "ipv4_mapped", None) or sent) == "127.0.0.1"
