"""A real browser without a screen, driven over its own protocol: what a page asks for and shows.

Source: Chrome DevTools Protocol (Network, Page, Runtime).
"""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

WAIT_SECONDS = 60.0
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
# every violation of the page's policy, from before its first byte is read
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation",
  (event) => window.violations.push(event.violatedDirective + " " + event.blockedURI));
"""


class Page:
    """The one page of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.requests: list[str] = []
        """Addresses the page asked for, in order; those in the page itself (data:) too."""
        self.errors: list[Any] = []
        """What its scripts raised."""
        for domain in ("Network", "Page", "Runtime"):
            self._call(f"{domain}.enable")
        self._call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)

    def open(self, url: str) -> None:
        """Go to an address."""
        self._call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until JavaScript in the page is true."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.value(expression):
            assert time.monotonic() < deadline, (expression, self.requests, self.errors)
            time.sleep(0.05)

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._connection.send(
            json.dumps({"id": self._number, "method": method, "params": parameters})
        )
        while True:
            message = json.loads(self._connection.recv(WAIT_SECONDS))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: Any) -> None:
        if message["method"] == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.errors.append(message["params"])


@contextlib.contextmanager
def browsing(program: str, folder: Path) -> Iterator[Page]:
    """Hold a browser whose profile is in a folder; it ends with the context."""
    command = [
        program,
        *FLAGS,
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "about:blank",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            port = _port(process)
            found = httpx.get(f"http://127.0.0.1:{port}/json", trust_env=False).json()
            (address,) = (one["webSocketDebuggerUrl"] for one in found if one["type"] == "page")
            with connect(address, proxy=None, max_size=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.search(r"DevTools listening on ws://[^:]+:(\d+)/", line):
            return int(match[1])
    raise AssertionError("the browser has ended")
