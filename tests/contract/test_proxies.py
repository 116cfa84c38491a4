"""Below a path of a reverse proxy, and behind one that decodes ``%2F``."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from rig.problem import problem
from rig.reverse import DOCUMENTED, PROGRAMS, proxying
from rig.stack import Scope, Stack, a_record

DECODING = {
    "nginx": """
        server {
            listen 8000;
            location /runmeter/ { proxy_pass http://127.0.0.1:8080/; }
        }
    """,
    "haproxy": DOCUMENTED["haproxy"].replace(
        "server gateway", "http-request set-path %[path,url_dec]\n    server gateway"
    ),
}
NAMES = sorted(DECODING)
REPO = "/api/v1/metrics/repo"


@pytest.fixture(params=NAMES)
def proxy(request: pytest.FixtureRequest) -> str:
    """The name of a proxy."""
    name: str = request.param
    if PROGRAMS[name] is None:
        pytest.skip(f"needs {name}")
    return name


@pytest.fixture
def below(proxy: str, stack: Stack, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the gateway below a path, with the documented lines."""
    gateway = stack.gateway.url.removeprefix("http://")
    with proxying(proxy, DOCUMENTED[proxy], gateway, tmp_path) as address:
        yield from reader(stack, address)


@pytest.fixture
def decoded(proxy: str, stack: Stack, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the gateway below a path of a proxy that decodes."""
    gateway = stack.gateway.url.removeprefix("http://")
    with proxying(proxy, DECODING[proxy], gateway, tmp_path) as address:
        yield from reader(stack, address)


def reader(stack: Stack, address: str) -> Iterator[httpx.Client]:
    """Yield a client that may read."""
    url = f"http://{address}/runmeter/"
    with httpx.Client(base_url=url, headers=stack.reading, trust_env=False, timeout=20) as client:
        yield client


def pushed(stack: Stack, scope: Scope, count: int = 1) -> list[int]:
    """Push runs; return their ids, the newest first."""
    token = stack.token(scope)
    found = [stack.post(a_record(scope), token).json()["id"] for _ in range(count)]
    return found[::-1]


def test_links(below: httpx.Client, stack: Stack, scope: Scope) -> None:
    """Link leads through all pages of runs and of jobs, also of names with a slash; the same
    lines serve the API at the root.
    """
    scope = scope._replace(workflow="a b?", job="test/linux")
    ids = pushed(stack, scope, 3)
    pushed(stack, scope._replace(job="test/mac"))
    runs, jobs = scope.path, f"/api/v1/repos/{quote(scope.repository)}/jobs"
    assert [run["id"] for run in followed(below, runs)] == ids
    at_root = below.get(below.base_url.join("/").join(runs))
    assert [run["id"] for run in at_root.json()] == ids
    assert [job["job"] for job in followed(below, jobs)] == ["test/linux", "test/mac"]


def followed(client: httpx.Client, path: str) -> Iterator[dict[str, object]]:
    """Yield the entries of all pages, one by one."""
    url: httpx.URL | None = httpx.URL(f"{client.base_url}{path[1:]}?limit=1")
    while url is not None:
        answer = client.get(url)
        assert answer.status_code == 200, answer.text
        yield from answer.json()
        following = answer.links.get("next")
        url = None if following is None else answer.url.join(following["url"])


@pytest.mark.parametrize("path", ["docs", "docs/"])
def test_docs(below: httpx.Client, path: str) -> None:
    """The page finds its files and the document, and the document finds the API."""
    page = below.get(path, follow_redirects=True)
    assert page.status_code == 200
    named = re.findall(r'(?:src|href)="([^":]+)"', page.text)
    assert len(named) == 4
    for address in named:
        assert below.get(page.url.join(address)).status_code == 200
    document = below.get(page.url.join("openapi.json"))
    (server,) = document.json()["servers"]
    assert below.get(document.url.join(server["url"]).join("health")).status_code == 200


@pytest.mark.parametrize(
    "names",
    [
        ("{o}", "{o}/repo", "ci.yml", "test/linux"),
        ("{o}", "{o}/repo", "team/ci.yml", "build"),
        ("{o}/sub", "{o}/sub/repo", "ci.yml", "build"),
    ],
    ids=["job", "workflow", "organization"],
)
def test_decoded_slash(
    decoded: httpx.Client, stack: Stack, scope: Scope, names: tuple[str, ...]
) -> None:
    """A path that a proxy has decoded is not the empty listing of another job: 404 says why."""
    scope = Scope(*(name.format(o=scope.organization) for name in names))
    pushed(stack, scope)
    short = scope._replace(repository="repo")
    answer = decoded.get(short.path[1:])
    problem(answer, 404)
    assert f"only of {short.path.removeprefix(REPO)[1:]}:" in answer.json()["detail"]
    assert "a proxy has decoded it" in answer.json()["detail"]
    problem(decoded.get(scope.path[1:]), 404)
    if "/" in scope.organization:
        jobs = f"api/v1/repos/{quote(scope.organization, safe='')}/repo/jobs"
        answer = decoded.get(jobs)
        problem(answer, 404)
        assert f"only of {quote(scope.organization, safe='')}/repo:" in answer.json()["detail"]


def test_decoded_without_harm(decoded: httpx.Client, stack: Stack, scope: Scope) -> None:
    """The full name of a repository is found in any form, and nothing stored is still ``[]``."""
    (number,) = pushed(stack, scope)
    for path in (scope.path, scope._replace(repository="repo").path):
        assert [run["id"] for run in decoded.get(path[1:]).json()] == [number]
        assert decoded.get(f"{path[1:]}?run_id=none").json() == []
    assert decoded.get(scope._replace(job="never").path[1:]).json() == []
    three = scope._replace(repository=f"{scope.organization}/group/repo")
    pushed(stack, three)
    path = f"{REPO}/{scope.organization}/group/repo/{three.workflow}/{three.job}"
    assert len(decoded.get(path[1:]).json()) == 1
