"""A client that pushes metrics to a Pushgateway: ``python -m bench.load_http ADDRESS …``, JSON out.

A process of its own, bounded in count and time. Every push is a group of its own with the figures
of the example run in text form.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
import uuid
from collections.abc import Iterator

import aiohttp
from google.protobuf.message import Message

from bench.load import outcome
from bench.runs import example_run
from runmeter.v1 import ingest_service_pb2


def figures() -> list[str]:
    """Return the figures of the example run, one line of text form each."""
    run = ingest_service_pb2.PushRunRequest.FromString(example_run(str(uuid.UUID(int=0)))).run
    return list(_figures(run.payload, "run", {}))


def _figures(message: Message, name: str, labels: dict[str, str]) -> Iterator[str]:
    own = {
        field.name: value
        for field, value in message.ListFields()
        if isinstance(value, str) and field.name in ("name", "container")
    }
    labels = {**labels, **{f"{name}_{key}": value for key, value in own.items()}}
    for field, value in message.ListFields():
        inner = f"{name}_{field.name}"
        if isinstance(value, bool | str | bytes):
            continue
        if isinstance(value, int | float):
            shown = ",".join(f'{key}="{text}"' for key, text in labels.items())
            yield f"{inner}{{{shown}}} {value}"
        elif isinstance(value, Message):
            yield from _figures(value, inner, labels)
        else:
            for item in value:
                yield from _figures(item, inner, labels)


async def push_all(address: str, concurrency: int, count: int, most: float) -> dict:
    """Push ``count`` groups, or as many as fit into ``most`` seconds; return what happened."""
    body = "\n".join([*figures(), ""]).encode()
    latencies: list[float] = []
    failures: dict[str, int] = {}
    numbers = itertools.count()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        start = time.monotonic()

        async def work() -> None:
            while next(numbers) < count and time.monotonic() - start < most:
                url = f"http://{address}/metrics/job/build/run/{uuid.uuid4()}"
                begun = time.monotonic()
                async with session.put(url, data=body) as response:
                    text = await response.text()
                if response.status >= 300:
                    failures[text] = failures.get(text, 0) + 1
                    continue
                latencies.append(time.monotonic() - begun)

        await asyncio.gather(*(work() for _ in range(concurrency)))
        return outcome(latencies, failures, time.monotonic() - start)


def main() -> None:
    """Push and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--most-seconds", type=float, required=True)
    given = parser.parse_args()
    found = asyncio.run(push_all(given.address, given.concurrency, given.count, given.most_seconds))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
