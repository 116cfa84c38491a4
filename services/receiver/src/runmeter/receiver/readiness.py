"""HTTP for those who operate the receiver: ``/metrics``, ``/healthz``, ``/readyz``.

It shares the event loop with the calls, so nothing here may wait or grow: a request is answered
within seconds whatever the database does, a connection carries one request and lives for seconds,
and there are few of them.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeVar

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from runmeter.receiver.errors import AddressUnusable, StoreUnavailable
from runmeter.receiver.metrics import CONTENT_TYPE, Metrics
from runmeter.receiver.store.probes import Measured

CONNECTIONS_MAX = 64
CONNECTION_SECONDS = 10.0
ANSWER_SECONDS = 2.0  # Kubernetes gives a probe 1 s by default, and asks again
WRITABLE_FRESH_SECONDS = 1.0
MEASURED_FRESH_SECONDS = 15.0

_T = TypeVar("_T")


class Cached(Generic[_T]):
    """What a check found, renewed when asked for and stale.

    One check at a time, never cancelled (a cancelled statement wedges a connection) and never
    waited for longer than `wait_seconds`.
    """

    def __init__(
        self,
        check: Callable[[], Awaitable[_T]],
        fresh_seconds: float,
        wait_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._check = check
        self._fresh_seconds = fresh_seconds
        self._wait_seconds = wait_seconds
        self._ended_seconds = 0.0
        self._task: asyncio.Task[_T | StoreUnavailable] | None = None

    async def get(self) -> _T:
        """Return what the last check found.

        Raises:
            StoreUnavailable: it failed, or does not end.
        """
        task = self._task
        stale = time.monotonic() - self._ended_seconds >= self._fresh_seconds
        if task is None or (task.done() and stale):
            task = self._task = asyncio.create_task(self._run())
        await asyncio.wait({task}, timeout=self._wait_seconds)
        if not task.done():
            raise StoreUnavailable("it does not answer")
        found = task.result()
        if isinstance(found, StoreUnavailable):
            raise found
        return found

    async def _run(self) -> _T | StoreUnavailable:
        try:
            return await self._check()
        except StoreUnavailable as error:
            return error
        finally:
            self._ended_seconds = time.monotonic()


class Ops:
    """What the pages say. `unready_reason` is why no calls should come, None while they should."""

    def __init__(
        self,
        metrics: Metrics,
        check_writable: Callable[[], Awaitable[None]],
        measure: Callable[[], Awaitable[Measured]],
    ) -> None:
        self.unready_reason: str | None = "it is starting"
        self._metrics = metrics
        self._writable = Cached(check_writable, WRITABLE_FRESH_SECONDS)
        self._measured = Cached(measure, MEASURED_FRESH_SECONDS)
        self._pages: dict[str, Callable[[], Awaitable[web.Response]]] = {
            "/metrics": self._metrics_page,
            "/healthz": self._health_page,
            "/readyz": self._ready_page,
        }

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request; its connection ends with it."""
        page = self._pages.get(request.path)
        if page is None:
            response = _text(404, f"not found; there are {', '.join(self._pages)}")
        elif request.method not in ("GET", "HEAD"):
            response = _text(405, "only GET and HEAD")
            response.headers["Allow"] = "GET, HEAD"
        else:
            response = await page()
        response.headers["Cache-Control"] = "no-store"
        response.force_close()
        return response

    async def _health_page(self) -> web.Response:
        return _text(200, "alive")

    async def _ready_page(self) -> web.Response:
        if self.unready_reason is None:
            try:
                await self._writable.get()
            except StoreUnavailable as error:
                return _text(503, f"not ready: the database: {error.reason}")
        if self.unready_reason is not None:  # perhaps since a moment ago
            return _text(503, f"not ready: {self.unready_reason}")
        return _text(200, "ready")

    async def _metrics_page(self) -> web.Response:
        if self.unready_reason is None:
            try:
                found = await self._measured.get()
                self._metrics.database_measured(found.row_count, found.size_bytes)
            except StoreUnavailable:
                self._metrics.database_unmeasured()
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")


class _Server(web.Server):
    """Refuses connections beyond a number, and ends each after a time, whatever it does."""

    def __call__(self) -> Any:
        if len(self.connections) >= CONNECTIONS_MAX:
            return _Refusal()
        protocol = super().__call__()
        asyncio.get_running_loop().call_later(CONNECTION_SECONDS, _abort, protocol)
        return protocol


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _abort(protocol: RequestHandler) -> None:
    if protocol.transport is not None:
        protocol.transport.abort()


@contextlib.asynccontextmanager
async def serving(ops: Ops, address: str | None) -> AsyncIterator[str | None]:
    """Serve the pages; yield the address that was bound. No address: do nothing.

    Raises:
        AddressUnusable: the port is taken, or the address is not one of this machine.
    """
    if address is None:
        yield None
        return
    listening = await _listen(address)
    server = _Server(ops.answer, access_log=None, lingering_time=0)
    runner = web.ServerRunner(server, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield f"{address.rpartition(':')[0] or '0.0.0.0'}:{listening.getsockname()[1]}"
    finally:
        await runner.cleanup()


async def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        if not host:
            return _listen_everywhere(int(port))
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, at = found[0]
        return socket.create_server(at, family=family)
    except OSError as error:
        raise AddressUnusable(
            address,
            "the port is in use, or the address is not one of this machine; "
            "stop what listens there or choose another --ops-addr",
        ) from error


def _listen_everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
