"""Keep Sanic and structlog from importing what the gateway never uses: a fifth of a start.

That is WebSockets, HTML pages for errors, certificates for development, coloured tracebacks.
"""

import sys
from types import ModuleType

ABSENT = ("aioquic", "rich", "trustme")
"""Optional: Sanic and structlog work without them."""
REPLACED = {
    "sanic.pages.error": "ErrorPage",
    "sanic.server.protocols.websocket_protocol": "WebSocketProtocol",
}
"""Modules of Sanic, and the one name that Sanic imports from each."""


def leave_out() -> None:
    """Put empty modules in their place; call this before Sanic and structlog are imported."""
    for name in ABSENT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type] # None: cannot be imported
    for name, attribute in REPLACED.items():
        module = ModuleType(name)
        setattr(module, attribute, type(attribute, (), {}))
        sys.modules.setdefault(name, module)
