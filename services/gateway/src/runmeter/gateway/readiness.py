"""Whether this gateway should get requests: what ``/readyz`` says."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from runmeter.gateway import events
from runmeter.gateway.errors import ReceiverError

_log = structlog.get_logger()
_ADDRESS: Final = re.compile(r"ipv[46]:\S+")  # of one connection: another one has another

ANSWER_SECONDS: Final = 0.8
"""Kubernetes gives a probe 1 s by default, and asks again."""
FRESH_SECONDS: Final = 1.0


class Readiness:
    """Asks the receiver, at most once a second, one question at a time.

    ``closing_reason`` is why no requests should come whatever the receiver says; None while
    they should. ``check`` raises `ReceiverError`; it must end by itself.
    """

    def __init__(
        self,
        check: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.closing_reason: str | None = None
        self._check = check
        self._clock = clock
        self._ended_seconds = 0.0
        self._lost_by: tuple[str, str] | None = None
        self._task: asyncio.Task[str | None] | None = None

    async def unready_reason(self) -> str | None:
        """Say why this gateway is not ready, None if it is; within `ANSWER_SECONDS`."""
        if self.closing_reason is not None:
            return self.closing_reason
        task = self._task
        stale = self._clock() - self._ended_seconds >= FRESH_SECONDS
        if task is None or (task.done() and stale):
            task = self._task = asyncio.create_task(self._ask())
        await asyncio.wait({task}, timeout=ANSWER_SECONDS)
        found = task.result() if task.done() else "the receiver does not answer"
        return self.closing_reason or found  # perhaps since a moment ago

    async def _ask(self) -> str | None:
        try:
            await self._check()
        except ReceiverError as error:
            reason = error.code, _ADDRESS.sub("", error.message)
            if self._lost_by != reason:
                self._lost_by = reason
                _log.warning(events.RECEIVER_LOST, code=error.code, message=error.message)
            return f"the receiver is {error.code}"
        finally:
            self._ended_seconds = self._clock()
        if self._lost_by is not None:
            self._lost_by = None
            _log.info(events.RECEIVER_FOUND)
        return None
