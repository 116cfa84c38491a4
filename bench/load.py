"""A client that pushes as fast as it is answered: ``python -m bench.load ADDRESS …``, JSON out.

A process of its own, bounded in count and time. Every push is a run of its own: the same 3 KiB
message with another push_id, patched into its bytes, so that the client costs little.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
import uuid

import grpc

from bench.runs import METHOD, example_run

SPREAD = 2654435761
"""Odd: numbers times this are distinct modulo 2^32 and in no order, as random ids are."""
_PLACE = "00000000-0000-4000-8000-000000000000"


async def push_all(address: str, token: str, concurrency: int, count: int, most: float) -> dict:
    """Push ``count`` runs, or as many as fit into ``most`` seconds; return what happened."""
    message = example_run(_PLACE)
    head, tail = message.split(_PLACE.encode())
    options = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]
    latencies: list[float] = []
    failures: dict[str, int] = {}
    async with grpc.aio.insecure_channel(address, options) as channel:
        call = channel.unary_unary(METHOD)
        metadata = (("authorization", f"Bearer {token}"),)
        await channel.channel_ready()
        numbers = itertools.count()
        suffix = uuid.uuid4().hex[8:]
        start = time.monotonic()

        async def work() -> None:
            while (number := next(numbers)) < count and time.monotonic() - start < most:
                digits = f"{number * SPREAD % 2**32:08x}{suffix}"
                push_id = "-".join(
                    (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
                )
                begun = time.monotonic()
                try:
                    await call(head + push_id.encode() + tail, metadata=metadata, timeout=60)
                except grpc.aio.AioRpcError as error:
                    name = error.code().name
                    failures[name] = failures.get(name, 0) + 1
                    continue
                latencies.append(time.monotonic() - begun)

        await asyncio.gather(*(work() for _ in range(concurrency)))
        return outcome(latencies, failures, time.monotonic() - start)


def outcome(latencies: list[float], failures: dict[str, int], seconds: float) -> dict:
    """Return what became of a burst, as `receivers.Load` has it."""
    latencies.sort()
    return {
        "pushed_count": len(latencies),
        "seconds": seconds,
        "p50_ms": _percentile_ms(latencies, 0.50),
        "p99_ms": _percentile_ms(latencies, 0.99),
        "failures": failures,
    }


def _percentile_ms(ordered: list[float], share: float) -> float:
    return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def main() -> None:
    """Push and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--token", required=True)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--most-seconds", type=float, default=60.0)
    given = parser.parse_args()
    found = asyncio.run(
        push_all(given.address, given.token, given.concurrency, given.count, given.most_seconds)
    )
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
