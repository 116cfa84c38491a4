"""A request with an id, a start time, its client, and its line in the log."""

import asyncio
import re
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, NoReturn, cast
from uuid import uuid4

import structlog
from sanic import Request, Sanic
from sanic.config import Config
from sanic.exceptions import BadURL, MethodNotAllowed, NotFound
from sanic.http import Http

from runmeter.gateway import events
from runmeter.gateway.errors import MissingBearer, NoPushToken
from runmeter.gateway.model import Caller
from runmeter.gateway.schemas.describe import PUSH_TOKEN

REQUEST_ID_HEADER = "X-Request-ID"
_UNREADABLE = "NONE"
"""Sanic's method for a request that it could not read."""
BEARER_BYTES_MAX = 4096
"""A longer one does not fit into gRPC metadata."""

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# what gRPC can send as a metadata value; the receiver decides about spaces inside
_BEARER = re.compile(r"bearer +([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?) *", re.IGNORECASE)
_PUSH_TOKEN = re.compile("Bearer " + PUSH_TOKEN.strip("^$"))
_PARAMETER = re.compile(r"<(\w+)(?::[^>]*)?>")

_ROUTED = ("GET", "POST")
"""Every route has one of these."""

_log = structlog.get_logger()


class GatewayRequest(Request[Sanic[Config, SimpleNamespace], SimpleNamespace]):
    """A request with an id and a start time; Sanic makes one also if it cannot read a request."""

    __slots__ = (
        "_client_address",
        "_client_known",
        "_finished",
        "_started",
        "request_id",
        "streams",
    )

    def __init__(self, *, url_bytes: bytes, method: str, **kwargs: Any) -> None:
        if method == _UNREADABLE:
            url_bytes = b"*"  # the URL may be the unreadable part
        super().__init__(url_bytes, method=method, **kwargs)
        if self._parsed_url.path is None:  # ``GET http://``
            raise BadURL("The address has no path.")
        self._started: float = self.app.ctx.clock()
        self._finished = False
        self._client_known = False
        self._client_address: str | None = None
        self.streams = False
        """The answer is sent in parts: it is logged at its end."""
        given = self.headers.getall(REQUEST_ID_HEADER, [])
        is_sane = len(given) == 1 and _SANE_ID.fullmatch(given[0])
        self.request_id: str = given[0] if is_sane else str(uuid4())

    def caller(self) -> Caller:
        """Return the bearer to send to the receiver, which checks it.

        Raises:
            MissingBearer: none, more than one, or nothing that could be a token.
        """
        values = self.headers.getall("authorization", [])
        match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
        if match is None or len(match[1]) > BEARER_BYTES_MAX:
            raise MissingBearer
        return Caller(f"Bearer {match[1]}", self.request_id, self.client_address)

    def pusher(self) -> Caller:
        """Return the bearer of a push, if it has the form of a push token.

        Raises:
            MissingBearer, NoPushToken
        """
        caller = self.caller()
        if not _PUSH_TOKEN.fullmatch(caller.authorization):
            raise NoPushToken
        return caller

    @property
    def client_address(self) -> str | None:
        """The IP address of the client: the peer of the connection or, if that is a trusted
        proxy, the address in its headers.
        """
        if not self._client_known:
            self._client_known = True
            address = self.transport.get_extra_info("peername") if self.transport else None
            self._client_address = self.app.ctx.edge.proxies.client(
                str(address[0]) if isinstance(address, tuple) else None,
                self.headers.getall("x-forwarded-for", []),
                self.headers.getall("forwarded", []),
            )
        return self._client_address

    @property
    def route_template(self) -> str | None:
        """The path of the route, ``/api/v1/…/{job}``; None where none matched."""
        return None if self.route is None else _template(self.route.path)

    def _template_of_any_method(self) -> str | None:
        """The path of the route that matches with another method."""
        for method in _ROUTED:
            with suppress(NotFound, MethodNotAllowed):
                return _template(self.app.router.get(self.path, method, None)[0].path)
        return None

    def end_head(self) -> None:
        """End an answer to HEAD after its headers; Sanic would await what cannot be awaited."""
        if isinstance(self.stream, Http):
            self.stream.head_response_ignored(b"", True)

    def abort(self) -> NoReturn:
        """Cut the connection, so that the last chunk is never sent, and end the handler."""
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()
        raise asyncio.CancelledError

    def log_finished(self, status: int, **more: object) -> None:
        """Log and count the finished request; further calls do nothing."""
        if self._finished:
            return
        self._finished = True
        route = self.route_template
        if status == 405 or self.method == "OPTIONS":
            route = route or self._template_of_any_method()
        seconds = self.app.ctx.clock() - self._started
        self.app.ctx.metrics.request_finished(self.method, route, status, seconds)
        address = self.conn_info.peername if self.conn_info else None
        _log.info(
            events.REQUEST_FINISHED,
            method=self.method,
            route=route,
            status=status,
            duration_seconds=round(seconds, 6),
            request_id=self.request_id,
            peer=":".join(map(str, address[:2])) if isinstance(address, tuple) else None,
            client=self.client_address,
            **getattr(self.ctx, "failure", {}),
            **more,
        )


def _template(path: str) -> str:
    return "/" + _PARAMETER.sub(r"{\1}", path)
