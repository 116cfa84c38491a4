"""A client that asks as fast as it is answered: ``python -m bench.requests KIND ADDRESS …``, JSON.

A process of its own, bounded in time. KIND: `get` and `post` by HTTP, `list` by gRPC.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc

from bench.load import outcome
from bench.runs import SCOPE
from runmeter.v1 import run_pb2, run_service_pb2, run_service_pb2_grpc

_OPTIONS = [("grpc.max_receive_message_length", 8 * 2**20), ("grpc.enable_http_proxy", 0)]

Ask = Callable[[], Awaitable[str | None]]
"""Ask once and read the whole answer; returns what went wrong, or None."""


@asynccontextmanager
async def _http(given: argparse.Namespace) -> AsyncIterator[Ask]:
    body = None if given.body is None else Path(given.body).read_bytes()
    headers = {"Authorization": f"Bearer {given.token}", "Accept-Encoding": "identity"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def ask() -> str | None:
            url = f"http://{given.address}{given.path}"
            async with session.request(given.kind.upper(), url, data=body) as response:
                await response.read()
            return None if response.status < 300 else str(response.status)

        yield ask


@asynccontextmanager
async def _grpc(given: argparse.Namespace) -> AsyncIterator[Ask]:
    metadata = (("authorization", f"Bearer {given.token}"),)
    request = run_service_pb2.ListRunsRequest(scope=run_pb2.Scope(**SCOPE), limit=given.limit)
    async with grpc.aio.insecure_channel(given.address, _OPTIONS) as channel:
        stub = run_service_pb2_grpc.RunServiceStub(channel)

        async def ask() -> str | None:
            got = 0
            async for response in stub.ListRuns(request, metadata=metadata):
                got += len(response.page.runs)
            return None if got == given.limit else f"{got} runs"

        yield ask


async def ask_all(given: argparse.Namespace) -> dict:
    """Ask for so many seconds; return what happened."""
    latencies: list[float] = []
    failures: dict[str, int] = {}
    async with (_grpc if given.kind == "list" else _http)(given) as ask:
        await ask()  # connects
        start = time.monotonic()

        async def work() -> None:
            while time.monotonic() - start < given.seconds:
                begun = time.monotonic()
                failure = await ask()
                if failure is not None:
                    failures[failure] = failures.get(failure, 0) + 1
                    continue
                latencies.append(time.monotonic() - begun)

        await asyncio.gather(*(work() for _ in range(given.concurrency)))
        return outcome(latencies, failures, time.monotonic() - start)


def main() -> None:
    """Ask and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("get", "post", "list"))
    parser.add_argument("address")
    parser.add_argument("--token", required=True)
    parser.add_argument("--path", default="/")
    parser.add_argument("--body")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    json.dump(asyncio.run(ask_all(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
