"""Signals of a server: the first one that ends it, a second one that ends it sooner, and SIGHUP.

::

    with Signals() as signals:
        name = await signals.first()  # "SIGTERM"
        ...  # end in order; signals.hurried is set by a second signal
"""

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from typing import Self

ENDING = (signal.SIGTERM, signal.SIGINT)
# GNU timeout signals its child and then its process group, so that a server gets a signal twice
REPEAT_SECONDS = 0.2


class Signals:
    """A context of the main thread, within a running loop.

    When it is left everything has ended, and a signal that comes then changes nothing.
    ``second`` is called with the number of each ending signal after the first; a repeat of the same
    one within 200 ms does not count. Without ``hangup`` SIGHUP keeps its default: it ends the
    program.
    """

    def __init__(
        self, second: Callable[[int], None] = lambda number: None, hangup: bool = True
    ) -> None:
        self._second = second
        self._last = (0, 0.0)
        self._numbers = (*ENDING, signal.SIGHUP) if hangup else ENDING
        self.stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Resolves to the name of the first signal."""
        self.hurried = asyncio.Event()
        """A second one has come."""
        self.hung_up = asyncio.Event()
        """SIGHUP has come; cleared where it is waited for."""

    def __enter__(self) -> Self:
        # not the loop's own handlers: it removes them by way of the default, which kills; blocking
        # the signals meanwhile would do so for this thread only
        self._written, self._read = socket.socketpair()
        for end in (self._written, self._read):
            end.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        asyncio.get_running_loop().add_reader(self._read, self._receive)
        for number in self._numbers:
            signal.signal(number, _nothing)
        return self

    def __exit__(self, *error: object) -> None:
        for number in self._numbers:
            signal.signal(number, signal.SIG_IGN)
        asyncio.get_running_loop().remove_reader(self._read)
        signal.set_wakeup_fd(self._wakeup)
        self._read.close()
        self._written.close()

    async def first(self) -> str:
        """Wait for the first signal that ends the program; return its name."""
        return await self.stop

    def end(self, name: str) -> None:
        """Ask the program to end, as a signal of that name does."""
        if not self.stop.done():
            self.stop.set_result(name)
        else:
            self.hurried.set()

    def _receive(self) -> None:
        for number in self._read.recv(4096):
            if number == signal.SIGHUP and number in self._numbers:
                self.hung_up.set()
            elif number in ENDING and not self._is_repeat(number):
                is_second = self.stop.done()
                self.end(signal.Signals(number).name)
                if is_second:
                    self._second(number)

    def _is_repeat(self, number: int) -> bool:
        last, at_seconds = self._last
        now_seconds = time.monotonic()
        if number == last and now_seconds - at_seconds < REPEAT_SECONDS:
            return True
        self._last = (number, now_seconds)
        return False


def _nothing(number: int, frame: object) -> None:
    """Handle a signal: its number is read from the socket that the interpreter writes to."""
