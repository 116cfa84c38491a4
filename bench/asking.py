"""A client that lists runs: ``python -m bench.asking ADDRESS… --limit=50``, JSON out.

Asks the servers in turns, one call at a time, and prints the median of each in milliseconds.
"""

import argparse
import asyncio
import json
import sys
import time
from statistics import median

import grpc

from bench.runs import SCOPE
from runmeter.v1 import run_pb2, run_service_pb2, run_service_pb2_grpc

_OPTIONS = [("grpc.max_receive_message_length", 8 * 2**20), ("grpc.enable_http_proxy", 0)]


async def ask(addresses: list[str], token: str, limit: int, count: int) -> list[float]:
    """Return the median time of a whole listing of ``limit`` runs for each address, ms."""
    metadata = (("authorization", f"Bearer {token}"),)
    request = run_service_pb2.ListRunsRequest(scope=run_pb2.Scope(**SCOPE), limit=limit)
    channels = [grpc.aio.insecure_channel(address, _OPTIONS) for address in addresses]
    stubs = [run_service_pb2_grpc.RunServiceStub(channel) for channel in channels]
    times: list[list[float]] = [[] for _ in addresses]
    for turn in range(-3, count):  # the first ones only warm
        for stub, known in zip(stubs, times, strict=True):
            begun, got = time.perf_counter(), 0
            async for response in stub.ListRuns(request, metadata=metadata):
                got += len(response.page.runs)
            if turn >= 0:
                known.append(1000 * (time.perf_counter() - begun))
            if got != limit:
                raise RuntimeError(f"{got} runs of {limit}")
    for channel in channels:
        await channel.close()
    return [median(known) for known in times]


def main() -> None:
    """Ask and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--token", required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    given = parser.parse_args()
    json.dump(asyncio.run(ask(given.addresses, given.token, given.limit, given.count)), sys.stdout)


if __name__ == "__main__":
    main()
