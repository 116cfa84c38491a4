"""HTTP for those who operate the gateway: ``/metrics``, ``/healthz``, ``/readyz``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sanic import HTTPResponse, Sanic
from sanic.config import Config

from runmeter.gateway.metrics import CONTENT_TYPE, Metrics
from runmeter.gateway.readiness import Readiness
from runmeter.gateway.web.limits import Capacity, Edge
from runmeter.gateway.web.problems import ProblemHandler
from runmeter.gateway.web.request import GatewayRequest
from runmeter.gateway.web.server import App, context

_EDGE: Final = Edge(capacity=Capacity(connections=64, requests=64))
BODY_SECONDS: Final = 1.0


def create_ops_app(
    metrics_text: Callable[[], bytes], readiness: Readiness, *, name: str = "gateway-ops"
) -> App:
    """Compose the pages; they need no token, and are neither logged nor counted."""
    settings = Config(env_prefix=None)
    # Sanic rewrites its own methods for one application of a process: that is the API
    settings.update({"ACCESS_LOG": False, "AUTO_EXTEND": False, "MOTD": False, "TOUCHUP": False})
    app: App = Sanic(
        name,
        config=settings,
        ctx=context(_EDGE, Metrics(), BODY_SECONDS, time.monotonic),
        error_handler=ProblemHandler(),
        request_class=GatewayRequest,
        configure_logging=False,
    )

    async def metrics(request: GatewayRequest) -> HTTPResponse:
        return _page(200, metrics_text(), CONTENT_TYPE)

    async def healthz(request: GatewayRequest) -> HTTPResponse:
        return _page(200, b"alive\n")

    async def readyz(request: GatewayRequest) -> HTTPResponse:
        reason = await readiness.unready_reason()
        if reason is not None:
            return _page(503, f"not ready: {reason}\n".encode())
        return _page(200, b"ready\n")

    for page in (metrics, healthz, readyz):
        app.add_route(page, f"/{page.__name__}", ["GET", "HEAD"])
    return app


def _page(
    status: int, body: bytes, content_type: str = "text/plain; charset=utf-8"
) -> HTTPResponse:
    return HTTPResponse(
        body, status=status, headers={"Cache-Control": "no-store"}, content_type=content_type
    )
