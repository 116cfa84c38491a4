"""``/api/v1/metrics/repo/…``: the stored runs of one job, streamed page by page."""

import asyncio
from collections.abc import AsyncIterator

from sanic import Blueprint, HTTPResponse

from runmeter.gateway.api.paging import is_known, listing_headers, wants_gzip
from runmeter.gateway.api.query import RUN_PARAMETERS, next_page, parse, path_of
from runmeter.gateway.model import RunQuery
from runmeter.gateway.receiver.client import Backend, Listing
from runmeter.gateway.schemas.api import Scope, StoredRun, encode_into
from runmeter.gateway.web.encoding import Buffer, Gzip
from runmeter.gateway.web.problems import Routes, log_failed
from runmeter.gateway.web.request import GatewayRequest

REPO = "/api/v1/metrics/repo"
JSON = "application/json"
_SMALL_BYTES = 65_536


def runs_blueprint(backend: Backend) -> Blueprint:
    """Make the routes that list runs: a repository is one part of the path, or two."""
    blueprint = Routes("runs")
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
    raw = dict(zip(Scope.__struct_fields__, path, strict=True))
    names, parameters, values = parse(raw, request.query_string, RUN_PARAMETERS)
    scope = Scope(**names)
    query = RunQuery(scope, **values)
    async with backend.list_runs(query, caller) as listing:
        headers = _headers(listing, scope, parameters)
        gzip = Gzip() if wants_gzip(request, headers) else None
        if is_known(request, headers):
            return HTTPResponse(status=304, headers=headers)
        first = await anext(listing.pages, None)  # errors before this become a problem
        if gzip is not None:
            headers["Content-Encoding"] = "gzip"
        parts = _parts(first or [], listing.pages, gzip)
        if first is None or request.version == "1.0":
            # without chunks a broken answer looks complete: it is sent as a whole
            body = b"".join([bytes(part) async for part in parts])
            return HTTPResponse(body, headers=headers, content_type=JSON)
        await _stream(request, parts, headers)
        return None


async def _stream(
    request: GatewayRequest, parts: AsyncIterator[Buffer], headers: dict[str, str]
) -> None:
    """Send the array page by page; an error of the stream breaks the transfer.

    Only after a stream that ended without error the closing bracket and the last chunk are sent.
    """
    count_sent = request.app.ctx.metrics.body_sent
    request.streams = True
    response = await request.respond(status=200, headers=headers, content_type=JSON)
    try:
        if request.method == "HEAD":
            await response.send(b"", end_stream=False)
            request.end_head()
        else:
            async for part in parts:
                await response.send(part, end_stream=False)
                count_sent(len(part))
            await response.send(b"", end_stream=True)
    except asyncio.CancelledError:
        request.log_finished(200, broken=True)
        raise
    except Exception as error:
        log_failed(error, request.request_id, request.route_template)
        request.log_finished(200, broken=True)
        request.abort()
    request.log_finished(200)


async def _parts(
    first: list[StoredRun], others: AsyncIterator[list[StoredRun]], gzip: Gzip | None
) -> AsyncIterator[Buffer]:
    """Encode the array, a part for each page; the closing bracket only if the stream succeeded.

    A part is valid until the next one is asked for.
    """
    buffer = bytearray()
    yield await _coded(gzip, _items(b"[", first, buffer))
    async for page in others:
        yield await _coded(gzip, _items(b",", page, buffer))
    yield b"]" if gzip is None else gzip.last(b"]")


async def _coded(gzip: Gzip | None, data: Buffer) -> Buffer:
    """Encode a part of the answer; in a thread if that takes milliseconds."""
    if gzip is None:
        return data
    if len(data) < _SMALL_BYTES:
        return gzip.part(data)
    return await asyncio.to_thread(gzip.part, data)


def _items(opening: bytes, page: list[StoredRun], buffer: bytearray) -> bytearray:
    """Write the runs of a page into the buffer, after one byte, separated by commas."""
    encode_into(page, buffer)
    buffer[:1] = opening
    del buffer[-1:]
    return buffer


def _headers(listing: Listing, scope: Scope, parameters: dict[str, str]) -> dict[str, str]:
    if listing.next_before_id is None:
        return listing_headers(listing.etag, None)
    path = f"{REPO}/{path_of(scope.organization, scope.repository, scope.workflow, scope.job)}"
    following = next_page(path, parameters, before=str(listing.next_before_id))
    return listing_headers(listing.etag, following)
