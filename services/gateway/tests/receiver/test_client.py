"""The client of the receiver: deadlines and connections."""

import asyncio
from typing import Any

import pytest
from rig.proxy import Fault, Proxy

from runmeter.gateway.errors import ReceiverError
from runmeter.gateway.model import Caller, RunQuery
from runmeter.gateway.receiver.client import Backend, Timeouts
from runmeter.gateway.schemas.api import Scope
from runmeter.v1 import token_service_pb2

SCOPE = Scope(organization="o", repository="r", workflow="w", job="j")
CALLER = Caller("Bearer x", "id-1")


def code_of(double: Any, timeouts: Timeouts, use: Any) -> str:
    async def call() -> None:
        backend = Backend(f"127.0.0.1:{double.port}", timeouts)
        backend.open()
        try:
            await use(backend)
        finally:
            await backend.close()

    with pytest.raises(ReceiverError) as caught:
        asyncio.run(call())
    return caught.value.code


async def mint(backend: Backend) -> None:
    await backend.create_push_token(token_service_pb2.CreatePushTokenRequest(), CALLER)


async def read_all(backend: Backend) -> None:
    async with backend.list_runs(RunQuery(SCOPE), CALLER) as listing:
        async for _ in listing.pages:
            pass


def test_deadline_of_a_call(own_double: Any) -> None:
    """A receiver that does not answer ends as DEADLINE_EXCEEDED."""
    own_double.token = own_double.hang
    assert code_of(own_double, Timeouts(0.2, 60), mint) == "DEADLINE_EXCEEDED"
    assert own_double.cancelled.wait(20)


def test_deadline_of_the_first_page(own_double: Any) -> None:
    """The first page of a listing has the deadline of a call."""
    own_double.listing = own_double.streams([], then=own_double.hang)
    assert code_of(own_double, Timeouts(0.2, 60), read_all) == "DEADLINE_EXCEEDED"
    assert own_double.cancelled.wait(20)


def test_deadline_of_a_stream(own_double: Any, golden_stored: Any) -> None:
    """A listing without end is ended at its deadline."""
    own_double.listing = own_double.streams([[golden_stored]], then=own_double.hang)
    assert code_of(own_double, Timeouts(60, 0.5), read_all) == "DEADLINE_EXCEEDED"


def test_no_receiver(own_double: Any) -> None:
    """Without a receiver a call fails at once as UNAVAILABLE."""
    own_double.stop()
    assert code_of(own_double, Timeouts(), mint) == "UNAVAILABLE"
    own_double.start()


def test_a_slow_connection(own_double: Any) -> None:
    """A receiver with a slow connection is reached by the first call."""

    async def call(proxy: Proxy) -> None:
        backend = Backend(proxy.address, Timeouts())
        backend.open()
        await mint(backend)
        await backend.close()

    with Proxy(f"127.0.0.1:{own_double.port}", [Fault.DELAY], delay_seconds=0.5) as proxy:
        asyncio.run(call(proxy))
        assert proxy.seen == [Fault.DELAY]


def test_a_receiver_that_vanished(own_double: Any) -> None:
    """A receiver that vanished without closing its connections is dropped and found again."""

    async def call(proxy: Proxy) -> list[str]:
        backend, codes = Backend(proxy.address, Timeouts(2, 60)), ["OK"]
        backend.open()
        async with asyncio.timeout(50):
            while len(codes) == 1 or codes[-1] != "OK":
                code = "OK"
                try:
                    await mint(backend)
                except ReceiverError as error:
                    code = error.code
                if code != codes[-1]:
                    codes.append(code)
        await backend.close()
        return codes

    with Proxy(f"127.0.0.1:{own_double.port}", [Fault.SWALLOW], cut_bytes=800) as proxy:
        assert asyncio.run(call(proxy))[:2] == ["OK", "DEADLINE_EXCEEDED"]
        assert len(proxy.seen) == 2


def test_close_without_open() -> None:
    """A backend that was never opened can be closed."""
    asyncio.run(Backend("127.0.0.1:1").close())
