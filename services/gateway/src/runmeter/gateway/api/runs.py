"""``/api/v1/metrics/repo/…``: the stored runs of one job, streamed page by page."""

import asyncio
from collections.abc import AsyncIterator

from sanic import Blueprint, HTTPResponse

from runmeter.gateway.api.paging import is_known, listing_headers, wants_gzip
from runmeter.gateway.api.query import (
    RUN_PARAMETERS,
    STATES,
    decode_component,
    next_page,
    other_readings,
    parse,
    path_of,
)
from runmeter.gateway.errors import DecodedSlash, ReceiverError
from runmeter.gateway.model import Caller, RunQuery
from runmeter.gateway.receiver.client import Backend, Listing
from runmeter.gateway.schemas.api import Scope, StoredRun, encode_into
from runmeter.gateway.web.encoding import Buffer, Gzip
from runmeter.gateway.web.problems import Routes, log_failed
from runmeter.gateway.web.request import GatewayRequest

REPO = "/api/v1/metrics/repo"
JSON = "application/json"
_NAMES = Scope.__struct_fields__
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
        return await _answer(backend, request, (org, owner, name, workflow, job))

    blueprint.add_route(list_runs, f"{REPO}/<org>/<repo>/<workflow>/<job>", methods)
    blueprint.add_route(
        list_runs_of_owner, f"{REPO}/<org>/<owner>/<name>/<workflow>/<job>", methods
    )
    return blueprint


async def _answer(
    backend: Backend, request: GatewayRequest, parts: tuple[str, ...]
) -> HTTPResponse | None:
    caller = request.caller()
    names, parameters, values = parse(request.query_string, RUN_PARAMETERS, _NAMES, parts)
    scope = Scope(**names)
    query = RunQuery(scope, **values)
    async with backend.list_runs(query, caller) as listing:
        headers = _headers(listing, parameters)
        gzip = Gzip() if wants_gzip(request, headers) else None
        if is_known(request, headers):
            return HTTPResponse(status=304, headers=headers)
        first = await anext(listing.pages, None)  # errors before this become a problem
        if gzip is not None:
            headers["Content-Encoding"] = "gzip"
        body_parts = _parts(first or [], listing.pages, gzip)
        if first is not None and request.version != "1.0":
            await _stream(request, body_parts, headers)
            return None
        # without chunks a broken answer looks complete: it is sent as a whole
        body = b"".join([bytes(part) async for part in body_parts])
    if first is None and listing.next_before_id is None:
        await _refuse_decoded(backend, caller, scope, parts)
    return HTTPResponse(body, headers=headers, content_type=JSON)


async def _refuse_decoded(
    backend: Backend, caller: Caller, scope: Scope, parts: tuple[str, ...]
) -> None:
    """Raise `DecodedSlash` if this scope has no runs, but another reading of its path has."""
    others = list(other_readings(parts, len(_NAMES)))
    if not others or await _has_runs(backend, caller, scope):
        return
    for other in others:
        names = [decode_component(part) for part in other]
        if await _has_runs(backend, caller, Scope(**dict(zip(_NAMES, names, strict=True)))):
            raise DecodedSlash(path_of(*names))


async def _has_runs(backend: Backend, caller: Caller, scope: Scope) -> bool:
    query = RunQuery(scope, limit=1, states=STATES["all"])
    try:
        async with backend.list_runs(query, caller) as listing:
            return await anext(listing.pages, None) is not None
    except ReceiverError as error:
        if error.code != "INVALID_ARGUMENT":
            raise
        return False  # a name of two parts may be too long


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


def _headers(listing: Listing, parameters: dict[str, str]) -> dict[str, str]:
    next_id = listing.next_before_id
    following = None if next_id is None else next_page(parameters, before=str(next_id))
    return listing_headers(listing.etag, following)
