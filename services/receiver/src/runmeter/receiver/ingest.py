"""Use case: take a run in."""

from collections.abc import Callable
from typing import Protocol

from runmeter.receiver.model import Push, Receipt, Run, content_digest


class WritesPushes(Protocol):
    """What `writer.Writer` does."""

    async def write(self, push: Push) -> Receipt:
        """Store a push and return when it is durable."""
        ...


class Ingest:
    """Stores validated runs. `clock` returns unix seconds."""

    def __init__(self, writer: WritesPushes, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._clock = clock

    async def push(self, run: Run, payload: bytes) -> Receipt:
        """Store a run with the bytes it is answered as; return when it is durable."""
        arrived_at_ms = int(self._clock() * 1000)
        return await self._writer.write(Push(run, content_digest(run), payload, arrived_at_ms))
