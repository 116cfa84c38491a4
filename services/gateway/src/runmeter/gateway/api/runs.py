"""``/api/v1/metrics/repo/…``: the stored runs of one job, streamed page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, NoReturn, cast

from sanic import Blueprint, HTTPResponse

from runmeter.gateway.api.request import GatewayRequest
from runmeter.gateway.backend import Backend, Listing
from runmeter.gateway.problems import log_failed
from runmeter.gateway.query import next_page, parameters_of, query_of, scope_of
from runmeter.gateway.schemas import RunRecord, Scope, encode

REPO: Final = "/api/v1/metrics/repo"
JSON: Final = "application/json"


def runs_blueprint(backend: Backend) -> Blueprint:
    """Make the routes that list runs: one for each way to write a repository."""
    blueprint = Blueprint("runs")
    methods = ["GET", "HEAD"]

    async def list_runs(
        request: GatewayRequest, org: str, repo: str, workflow: str, job: str
    ) -> HTTPResponse | None:
        return await _answer(backend, request, (org, repo, workflow, job))

    async def list_runs_of_owner(
        request: GatewayRequest, org: str, owner: str, name: str, workflow: str, job: str
    ) -> HTTPResponse | None:
        return await _answer(backend, request, (org, f"{owner}/{name}", workflow, job))

    blueprint.add_route(list_runs, f"{REPO}/<org>/<repo>/<workflow>/<job>", methods)
    blueprint.add_route(
        list_runs_of_owner, f"{REPO}/<org>/<owner>/<name>/<workflow>/<job>", methods
    )
    return blueprint


async def _answer(
    backend: Backend, request: GatewayRequest, path: tuple[str, str, str, str]
) -> HTTPResponse | None:
    caller = request.caller()
    scope = scope_of(*path)
    parameters = parameters_of(request.query_string)
    query = query_of(scope, parameters)
    async with backend.list_runs(query, caller) as listing:
        headers = _headers(listing, scope, parameters)
        if _matches(request.headers.getall("if-none-match", []), headers["ETag"]):
            return HTTPResponse(status=304, headers=headers)
        if request.version == "1.0" and request.method == "GET":
            # has no chunks, so no way to tell a broken answer from a whole one: sent at once
            body = b"".join([part async for part in _array(listing.pages)])
            return HTTPResponse(body, headers=headers, content_type=JSON)
        await _stream(request, listing, headers)
        return None


async def _stream(request: GatewayRequest, listing: Listing, headers: dict[str, str]) -> None:
    """Send the array as it comes; what breaks it breaks the transfer."""
    parts = _array(listing.pages)
    first = await anext(parts)
    request.streams = True
    response = await request.respond(status=200, headers=headers, content_type=JSON)
    try:
        if request.method == "HEAD":
            await response.send(b"", end_stream=False)
        else:
            await response.send(first, end_stream=False)
            async for part in parts:
                await response.send(part, end_stream=False)
        await response.eof()
    except asyncio.CancelledError:
        request.log_finished(200, broken=True)
        raise
    except Exception as error:
        log_failed(error, request.request_id, request.route_template)
        request.log_finished(200, broken=True)
        _break(request)
    request.log_finished(200)


def _break(request: GatewayRequest) -> NoReturn:
    """Cut the connection, so that the last chunk never comes, and end the handler quietly."""
    if request.transport is not None:
        cast(asyncio.Transport, request.transport).abort()
    raise asyncio.CancelledError


async def _array(pages: AsyncIterator[list[RunRecord]]) -> AsyncIterator[bytes]:
    """Write a JSON array page by page; the closing bracket comes only after the last one."""
    separator = b"["
    async for page in pages:
        yield separator + encode(page)[1:-1]
        separator = b","
    yield b"[]" if separator == b"[" else b"]"


def _headers(listing: Listing, scope: Scope, parameters: dict[str, str]) -> dict[str, str]:
    headers = {"ETag": f'"{listing.etag}"', "Cache-Control": "private, no-cache"}
    if listing.next_before_id is not None:
        target = next_page(scope, parameters, listing.next_before_id)
        headers["Link"] = f'<{target}>; rel="next"'
    return headers


def _matches(if_none_match: list[str], etag: str) -> bool:
    """Compare weakly, as RFC 9110 13.1.2 has it for GET."""
    tags = [tag.strip() for value in if_none_match for tag in value.split(",")]
    return "*" in tags or etag in (tag.removeprefix("W/") for tag in tags)
