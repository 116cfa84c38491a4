"""``POST /api/v1/token``: mint a push token."""

from sanic import Blueprint, HTTPResponse

from runmeter.gateway.receiver.client import Backend
from runmeter.gateway.schemas.api import encode
from runmeter.gateway.web.body import BodyLimits, read_body
from runmeter.gateway.web.problems import Routes
from runmeter.gateway.web.request import GatewayRequest
from runmeter.v1.json_reading import create_push_token_request_from_json


def tokens_blueprint(backend: Backend, limits: BodyLimits) -> Blueprint:
    """Make the route that mints push tokens."""
    blueprint = Routes("tokens")

    @blueprint.post("/api/v1/token", stream=True)
    async def create_token(request: GatewayRequest) -> HTTPResponse:
        caller = request.caller()
        wanted = await read_body(request, create_push_token_request_from_json, limits)
        token = await backend.create_push_token(wanted, caller)
        return HTTPResponse(
            encode(token), headers={"Cache-Control": "no-store"}, content_type="application/json"
        )

    return blueprint
