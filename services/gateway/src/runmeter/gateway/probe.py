"""``python -m runmeter.gateway.probe``: the health check of a container.

Asks ``/health`` of the gateway that has the same ``GATEWAY_ADDR``, as the health check of its
container; with TLS, ``/healthz`` of ``GATEWAY_OPS_ADDR``. Flags of the gateway are not known here.
Prints the answer; exits 0 or 1, because Docker reserves 2. It is run every few seconds, so it
imports neither Sanic nor gRPC.
"""

import sys

from runmeter.gateway import config
from runmeter.service.errors import ConfigurationError
from runmeter.service.probe import ask


def main() -> int:
    """Ask, print the answer, return the exit status."""
    try:
        settings = config.load({})
    except ConfigurationError as error:
        print(error)
        return 1
    if settings.tls is None:
        return ask(settings.addr, "/health")
    if settings.ops_addr is None:
        print("GATEWAY_OPS_ADDR is none: with TLS there is no page to ask")
        return 1
    return ask(settings.ops_addr, "/healthz")


if __name__ == "__main__":
    sys.exit(main())
