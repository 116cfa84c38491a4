"""Read the files of settings again at SIGHUP; use all new values, or none.

::

    reload = Reload(settings, settings.reread, replace, SECRETS_REREAD, SECRETS_KEPT)
    task = asyncio.create_task(reload.follow(signals.hung_up))
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

from runmeter.service.errors import ConfigurationError

_T = TypeVar("_T")


class Reload(Generic[_T]):
    """Settings that can be read again.

    ``replace`` is called with the old and the new ones, uses what is new and returns its names.
    ``reread_event`` is logged after that, ``kept_event`` if the new ones cannot be used.
    """

    def __init__(
        self,
        settings: _T,
        read: Callable[[], _T],
        replace: Callable[[_T, _T], list[str]],
        reread_event: str,
        kept_event: str,
    ) -> None:
        self._settings = settings
        self._read = read
        self._replace = replace
        self._reread_event = reread_event
        self._kept_event = kept_event

    async def follow(self, asked: asyncio.Event) -> None:
        """Read again each time the event is set, until cancelled."""
        while True:
            await asked.wait()
            asked.clear()
            await self.reread()

    async def reread(self) -> None:
        """Read the files and use the new values; if one cannot be used, use none of them."""
        log = structlog.get_logger()
        try:
            fresh = await asyncio.to_thread(self._read)
        except ConfigurationError as error:
            log.error(self._kept_event, reason=str(error))
            return
        old, self._settings = self._settings, fresh
        log.info(self._reread_event, changed=self._replace(old, fresh))
