"""Signals of a server: the first that ends it, the second that hurries it, and SIGHUP.

::

    with Signals() as signals:
        name = await signals.first()  # "SIGTERM"
        ...  # end in order; signals.hurried is set by a second signal
"""

import asyncio
import signal
from collections.abc import Callable
from typing import Self

ENDING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """A context of the main thread, within a running loop.

    When it is left everything has ended, and a signal that comes then changes nothing.
    ``second`` is called with the number of each ending signal after the first. Without ``hangup``
    SIGHUP keeps its default: it ends the program.
    """

    def __init__(
        self, second: Callable[[int], None] = lambda number: None, hangup: bool = True
    ) -> None:
        self._second = second
        self._numbers = (*ENDING, signal.SIGHUP) if hangup else ENDING
        self.stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Resolves to the name of the first signal."""
        self.hurried = asyncio.Event()
        """A second one has come."""
        self.hung_up = asyncio.Event()
        """SIGHUP has come; cleared where it is waited for."""

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._received, number)
        if signal.SIGHUP in self._numbers:
            loop.add_signal_handler(signal.SIGHUP, self.hung_up.set)
        return self

    def __exit__(self, *error: object) -> None:
        loop = asyncio.get_running_loop()
        # removing a handler sets the default, which kills: blocked until it is ignored
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        for number in self._numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    async def first(self) -> str:
        """Wait for the first signal that ends the program; return its name."""
        return await self.stop

    def end(self, name: str) -> None:
        """Ask the program to end, as a signal of that name does."""
        if not self.stop.done():
            self.stop.set_result(name)
        else:
            self.hurried.set()

    def _received(self, number: signal.Signals) -> None:
        is_second = self.stop.done()
        self.end(number.name)
        if is_second:
            self._second(number)
