"""``python -m runmeter.receiver.probe``: the health check of a container.

Asks ``/readyz`` of the receiver whose ``RECEIVER_OPS_ADDR`` it shares; flags the receiver was
given are not known here. Prints the answer, exits 0 or 1. It imports neither gRPC nor a database.
"""

import sys

from runmeter.receiver import config
from runmeter.service.errors import ConfigurationError
from runmeter.service.probe import ask


def main() -> int:
    """Ask, print the answer, return the exit status."""
    try:
        address = config.load_ops_address()
    except ConfigurationError as error:
        print(error)
        return 1
    if address is None:
        print("RECEIVER_OPS_ADDR is none: there is no page to ask")
        return 1
    return ask(address, "/readyz")


if __name__ == "__main__":
    sys.exit(main())
