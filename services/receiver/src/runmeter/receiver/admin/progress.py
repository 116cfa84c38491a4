"""Progress on a terminal: one line that is written over."""

import time
from collections.abc import Callable
from typing import TextIO

_EVERY_SECONDS = 0.5
_CLEAR = "\r\x1b[K"


class Progress:
    """Shows how many runs are done and how fast; without a stream it shows nothing."""

    def __init__(
        self, doing: str, stream: TextIO | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._doing = doing
        self._stream = stream
        self._clock = clock
        self._started = self._shown = clock()

    def show(self, run_count: int) -> None:
        """Write the line again, at most twice a second."""
        now = self._clock()
        if self._stream is None or now - self._shown < _EVERY_SECONDS:
            return
        self._shown = now
        rate = run_count / (now - self._started)
        self._stream.write(f"{_CLEAR}{self._doing}: {run_count} runs, {rate:.0f} runs/s")
        self._stream.flush()

    def close(self) -> None:
        """Remove the line."""
        if self._stream is not None:
            self._stream.write(_CLEAR)
            self._stream.flush()
