"""HTTP for those who operate a server: ``/metrics``, ``/healthz``, ``/readyz``.

::

    writable = Cached(check, fresh_seconds=1.0, late="it does not answer")  # a reason or None
    async with serving(listen(address, "--ops-addr"), metrics_text, writable.get):
        ...

The pages share the event loop with the service, so nothing here may wait or grow: a connection
carries one request and lasts for seconds, and there are few of them.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar, cast

import httptools

from runmeter.service.registry import CONTENT_TYPE

CONNECTIONS_MAX = 64
CONNECTION_SECONDS = 10.0
ANSWER_SECONDS = 2.0  # Kubernetes gives a probe 1 s by default, and asks again
HEAD_MAX_BYTES = 2**14

_T = TypeVar("_T")


class Cached(Generic[_T]):
    """The result of a check, renewed on request if it is stale.

    One check at a time, never cancelled (a cancelled statement wedges a connection) and never
    waited for longer than ``wait_seconds``: ``late`` is the answer then.
    """

    def __init__(
        self,
        check: Callable[[], Awaitable[_T]],
        fresh_seconds: float,
        late: _T,
        wait_seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check = check
        self._fresh_seconds = fresh_seconds
        self._late = late
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._ended_seconds = 0.0
        self._task: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        """Return what the last check found, or ``late``."""
        task = self._task
        stale = self._clock() - self._ended_seconds >= self._fresh_seconds
        if task is None or (task.done() and stale):
            task = self._task = asyncio.create_task(self._run())
        await asyncio.wait({task}, timeout=self._wait_seconds)
        return task.result() if task.done() else self._late

    async def _run(self) -> _T:
        try:
            return await self._check()
        finally:
            self._ended_seconds = self._clock()


class _Page(NamedTuple):
    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    allow: str = ""

    def head(self) -> bytes:
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            *([f"Allow: {self.allow}"] if self.allow else []),
            "Cache-Control: no-store",
            f"Date: {formatdate(usegmt=True)}",
            "Connection: close",
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Pages:
    """The content of the pages, and the open connections."""

    def __init__(
        self,
        metrics: Callable[[], Awaitable[bytes]],
        unready_reason: Callable[[], Awaitable[str | None]],
    ) -> None:
        self._metrics = metrics
        self._unready_reason = unready_reason
        self._pages = {
            "/metrics": self._metrics_page,
            "/healthz": self._health_page,
            "/readyz": self._ready_page,
        }
        self.open: set[_Connection] = set()

    async def answer(self, method: str, path: str) -> _Page:
        page = self._pages.get(path)
        if page is None:
            return _Page(404, f"not found; the pages are {', '.join(self._pages)}\n".encode())
        if method not in ("GET", "HEAD"):
            return _Page(405, b"only GET and HEAD\n", allow="GET, HEAD")
        return await page()

    async def _health_page(self) -> _Page:
        return _Page(200, b"alive\n")

    async def _ready_page(self) -> _Page:
        reason = await self._unready_reason()
        if reason is not None:
            return _Page(503, f"not ready: {reason}\n".encode())
        return _Page(200, b"ready\n")

    async def _metrics_page(self) -> _Page:
        return _Page(200, await self._metrics(), CONTENT_TYPE)


class _Connection(asyncio.Protocol):
    """One request, which ends with its answer or after a time."""

    def __init__(self, pages: _Pages) -> None:
        self._pages = pages
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._received_bytes = 0
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # of uvloop it is no subclass, but has the same methods
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(CONNECTION_SECONDS, self.abort)
        if len(self._pages.open) >= CONNECTIONS_MAX:
            self.abort()
        else:
            self._pages.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._pages.open.discard(self)
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._task is not None or self._transport.is_closing():
            return
        self._received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the head is complete, and is answered
        except httptools.HttpParserError:
            if self._task is None:
                self._send(_Page(400, b"not a request of HTTP/1\n"), "GET")
        if self._task is None and self._received_bytes > HEAD_MAX_BYTES:
            self._send(_Page(431, b"the head of the request is too large\n"), "GET")

    def on_url(self, url: bytes) -> None:
        """Take a part of the address; called by the parser."""
        self._url += url

    def on_headers_complete(self) -> None:
        """Answer; called by the parser. A body is not waited for."""
        if self._task is None:
            method = self._parser.get_method().decode("ascii")
            path = (httptools.parse_url(self._url).path or b"/").decode("ascii", "replace")
            self._task = asyncio.create_task(self._answer(method, path))

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    async def _answer(self, method: str, path: str) -> None:
        try:
            page = await self._pages.answer(method, path)
        except Exception:
            logging.getLogger(__name__).exception("%s cannot be answered", path)
            page = _Page(500, b"internal error; the log has the cause\n")
        self._send(page, method)

    def _send(self, page: _Page, method: str) -> None:
        if not self._transport.is_closing():
            self._transport.write(page.head() + (b"" if method == "HEAD" else page.body))
            self._transport.close()


@contextlib.asynccontextmanager
async def serving(
    sock: socket.socket | None,
    metrics: Callable[[], Awaitable[bytes]],
    unready_reason: Callable[[], Awaitable[str | None]],
) -> AsyncIterator[None]:
    """Serve the pages on a listening socket; without one do nothing.

    ``metrics`` returns the text of ``/metrics``, ``unready_reason`` why no requests should come,
    None while they should. Both must be quick: `Cached` bounds how long a check may take.
    """
    if sock is None:
        yield
        return
    pages = _Pages(metrics, unready_reason)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(pages), sock=sock)
    try:
        yield
    finally:
        server.close()
        for connection in tuple(pages.open):
            connection.abort()
        await server.wait_closed()
