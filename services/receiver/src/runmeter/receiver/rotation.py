"""Replace secrets and certificates of a running receiver."""

from collections.abc import Sequence

import structlog

from runmeter.receiver import events
from runmeter.receiver.config import ServeConfig
from runmeter.receiver.metrics import Metrics
from runmeter.receiver.rpc.server import Server
from runmeter.receiver.rpc.servicers import UseCases
from runmeter.service.reload import Reload

KEY_MIN_BYTES = 16


def rotation(
    config: ServeConfig, use_cases: UseCases, server: Server, metrics: Metrics
) -> Reload[ServeConfig]:
    """Return what replaces secrets and certificates at SIGHUP; calls go on undisturbed."""

    def show_expiry(served: ServeConfig) -> None:
        if served.tls is not None:
            metrics.certificate_expires(served.tls.expires_at_unix)

    def replace(old: ServeConfig, fresh: ServeConfig) -> list[str]:
        changed = []
        if fresh.read_token != old.read_token:
            use_cases.read_token.replace(fresh.read_token)
            changed.append("read_token")
        if fresh.hmac_keys != old.hmac_keys:
            use_cases.keyring.replace(fresh.hmac_keys)
            warn_of_short_keys(fresh.hmac_keys)
            changed.append("hmac_keys")
        if fresh.tls is not None and fresh.tls != old.tls:
            server.use_certificates(fresh.tls)
            show_expiry(fresh)
            changed.append("certificates")
        return changed

    show_expiry(config)
    return Reload(config, config.reread, replace, events.SECRETS_REREAD, events.SECRETS_KEPT)


def warn_of_short_keys(keys: Sequence[str]) -> None:
    """Log each key that can be guessed, by its position."""
    for position, key in enumerate(keys, 1):
        if len(key.encode()) < KEY_MIN_BYTES:
            structlog.get_logger().warning(
                events.KEY_FOUND_SHORT,
                position=position,
                reason="an HMAC key this short can be guessed",
                min_bytes=KEY_MIN_BYTES,
            )
