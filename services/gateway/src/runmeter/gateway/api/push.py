"""``POST /api/v1/metrics``: store a run."""

from sanic import Blueprint, HTTPResponse

from runmeter.gateway.receiver.client import Backend
from runmeter.gateway.receiver.messages import push_from_json
from runmeter.gateway.schemas.api import encode
from runmeter.gateway.web.body import BodyLimits, read_body
from runmeter.gateway.web.problems import Routes
from runmeter.gateway.web.request import GatewayRequest


def push_blueprint(backend: Backend, limits: BodyLimits) -> Blueprint:
    """Make the route that stores runs."""
    blueprint = Routes("metrics")

    @blueprint.post("/api/v1/metrics", stream=True)
    async def push_run(request: GatewayRequest) -> HTTPResponse:
        caller = request.pusher()
        push = await read_body(request, push_from_json, limits)
        pushed = await backend.push_run(push, caller)
        return HTTPResponse(
            encode(pushed),
            status=200 if pushed.duplicate else 201,
            headers={"Cache-Control": "no-store"},
            content_type="application/json",
        )

    return blueprint
