"""Keep Sanic and structlog from importing what the gateway never uses: a fifth of a start.

That is WebSockets, HTML pages for errors and folders, certificates for development, and coloured
tracebacks.
"""

import sys
from types import ModuleType

ABSENT = ("aioquic", "rich", "trustme")
"""Optional: Sanic and structlog work without them."""
REPLACED = {
    "sanic.pages.directory_page": ("DirectoryPage", "FileInfo"),
    "sanic.pages.error": ("ErrorPage",),
    "sanic.server.protocols.websocket_protocol": ("WebSocketProtocol",),
    "sanic.server.websockets.impl": ("ConnectionClosed", "WebsocketImplProtocol"),
}
"""Modules of Sanic, and the names that Sanic imports from each."""


def leave_out() -> None:
    """Replace them with empty modules; call this before Sanic and structlog are imported."""
    for name in ABSENT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type] # None: cannot be imported
    for name, attributes in REPLACED.items():
        module = ModuleType(name)
        for attribute in attributes:
            setattr(module, attribute, type(attribute, (Exception,), {}))
        sys.modules.setdefault(name, module)
