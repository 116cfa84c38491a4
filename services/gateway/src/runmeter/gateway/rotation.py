"""Certificates are read anew while the gateway serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from runmeter.gateway import events
from runmeter.gateway.config import ConfigError, Settings
from runmeter.gateway.receiver.client import Backend
from runmeter.gateway.tls import Served

_log = structlog.get_logger()


class Rotation:
    """Puts new certificates in the place of old ones; requests that run are not disturbed."""

    def __init__(
        self,
        settings: Settings,
        served: Served | None,
        backend: Backend,
        expires: Callable[[float], None] = lambda at_unix: None,
    ) -> None:
        self._settings = settings
        self._served = served
        self._backend = backend
        self._expires = expires
        self._note_expiry()

    async def follow(self, asked: asyncio.Event) -> None:
        """Read again whenever asked to, until cancelled."""
        while True:
            await asked.wait()
            asked.clear()
            await self.reread()

    async def reread(self) -> None:
        """Read the files, and use what is new; or none of it where one will not do."""
        try:
            fresh = await asyncio.to_thread(self._settings.reread)
        except ConfigError as error:
            _log.error(events.CERTIFICATES_KEPT, reason=str(error))
            return
        _log.info(events.CERTIFICATES_REREAD, changed=self._replace(fresh))

    def _replace(self, fresh: Settings) -> list[str]:
        """Use what is fresh; return the names of what is new."""
        old, self._settings = self._settings, fresh
        changed = []
        if self._served is not None and fresh.tls is not None and fresh.tls != old.tls:
            self._served.replace(fresh.tls)
            self._note_expiry()
            changed.append("tls")
        if fresh.receiver_tls is not None and fresh.receiver_tls != old.receiver_tls:
            self._backend.use_certificates(fresh.receiver_tls)
            changed.append("receiver_tls")
        return changed

    def _note_expiry(self) -> None:
        if self._settings.tls is not None:
            self._expires(self._settings.tls.expires_at_unix)
