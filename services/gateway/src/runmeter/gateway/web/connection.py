"""One connection of a client: Sanic's protocol, with limits that it does not have."""

import asyncio
from contextlib import suppress
from typing import Any
from uuid import uuid4

from sanic.exceptions import BadRequest, PayloadTooLarge, RequestCancelled
from sanic.http import Http, Stage
from sanic.models.server_types import ConnInfo
from sanic.server.protocols.http_protocol import HttpProtocol

from runmeter.gateway.errors import (
    AddressTooLong,
    HeadTooLarge,
    Overloaded,
    TooSlow,
)
from runmeter.gateway.web.head import check_head, size_of
from runmeter.gateway.web.headers import date, secure
from runmeter.gateway.web.limits import Gate, Timeouts
from runmeter.gateway.web.problems import outcome_of, problem_response
from runmeter.gateway.web.request import REQUEST_ID_HEADER, GatewayRequest

HEAD_BYTES_MAX = 16_384
ADDRESS_BYTES_MAX = 8_192
"""If the head is too large and the request line is larger than this, the answer is 414."""
PIECE_BYTES = 65_536
LINGER_SECONDS = 1.0
"""Time for a client that still sends to read why its connection is closed."""
_LINGERING_SHARE = 8
_LINE_END = b"\r\n"


class GatewayHttp(Http):
    """Limits the time for a head, for a body, and for the rest of a body after its answer."""

    __slots__ = ("_body_until", "_drains", "_lingers")

    def init_for_request(self) -> None:
        """Prepare for the next request."""
        super().init_for_request()  # type: ignore[no-untyped-call]
        self._body_until: float | None = None
        self._drains = False
        self._lingers = False

    @property
    def _timeouts(self) -> Timeouts:
        found: Timeouts = self.protocol.app.ctx.edge.timeouts
        return found

    async def http1(self) -> None:
        """Serve requests until the connection ends."""
        await super().http1()  # type: ignore[no-untyped-call]
        if self._lingers and self.protocol.transport:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._discard()

    async def _discard(self) -> None:
        """Read what the client still sends: closing now would discard the answer on its side."""
        transport: Any = self.protocol.transport
        if transport.can_write_eof():
            transport.write_eof()
        while not transport.is_closing():
            self.recv_buffer.clear()
            await self._receive_more()

    async def http1_request_header(self) -> None:
        """Read the head of a request."""
        limit_seconds = self._timeouts.head_seconds
        try:
            async with asyncio.timeout(limit_seconds):
                await super().http1_request_header()  # type: ignore[no-untyped-call]
            check_head(self.request.head)
        except Exception as error:
            self._lingers = True
            if isinstance(error, TimeoutError):
                raise TooSlow("headers", limit_seconds) from None
            if not isinstance(error, PayloadTooLarge):
                raise
            if 0 <= self.recv_buffer.find(b"\r\n") <= ADDRESS_BYTES_MAX:
                raise HeadTooLarge(HEAD_BYTES_MAX) from None
            raise AddressTooLong from None

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:
        """Send the head of an answer, and its body as far as there is one."""
        date(self.response)
        await super().http1_response_header(data, end_stream)

    async def read(self) -> bytes | None:
        """Read a part of a body; None at its end, or if the rest takes too long."""
        loop = asyncio.get_running_loop()
        if self.stage is Stage.IDLE and not self._drains:  # the answer has been sent
            self._drains = True
            self._body_until = loop.time() + self._timeouts.drain_seconds
        limit_seconds = self.protocol.app.ctx.body_seconds
        if self._body_until is None:
            self._body_until = loop.time() + limit_seconds
        try:
            async with asyncio.timeout_at(self._body_until):
                await self._check_chunk()
                return await super().read()
        except TimeoutError:
            self.keep_alive = False
            self.request_body = None
            if self._drains:
                return None
            self._lingers = True
            raise TooSlow("body", limit_seconds) from None

    async def _check_chunk(self) -> None:
        """Check that a chunk has its size: Sanic skips two bytes without checking them."""
        body: Any = self.request_body  # Sanic holds "chunked" or True in it
        if body != "chunked" or self.request_bytes_left:
            return
        while len(self.recv_buffer) < len(_LINE_END):
            await self._receive_more()
        if not self.recv_buffer.startswith(_LINE_END):
            self.keep_alive = False
            raise BadRequest("Bad chunked encoding")

    @staticmethod
    def _safe_int(value: str, base: int = 10) -> int:
        return size_of(value, base)


class GatewayProtocol(HttpProtocol):
    """Limits connections and requests, and the time for a client to read its answer.

    The context of the application has ``edge``, ``metrics``, ``gate`` and ``body_seconds``.
    """

    HTTP_CLASS = GatewayHttp
    __slots__ = ("_is_refused",)

    def _setup(self) -> None:
        super()._setup()  # type: ignore[no-untyped-call]
        self._is_refused = False
        self.request_handler: Any = self._handle

    async def _handle(self, request: GatewayRequest) -> None:
        """Answer a request, if the limits admit it."""
        gate: Gate = self.app.ctx.gate
        async with gate.admitted(request):
            await self.app.handle_request(request)

    async def send(self, data: bytes) -> None:
        """Send in pieces, each after the client has read most of the one before."""
        await self._can_send()
        if len(data) <= PIECE_BYTES:
            await super().send(data)  # type: ignore[no-untyped-call]
            return
        for start in range(0, len(data), PIECE_BYTES):
            await self._can_send()
            await super().send(data[start : start + PIECE_BYTES])  # type: ignore[no-untyped-call]

    async def _can_send(self) -> None:
        transport: Any = self.transport
        if not self._can_write.is_set():
            try:
                async with asyncio.timeout(self.app.ctx.edge.timeouts.write_seconds):
                    await self._can_write.wait()
            except TimeoutError:
                transport.abort()
        if self.transport is None or transport.is_closing():
            raise RequestCancelled

    def connection_made(self, transport: Any) -> None:
        """Accept a connection; if there are too many, close an idle one."""
        limit = self.app.ctx.edge.capacity.connections
        if len(self.connections) >= limit and not self._close_a_waiting_one():
            self._refuse(transport, limit)
            return
        self.app.ctx.metrics.connections.inc()
        super().connection_made(transport)  # type: ignore[no-untyped-call]

    def _close_a_waiting_one(self) -> bool:
        """Close the connection that has waited longest without a complete request."""
        waiting = [
            other
            for other in self.connections
            if other.http is None or other.http.stage in (Stage.IDLE, Stage.REQUEST)
            if not other.transport.get_write_buffer_size()  # its answer is not sent completely
        ]
        if not waiting:
            return False
        silent = min(waiting, key=lambda other: other._time)
        self.connections.discard(silent)  # `connection_lost` comes too late
        silent.transport.abort()
        return True

    def _refuse(self, transport: Any, limit: int) -> None:
        """Answer with 503; a limited number of such connections stays open to be read."""
        self._is_refused = True
        self.transport = transport
        self.recv_buffer = bytearray()
        self.conn_info = ConnInfo(transport)
        self.app.ctx.gate.connection_refused()
        transport.write(_refusal(self.app.ctx.edge.has_tls))
        refused = self.app.ctx.refused
        if len(refused) >= limit // _LINGERING_SHARE + 1:
            transport.abort()
            return
        refused.add(self)
        if transport.can_write_eof():
            transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Handle received bytes; ignore those of a refused connection."""
        if not self._is_refused:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the end of the connection."""
        if self._is_refused:
            self.app.ctx.refused.discard(self)
        else:
            self.app.ctx.metrics.connections.dec()
        super().connection_lost(exc)  # type: ignore[no-untyped-call]


def _refusal(has_tls: bool) -> bytes:
    request_id = str(uuid4())
    response = problem_response(outcome_of(Overloaded()), request_id)
    secure(response, has_tls)
    date(response)
    body = response.body or b""
    headers = {
        **response.headers,
        REQUEST_ID_HEADER: request_id,
        "Content-Type": response.content_type,
        "Content-Length": len(body),
        "Connection": "close",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"HTTP/1.1 503 Service Unavailable\r\n%b\r\n%b" % (lines.encode(), body)
