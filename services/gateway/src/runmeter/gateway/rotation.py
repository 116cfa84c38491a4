"""Certificates are replaced while the gateway serves."""

from collections.abc import Callable

from runmeter.gateway import events
from runmeter.gateway.config import Settings
from runmeter.gateway.receiver.client import Backend
from runmeter.service.reload import Reload
from runmeter.service.tls import Served


def rotation(
    settings: Settings,
    served: Served | None,
    backend: Backend,
    expires: Callable[[float], None] = lambda at_unix: None,
) -> Reload[Settings]:
    """Make what reads the certificates again; running requests are not disturbed.

    ``expires`` is called with the end of the served certificate: now, and for each new one.
    """

    def replace(old: Settings, fresh: Settings) -> list[str]:
        changed = []
        if served is not None and fresh.tls is not None and fresh.tls != old.tls:
            served.replace(fresh.tls)
            expires(fresh.tls.expires_at_unix)
            changed.append("tls")
        if fresh.receiver_tls is not None and fresh.receiver_tls != old.receiver_tls:
            backend.use_certificates(fresh.receiver_tls)
            changed.append("receiver_tls")
        return changed

    if settings.tls is not None:
        expires(settings.tls.expires_at_unix)
    return Reload(
        settings, settings.reread, replace, events.CERTIFICATES_REREAD, events.CERTIFICATES_KEPT
    )
