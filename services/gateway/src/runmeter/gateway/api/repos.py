"""``/api/v1/repos…``: the repositories that have runs, and the jobs of a repository."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from sanic import Blueprint, HTTPResponse

from runmeter.gateway.api.paging import is_known, listing_headers
from runmeter.gateway.api.query import (
    PAGE_PARAMETERS,
    decode_component,
    next_page,
    other_readings,
    parse,
    path_of,
)
from runmeter.gateway.errors import DecodedSlash
from runmeter.gateway.model import PageQuery
from runmeter.gateway.receiver.client import Backend, Page
from runmeter.gateway.schemas.api import encode
from runmeter.gateway.web.problems import Routes
from runmeter.gateway.web.request import GatewayRequest

REPOS = "/api/v1/repos"
JSON = "application/json"
_NAMES = ("organization", "repository")


def repos_blueprint(backend: Backend) -> Blueprint:
    """Make the routes that list repositories and jobs."""
    blueprint = Routes("repos")
    methods = ["GET", "HEAD"]

    async def list_repositories(request: GatewayRequest) -> HTTPResponse:
        caller = request.caller()
        _, parameters, values = parse(request.query_string, PAGE_PARAMETERS)
        page = await backend.list_repositories(PageQuery(**values), caller)
        return _answer(request, page, parameters)

    async def list_jobs(request: GatewayRequest, org: str, repo: str) -> HTTPResponse:
        return await answer_jobs(request, (org, repo))

    async def list_jobs_of_owner(
        request: GatewayRequest, org: str, owner: str, name: str
    ) -> HTTPResponse:
        return await answer_jobs(request, (org, owner, name))

    async def answer_jobs(request: GatewayRequest, parts: tuple[str, ...]) -> HTTPResponse:
        caller = request.caller()
        names, parameters, values = parse(request.query_string, PAGE_PARAMETERS, _NAMES, parts)
        page = await backend.list_jobs(**names, query=PageQuery(**values), caller=caller)
        if not page.entries and "after" not in parameters:
            for other in other_readings(parts, len(_NAMES)):
                organization, repository = map(decode_component, other)
                found = await backend.list_jobs(organization, repository, PageQuery(1), caller)
                if found.entries:
                    raise DecodedSlash(path_of(organization, repository))
        return _answer(request, page, parameters)

    blueprint.add_route(list_repositories, REPOS, methods)
    blueprint.add_route(list_jobs, f"{REPOS}/<org>/<repo>/jobs", methods)
    blueprint.add_route(list_jobs_of_owner, f"{REPOS}/<org>/<owner>/<name>/jobs", methods)
    return blueprint


def _answer(
    request: GatewayRequest, page: Page[Any], parameters: Mapping[str, str]
) -> HTTPResponse:
    following = None
    if page.next_after is not None:
        following = next_page(parameters, after=page.next_after)
    body = encode(page.entries)
    # the last page may have the same entries as before, but no Link
    tag = sha256(body + (page.next_after or "").encode()).hexdigest()[:32]
    headers = listing_headers(tag, following)
    if is_known(request, headers):
        return HTTPResponse(status=304, headers=headers)
    return HTTPResponse(body, headers=headers, content_type=JSON)
