"""What browsers are told with every answer: the security headers, and which origins may read it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from sanic import HTTPResponse
from sanic.response import BaseHTTPResponse

from runmeter.gateway.api.request import GatewayRequest

SECURITY: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Where the route has said nothing else."""
HSTS: Final = "max-age=31536000"

EXPOSED: Final = "Link, ETag, X-Request-ID, Retry-After"
_PREFLIGHT: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-None-Match, X-Request-ID",
    "Access-Control-Max-Age": "600",
}


def secure(response: BaseHTTPResponse, has_tls: bool) -> None:
    """Add the security headers that are not there."""
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    if has_tls:
        response.headers["Strict-Transport-Security"] = HSTS


def share(request: GatewayRequest, response: BaseHTTPResponse, origins: Collection[str]) -> None:
    """Let the request's origin read the answer if it is one of these; none of them: do nothing."""
    if not origins:
        return
    vary = response.headers.get("Vary")
    response.headers["Vary"] = "Origin" if vary is None else f"{vary}, Origin"
    origin = _origin(request)
    if origin in origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED


def preflight(request: GatewayRequest, origins: Collection[str]) -> HTTPResponse | None:
    """Answer what a browser asks before it sends a request for another origin; None: not that."""
    if (
        request.method != "OPTIONS"
        or _origin(request) not in origins
        or "access-control-request-method" not in request.headers
    ):
        return None
    return HTTPResponse(status=204, headers=dict(_PREFLIGHT))


def _origin(request: GatewayRequest) -> str:
    return request.headers.getone("origin", "")
