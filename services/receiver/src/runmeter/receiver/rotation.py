"""Secrets and certificates are read anew while the receiver serves."""

import asyncio
from collections.abc import Sequence

import structlog

from runmeter.receiver import events
from runmeter.receiver.config import ServeConfig
from runmeter.receiver.errors import ConfigurationError
from runmeter.receiver.metrics import Metrics
from runmeter.receiver.rpc.server import Server
from runmeter.receiver.rpc.servicers import UseCases

KEY_MIN_BYTES = 16


class Rotation:
    """Puts new secrets in the place of old ones; calls that run are not disturbed."""

    def __init__(
        self, config: ServeConfig, use_cases: UseCases, server: Server, metrics: Metrics
    ) -> None:
        self._config = config
        self._use_cases = use_cases
        self._server = server
        self._metrics = metrics
        self._note_expiry()

    async def follow(self, asked: asyncio.Event) -> None:
        """Read again whenever asked to, until cancelled."""
        while True:
            await asked.wait()
            asked.clear()
            await self._reread()

    async def _reread(self) -> None:
        log = structlog.get_logger()
        try:
            fresh = await asyncio.to_thread(self._config.reread)
        except ConfigurationError as error:
            log.error(events.SECRETS_KEPT, reason=str(error))
            return
        changed = self._replace(fresh)
        log.info(events.SECRETS_REREAD, changed=changed)

    def _replace(self, fresh: ServeConfig) -> list[str]:
        """Use what is fresh, all of it or nothing; return the names of what is new."""
        old, self._config = self._config, fresh
        changed = []
        if fresh.read_token != old.read_token:
            self._use_cases.read_token.replace(fresh.read_token)
            changed.append("read_token")
        if fresh.hmac_keys != old.hmac_keys:
            self._use_cases.keyring.replace(fresh.hmac_keys)
            warn_of_short_keys(fresh.hmac_keys)
            changed.append("hmac_keys")
        if fresh.tls is not None and fresh.tls != old.tls:
            self._server.use_certificates(fresh.tls)
            self._note_expiry()
            changed.append("certificates")
        return changed

    def _note_expiry(self) -> None:
        if self._config.tls is not None:
            self._metrics.certificate_expires(self._config.tls.expires_at_unix)


def warn_of_short_keys(keys: Sequence[str]) -> None:
    """Log each key that can be guessed, by its place."""
    for position, key in enumerate(keys, 1):
        if len(key.encode()) < KEY_MIN_BYTES:
            structlog.get_logger().warning(
                events.KEY_FOUND_SHORT,
                position=position,
                reason="an HMAC key this short can be guessed",
                min_bytes=KEY_MIN_BYTES,
            )
