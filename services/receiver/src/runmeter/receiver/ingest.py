"""Use case: store a pushed run."""

from collections.abc import Callable

from runmeter.receiver.model import Push, Receipt, Scope
from runmeter.receiver.store.writer import Writer
from runmeter.v1 import run_pb2


class Ingest:
    """Stores validated runs. ``clock`` returns unix seconds."""

    def __init__(self, writer: Writer, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._clock = clock

    async def push(self, scope: Scope, run: run_pb2.Run, payload: bytes) -> Receipt:
        """Store a checked run and the bytes that queries answer with; return when it is durable."""
        arrived_at_ms = int(self._clock() * 1000)
        return await self._writer.write(Push(scope, run, payload, arrived_at_ms))
