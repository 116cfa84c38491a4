"""``/health``: the process serves; the receiver is not checked."""

from sanic import Blueprint, HTTPResponse

from runmeter.gateway.schemas.api import Health, encode
from runmeter.gateway.web.problems import Routes
from runmeter.gateway.web.request import GatewayRequest


def health_blueprint() -> Blueprint:
    """Make the routes of ``/health``."""
    blueprint = Routes("health")

    async def health(request: GatewayRequest) -> HTTPResponse:
        return HTTPResponse(
            encode(Health()),
            headers={"Cache-Control": "no-store"},
            content_type="application/json",
        )

    blueprint.add_route(health, "/health", ["GET", "HEAD"])
    return blueprint
