"""Use case: store a pushed run."""

from collections.abc import Callable

from runmeter.receiver.model import Push, Receipt, Run, content_digest
from runmeter.receiver.store.writer import Writer


class Ingest:
    """Stores validated runs. ``clock`` returns unix seconds."""

    def __init__(self, writer: Writer, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._clock = clock

    async def push(self, run: Run, payload: bytes) -> Receipt:
        """Store a run and the bytes that queries answer with; return when it is durable."""
        arrived_at_ms = int(self._clock() * 1000)
        return await self._writer.write(Push(run, content_digest(run), payload, arrived_at_ms))
