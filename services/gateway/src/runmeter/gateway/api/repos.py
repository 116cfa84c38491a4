"""``/api/v1/repos…``: the repositories that have runs, and the jobs of a repository."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from sanic import Blueprint, HTTPResponse

from runmeter.gateway.api.paging import is_known, listing_headers
from runmeter.gateway.api.query import PAGE_PARAMETERS, next_page, parse, path_of
from runmeter.gateway.model import PageQuery
from runmeter.gateway.receiver.client import Backend, Page
from runmeter.gateway.schemas.api import encode
from runmeter.gateway.web.problems import Routes
from runmeter.gateway.web.request import GatewayRequest

REPOS = "/api/v1/repos"
JSON = "application/json"


def repos_blueprint(backend: Backend) -> Blueprint:
    """Make the routes that list repositories and jobs."""
    blueprint = Routes("repos")
    methods = ["GET", "HEAD"]

    async def list_repositories(request: GatewayRequest) -> HTTPResponse:
        caller = request.caller()
        _, parameters, values = parse({}, request.query_string, PAGE_PARAMETERS)
        page = await backend.list_repositories(PageQuery(**values), caller)
        return _answer(request, page, REPOS, parameters)

    async def list_jobs(request: GatewayRequest, org: str, repo: str) -> HTTPResponse:
        caller = request.caller()
        raw = {"organization": org, "repository": repo}
        names, parameters, values = parse(raw, request.query_string, PAGE_PARAMETERS)
        page = await backend.list_jobs(**names, query=PageQuery(**values), caller=caller)
        return _answer(request, page, f"{REPOS}/{path_of(*names.values())}/jobs", parameters)

    async def list_jobs_of_owner(
        request: GatewayRequest, org: str, owner: str, name: str
    ) -> HTTPResponse:
        return await list_jobs(request, org, f"{owner}/{name}")

    blueprint.add_route(list_repositories, REPOS, methods)
    blueprint.add_route(list_jobs, f"{REPOS}/<org>/<repo>/jobs", methods)
    blueprint.add_route(list_jobs_of_owner, f"{REPOS}/<org>/<owner>/<name>/jobs", methods)
    return blueprint


def _answer(
    request: GatewayRequest, page: Page[Any], path: str, parameters: Mapping[str, str]
) -> HTTPResponse:
    following = None
    if page.next_after is not None:
        following = next_page(path, parameters, after=page.next_after)
    body = encode(page.entries)
    # the last page may have the same entries as before, but no Link
    tag = sha256(body + (page.next_after or "").encode()).hexdigest()[:32]
    headers = listing_headers(tag, following)
    if is_known(request, headers):
        return HTTPResponse(status=304, headers=headers)
    return HTTPResponse(body, headers=headers, content_type=JSON)
