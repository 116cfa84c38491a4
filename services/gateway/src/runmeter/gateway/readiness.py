"""Whether this gateway should get requests: the answer of ``/readyz``."""

import re
import time
from collections.abc import Awaitable, Callable

import structlog

from runmeter.gateway import events
from runmeter.gateway.errors import ReceiverError
from runmeter.service.ops import Cached

_log = structlog.get_logger()
_ADDRESS = re.compile(r"ipv[46]:\S+")  # the address of one connection: it differs in each attempt

ANSWER_SECONDS = 0.8
"""Kubernetes gives a probe 1 s by default, and asks again."""
FRESH_SECONDS = 1.0


class Readiness:
    """Asks the receiver at most once a second, one question at a time.

    ``closing_reason`` is why no requests should come whatever the receiver answers; None while
    they should. ``check`` raises `ReceiverError`; it must end by itself.
    """

    def __init__(
        self,
        check: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.closing_reason: str | None = None
        self._check = check
        self._lost_by: tuple[str, str] | None = None
        self._receiver = Cached[str | None](
            self._ask, FRESH_SECONDS, "the receiver does not answer", ANSWER_SECONDS, clock
        )

    async def unready_reason(self) -> str | None:
        """Return why this gateway is not ready, None if it is; within `ANSWER_SECONDS`."""
        if self.closing_reason is not None:
            return self.closing_reason
        found = await self._receiver.get()
        return self.closing_reason or found  # it may have begun to stop meanwhile

    async def _ask(self) -> str | None:
        try:
            await self._check()
        except ReceiverError as error:
            reason = error.code, _ADDRESS.sub("", error.message)
            if self._lost_by != reason:
                self._lost_by = reason
                _log.warning(events.RECEIVER_LOST, code=error.code, message=error.message)
            return f"the receiver is {error.code}"
        if self._lost_by is not None:
            self._lost_by = None
            _log.info(events.RECEIVER_FOUND)
        return None
