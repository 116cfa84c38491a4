"""The health check of a container: ask a page of the server beside it.

It is run every few seconds, so it imports little.
"""

import http.client

from runmeter.service.values import Address

ANSWER_SECONDS = 4.0  # a page takes 2 s at most
_ANY = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def ask(address: Address, path: str) -> int:
    """Ask, print the answer, return the exit status: 0 or 1, because Docker reserves 2."""
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
