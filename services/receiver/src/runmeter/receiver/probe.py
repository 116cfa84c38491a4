"""``python -m runmeter.receiver.probe``: is the receiver beside it ready for calls?

Asks ``/readyz`` of the receiver whose ``RECEIVER_OPS_ADDR`` it shares, as a container's health
check does; flags the receiver was given are not known here. Prints the answer, exits 0 or 1
(Docker keeps 2 for itself). It brings neither gRPC nor a database: it is run again and again.
"""

import http.client
import sys

from runmeter.receiver import config
from runmeter.receiver.errors import ConfigurationError

ANSWER_SECONDS = 4.0  # the page itself takes 2 s at most
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> int:
    """Ask, print what was answered, return the exit status."""
    try:
        address = config.load_ops_address()
    except ConfigurationError as error:
        print(error)
        return 1
    if address is None:
        print("RECEIVER_OPS_ADDR is none: there is no page to ask")
        return 1
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    connection = http.client.HTTPConnection(_ANY.get(host, host), int(port), timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
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
