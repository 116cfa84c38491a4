"""``/health``: the process serves. Says nothing about the receiver."""

from __future__ import annotations

from sanic import Blueprint, HTTPResponse

from runmeter.gateway.api.request import GatewayRequest
from runmeter.gateway.schemas import Health, encode


def health_blueprint() -> Blueprint:
    """Make the routes of ``/health``."""
    blueprint = Blueprint("health")

    async def health(request: GatewayRequest) -> HTTPResponse:
        return HTTPResponse(
            encode(Health()),
            headers={"Cache-Control": "no-store"},
            content_type="application/json",
        )

    blueprint.add_route(health, "/health", ["GET", "HEAD"])
    return blueprint
