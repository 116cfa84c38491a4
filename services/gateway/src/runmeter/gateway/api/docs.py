"""``/openapi.json`` and ``/docs``: the API, described for programs and for people.

The page loads nothing from another host; its policy lets it do no more than it needs to.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from sanic import Blueprint, HTTPResponse
from sanic.exceptions import NotFound

from runmeter.gateway.api.paging import is_known, wants_gzip
from runmeter.gateway.openapi.routes import describe
from runmeter.gateway.schemas.api import encode
from runmeter.gateway.web.encoding import Gzip
from runmeter.gateway.web.request import GatewayRequest

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STATIC: Final = Path(__file__).parents[1] / "static"
_ASSETS: Final = {
    "start.js": "text/javascript; charset=utf-8",
    "swagger-ui/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui/swagger-ui.css": "text/css; charset=utf-8",
}


class _File(NamedTuple):
    """What is answered, always the same, in either coding."""

    body: bytes
    gzipped: bytes
    media: str
    headers: dict[str, str]


def docs_blueprint() -> Blueprint:
    """Make the routes that describe the API; reads what they answer."""
    blueprint = Blueprint("docs")
    described = _file(encode(describe()), "application/json")
    page = _file((_STATIC / "docs.html").read_bytes(), "text/html; charset=utf-8")
    assets = {
        Path(name).name: _file((_STATIC / name).read_bytes(), media)
        for name, media in _ASSETS.items()
    }

    async def openapi(request: GatewayRequest) -> HTTPResponse:
        return _answer(request, described)

    async def docs(request: GatewayRequest) -> HTTPResponse:
        return _answer(request, page)

    async def docs_asset(request: GatewayRequest, asset: str) -> HTTPResponse:
        if asset not in assets:
            raise NotFound
        return _answer(request, assets[asset])

    methods = ["GET", "HEAD"]
    blueprint.add_route(openapi, "/openapi.json", methods)
    blueprint.add_route(docs, "/docs", methods)
    blueprint.add_route(docs_asset, "/docs/<asset>", methods)
    return blueprint


def _file(body: bytes, media: str) -> _File:
    headers = {
        "ETag": f'"{sha256(body).hexdigest()[:32]}"',
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return _File(body, bytes(Gzip().last(body)), media, headers)


def _answer(request: GatewayRequest, file: _File) -> HTTPResponse:
    headers = dict(file.headers)
    is_gzip = wants_gzip(request, headers)
    if is_known(request, headers):
        return HTTPResponse(status=304, headers=headers)
    if is_gzip:
        headers["Content-Encoding"] = "gzip"
    body = file.gzipped if is_gzip else file.body
    return HTTPResponse(body, headers=headers, content_type=file.media)
