"""``/openapi.json`` and ``/docs``: the description of the API, for programs and for people.

The page loads nothing from another host, and its policy allows only what it needs. It names files
relative to its own address: a proxy may serve it below a path. Each answer is made when it is asked
for the first time, in a thread: that takes tens of milliseconds.
"""

import asyncio
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from sanic import Blueprint, HTTPResponse
from sanic.exceptions import NotFound

from runmeter.gateway.api.paging import is_known, wants_gzip
from runmeter.gateway.schemas.api import encode
from runmeter.gateway.web.encoding import Gzip
from runmeter.gateway.web.problems import Routes
from runmeter.gateway.web.request import GatewayRequest

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STATIC = Path(__file__).parents[1] / "static"
_ASSETS = {
    "start.js": "start.js",
    "swagger-ui-bundle.js": "swagger-ui/swagger-ui-bundle.js",
    "swagger-ui.css": "swagger-ui/swagger-ui.css",
}
_MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}


class _File(NamedTuple):
    """An answer that is always the same, plain and compressed."""

    body: bytes
    gzipped: bytes
    media: str
    headers: dict[str, str]


def docs_blueprint() -> Blueprint:
    """Make the routes that describe the API."""
    blueprint = Routes("docs")

    async def openapi(request: GatewayRequest) -> HTTPResponse:
        return _answer(request, await asyncio.to_thread(_document))

    async def docs(request: GatewayRequest) -> HTTPResponse:
        if request.path.endswith("/"):  # the page names its files relative to ``/docs``
            return HTTPResponse(status=308, headers={"Location": "../docs"})
        return _answer(request, await asyncio.to_thread(_static, "docs.html"))

    async def docs_asset(request: GatewayRequest, asset: str) -> HTTPResponse:
        if asset not in _ASSETS:
            raise NotFound
        return _answer(request, await asyncio.to_thread(_static, _ASSETS[asset]))

    methods = ["GET", "HEAD"]
    blueprint.add_route(openapi, "/openapi.json", methods)
    blueprint.add_route(docs, "/docs", methods)
    blueprint.add_route(docs_asset, "/docs/<asset>", methods)
    return blueprint


@cache
def _document() -> _File:
    from runmeter.gateway.openapi.routes import describe  # not needed for a start

    return _file(encode(describe()), "application/json")


@cache
def _static(name: str) -> _File:
    path = _STATIC / name
    return _file(path.read_bytes(), _MEDIA[path.suffix])


def _file(body: bytes, media: str) -> _File:
    headers = {
        "ETag": f'"{sha256(body).hexdigest()[:32]}"',
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return _File(body, Gzip().last(body), media, headers)


def _answer(request: GatewayRequest, file: _File) -> HTTPResponse:
    headers = dict(file.headers)
    is_gzip = wants_gzip(request, headers)
    if is_known(request, headers):
        return HTTPResponse(status=304, headers=headers)
    if is_gzip:
        headers["Content-Encoding"] = "gzip"
    body = file.gzipped if is_gzip else file.body
    return HTTPResponse(body, headers=headers, content_type=file.media)
