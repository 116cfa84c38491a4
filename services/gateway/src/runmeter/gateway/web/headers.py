"""Headers of every answer: the request id, and security headers for browsers."""

from collections.abc import Collection, Mapping
from email.utils import formatdate

from sanic import HTTPResponse
from sanic.http import Http
from sanic.response import BaseHTTPResponse

from runmeter.gateway.web.request import REQUEST_ID_HEADER, GatewayRequest

SECURITY: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Added where the route has not set them."""
HSTS = "max-age=31536000"

EXPOSED = "Link, ETag, X-Request-ID, Retry-After"
_PREFLIGHT: Mapping[str, str] = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-None-Match, X-Request-ID",
    "Access-Control-Max-Age": "600",
}


def date(response: BaseHTTPResponse) -> None:
    """Add the time of the answer.

    Source: RFC 9110, 6.6.1.
    """
    response.headers["Date"] = formatdate(usegmt=True)


def secure(response: BaseHTTPResponse, has_tls: bool) -> None:
    """Add the security headers that are missing."""
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    if has_tls:
        response.headers["Strict-Transport-Security"] = HSTS


def share(request: GatewayRequest, response: BaseHTTPResponse, origins: Collection[str]) -> None:
    """Let the request's origin read the answer if it is one of ``origins``."""
    if not origins:
        return
    vary = response.headers.get("Vary")
    response.headers["Vary"] = "Origin" if vary is None else f"{vary}, Origin"
    origin = _origin(request)
    if origin in origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED


async def preflight(request: GatewayRequest) -> HTTPResponse | None:
    """Answer a CORS preflight request of an allowed origin; None: it is another request."""
    if (
        request.method != "OPTIONS"
        or _origin(request) not in request.app.ctx.edge.cors_origins
        or "access-control-request-method" not in request.headers
    ):
        return None
    return HTTPResponse(status=204, headers=dict(_PREFLIGHT))


async def finish(request: GatewayRequest, response: BaseHTTPResponse) -> None:
    """Complete every answer, and log it unless it is streamed and so not complete yet."""
    context = request.app.ctx
    response.headers[REQUEST_ID_HEADER] = request.request_id
    secure(response, context.edge.has_tls)
    share(request, response, context.edge.cors_origins)
    if context.stopping and isinstance(request.stream, Http):
        request.stream.keep_alive = False
    if not request.streams:
        if request.method != "HEAD":
            context.metrics.body_sent(len(response.body or b""))
        request.log_finished(response.status)


def _origin(request: GatewayRequest) -> str:
    return request.headers.getone("origin", "")
