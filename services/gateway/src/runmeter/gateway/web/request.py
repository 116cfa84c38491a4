"""The request as the gateway knows it: with an identity, a start, and a line in the log."""

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
"""The method Sanic gives to the stand-in for a request that it could not read."""
BEARER_BYTES_MAX = 4096
"""More does not fit into gRPC metadata beside the rest."""

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# what gRPC can carry as a metadata value; a space inside is the receiver's to judge
_BEARER = re.compile(r"bearer +([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?) *", re.IGNORECASE)
_PUSH_TOKEN = re.compile("Bearer " + PUSH_TOKEN.strip("^$"))
_PARAMETER = re.compile(r"<(\w+)(?::[^>]*)?>")

_ROUTED = ("GET", "POST")
"""One of these is taken by every route."""

_log = structlog.get_logger()


class GatewayRequest(Request[Sanic[Config, SimpleNamespace], SimpleNamespace]):
    """A request with its own id and clock; made by Sanic, also for requests it cannot read."""

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
            url_bytes = b"*"  # its own URL may be what cannot be read
        super().__init__(url_bytes, method=method, **kwargs)
        if not self.has_path():
            raise BadURL("The address has no path.")
        self._started: float = self.app.ctx.clock()
        self._finished = False
        self._client_known = False
        self._client_address: str | None = None
        self.streams = False
        """The answer is sent in parts, so it is not over when it begins."""
        given = self.headers.getall(REQUEST_ID_HEADER, [])
        is_sane = len(given) == 1 and _SANE_ID.fullmatch(given[0])
        self.request_id: str = given[0] if is_sane else str(uuid4())

    def has_path(self) -> bool:
        """Whether there is a path at all: ``GET http://`` is a URL for the parser, without one."""
        return self._parsed_url.path is not None

    def caller(self) -> Caller:
        """Take the bearer to hand on. It is not looked into here: the receiver decides.

        Raises:
            MissingBearer: none, more than one, or nothing that could be a token.
        """
        values = self.headers.getall("authorization", [])
        match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
        if match is None or len(match[1]) > BEARER_BYTES_MAX:
            raise MissingBearer
        return Caller(f"Bearer {match[1]}", self.request_id, self.client_address)

    def pusher(self) -> Caller:
        """Take the bearer of a push, if it has the form of a push token; more is not checked here.

        Raises:
            MissingBearer, NoPushToken
        """
        caller = self.caller()
        if not _PUSH_TOKEN.fullmatch(caller.authorization):
            raise NoPushToken
        return caller

    @property
    def client_address(self) -> str | None:
        """The IP address of the client: the other end of the connection, or, where that is a
        trusted proxy, whom it speaks for.
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
        """The path as documented, ``/api/v1/…/{job}``; None where nothing matched."""
        return None if self.route is None else _template(self.route.path)

    def _template_of_any_method(self) -> str | None:
        """The path as documented, where it is one that does not take this method."""
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
        """Log and count that the request is over; only the first call counts."""
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
