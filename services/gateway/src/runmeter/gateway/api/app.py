"""The application: routes, settings of Sanic, and what applies to every request and answer."""

import time
from collections.abc import Callable

from sanic import Sanic
from sanic.config import Config

from runmeter.gateway.api.docs import docs_blueprint
from runmeter.gateway.api.health import health_blueprint
from runmeter.gateway.api.push import push_blueprint
from runmeter.gateway.api.repos import repos_blueprint
from runmeter.gateway.api.runs import runs_blueprint
from runmeter.gateway.api.tokens import tokens_blueprint
from runmeter.gateway.metrics import Metrics
from runmeter.gateway.receiver.client import Backend
from runmeter.gateway.web.body import BodyLimits
from runmeter.gateway.web.connection import HEAD_BYTES_MAX
from runmeter.gateway.web.headers import finish, preflight
from runmeter.gateway.web.limits import Edge
from runmeter.gateway.web.problems import ProblemHandler
from runmeter.gateway.web.request import GatewayRequest
from runmeter.gateway.web.server import (
    App,
    context,
)

DRAIN_BYTES = 8 * 1024 * 1024
"""Bytes of an unwanted body that are still read, for clients that read the answer after sending
all of it. Beyond that the connection is closed."""


def create_app(
    backend: Backend,
    limits: BodyLimits,
    edge: Edge = Edge(),  # noqa: B008 - a constant
    metrics: Metrics | None = None,
    *,
    name: str = "gateway",
    clock: Callable[[], float] = time.monotonic,
) -> App:
    """Make the application; it opens nothing before the server starts."""
    settings = Config(env_prefix=None)  # no variables SANIC_…: only `config` reads the environment
    settings.update(
        {
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,
            "MOTD": False,
            "KEEP_ALIVE_TIMEOUT": edge.timeouts.idle_seconds,
            "REQUEST_MAX_HEADER_SIZE": HEAD_BYTES_MAX,
            "REQUEST_MAX_SIZE": limits.max_bytes + DRAIN_BYTES,
        }
    )
    app: App = Sanic(
        name,
        config=settings,
        ctx=context(edge, metrics or Metrics(), limits.timeout_seconds, clock),
        error_handler=ProblemHandler(),
        request_class=GatewayRequest,
        configure_logging=False,
    )
    app.blueprint(health_blueprint())
    app.blueprint(push_blueprint(backend, limits))
    app.blueprint(tokens_blueprint(backend, limits))
    app.blueprint(runs_blueprint(backend))
    app.blueprint(repos_blueprint(backend))
    app.blueprint(docs_blueprint())

    async def open_backend(app: App) -> None:
        backend.open()

    async def close_backend(app: App) -> None:
        await backend.close()

    app.register_listener(open_backend, "before_server_start")
    app.register_listener(close_backend, "after_server_stop")
    if edge.cors_origins:
        app.register_middleware(preflight, "request")
    app.register_middleware(finish, "response")
    return app
