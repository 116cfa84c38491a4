"""The health check of a container."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from runmeter.service.probe import ask
from runmeter.service.values import Address


class Pages(BaseHTTPRequestHandler):
    """``/ready`` is 200, everything else 503."""

    def do_GET(self) -> None:
        """Answer with what was asked for."""
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()
        self.wfile.write(f"{self.path[1:]}\n".encode())

    def log_message(self, *arguments: object) -> None:
        """Write nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """A server that listens on loopback."""
    with HTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", [None, "0.0.0.0", "127.0.0.1"])
def test_answers(port: int, host: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is printed; 200 gives 0, any other status 1. Without a host, loopback is asked."""
    assert ask(Address(host, port), "/ready") == 0
    assert ask(Address(host, port), "/unready") == 1
    assert capsys.readouterr().out == "ready\nunready\n"


def test_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """If nothing listens, one line says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert ask(Address("127.0.0.1", port), "/") == 1
    said = f"no answer from 127.0.0.1:{port}: [Errno 111] Connection refused\n"
    assert capsys.readouterr().out == said
