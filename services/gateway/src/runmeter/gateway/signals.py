"""Signals of this process."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any, Final, Self

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """What this process was sent: signals that end it, and SIGHUP.

    A context of the main thread; when it is left everything has ended, and a signal that comes
    then changes nothing. asyncio's own handlers would fall back to the defaults when the loop is
    closed: a late signal would make a failure of an end in order.
    """

    def __init__(self) -> None:
        self._names: asyncio.Queue[str] = asyncio.Queue()
        self._count = 0
        self.hurried = asyncio.Event()
        """A second one has come."""
        self.hung_up = asyncio.Event()

    def __enter__(self) -> Self:
        self._numbers, self._written = socket.socketpair()
        for end in (self._numbers, self._written):
            end.setblocking(False)
        signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        asyncio.get_running_loop().add_reader(self._numbers, self._read)
        for number in (*_ENDING, signal.SIGHUP):
            signal.signal(number, _nothing)
        return self

    def __exit__(self, *error: object) -> None:
        for number in (*_ENDING, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        asyncio.get_running_loop().remove_reader(self._numbers)
        signal.set_wakeup_fd(-1)
        self._numbers.close()
        self._written.close()

    def _read(self) -> None:
        for number in self._numbers.recv(4096):
            if number in _ENDING:
                self.end(signal.Signals(number).name)
            elif number == signal.SIGHUP:
                self.hung_up.set()

    def end(self, name: str) -> None:
        """Ask this process to end."""
        self._count += 1
        if self._count > 1:
            self.hurried.set()
        self._names.put_nowait(name)

    async def first(self) -> str:
        """Wait for the first that ends it; its name."""
        return await self._names.get()


def _nothing(number: int, frame: Any) -> None:
    """Handle a signal: the loop reads its number from the socket the interpreter writes to."""
