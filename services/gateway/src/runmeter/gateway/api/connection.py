"""One connection of a client: Sanic's protocol, and what it leaves open."""

from __future__ import annotations

from typing import Any

from sanic.server.protocols.http_protocol import HttpProtocol

from runmeter.gateway.api.request import GatewayRequest


class GatewayProtocol(HttpProtocol):
    """Counts requests while they are answered."""

    __slots__ = ()

    def _setup(self) -> None:
        super()._setup()  # type: ignore[no-untyped-call]
        self.request_handler: Any = self._handle

    async def _handle(self, request: GatewayRequest) -> None:
        """Answer a request, to the end of its answer."""
        in_flight = self.app.ctx.metrics.requests_in_flight
        in_flight.inc()
        try:
            await self.app.handle_request(request)
        finally:
            in_flight.dec()
