"""What tests of the gateway share: a path, a bearer, and requests byte by byte."""

import socket
from collections.abc import Callable
from time import monotonic, sleep

RUNS = "/api/v1/metrics/repo/o/r/w/j"
TOKEN = "5ec4e7ba" * 8  # of a push token's form
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": "identity"}
BEARER = f"Authorization: Bearer {TOKEN}\r\n"
WAIT_SECONDS = 20.0


def head(method: str = "GET", path: str = RUNS, *lines: str, version: str = "1.1") -> bytes:
    """Return the head of a request with a bearer and these lines."""
    more = "".join(f"{line}\r\n" for line in lines)
    return f"{method} {path} HTTP/{version}\r\nHost: h\r\n{BEARER}{more}\r\n".encode()


def connect(address: str, data: bytes = b"") -> socket.socket:
    """Open a connection and send bytes."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host.strip("[]"), int(port)), timeout=WAIT_SECONDS)
    connection.sendall(data)
    return connection


def exchange(address: str, data: bytes) -> bytes:
    """Send bytes; return everything until the server closes."""
    with connect(address, data) as connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def until(is_done: Callable[[], bool]) -> None:
    """Ask until it is true."""
    deadline = monotonic() + WAIT_SECONDS
    while not is_done():
        assert monotonic() < deadline
        sleep(0.01)
