"""``python -m runmeter.gateway.probe``: does the gateway beside it serve?

Asks ``/health`` of the gateway whose ``GATEWAY_ADDR`` it shares, as a container's health check
does; flags the gateway was given are not known here. Prints the answer, exits 0 or 1 (Docker
keeps 2 for itself). It brings neither Sanic nor gRPC: it is run again and again.
"""

from __future__ import annotations

import http.client
import sys
from typing import Final

from runmeter.gateway import config

ANSWER_SECONDS: Final = 4.0
_ANY: Final = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> int:
    """Ask, print what was answered, return the exit status."""
    try:
        settings = config.load({})
    except config.ConfigError as error:
        print(error)
        return 1
    address, path = settings.addr, "/health"
    if settings.tls is not None:
        if settings.ops_addr is None:
            print("GATEWAY_OPS_ADDR is none: with TLS there is no page to ask")
            return 1
        address, path = settings.ops_addr, "/healthz"
    host = _ANY.get(address.host) or str(address.host)
    connection = http.client.HTTPConnection(host, address.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        print(answer.read(1000).decode(errors="replace").strip())
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from {address}: {error or type(error).__name__}")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
