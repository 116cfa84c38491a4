"""Refused bearers, counted by caller and by bearer, in a table of bounded size."""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from cachetools import TTLCache

WINDOW_SECONDS = 60.0
KEYS_MAX = 20_000  # some MiB; beyond it the oldest are forgotten


class Excess(NamedTuple):
    """More failures than allowed: for how long, and whether this is the first excess."""

    wait_seconds: float
    is_first: bool


class _Window:
    __slots__ = ("count", "ends_seconds")

    def __init__(self, ends_seconds: float) -> None:
        self.count = 0
        self.ends_seconds = ends_seconds


class Failures:
    """Counts failures for a minute from the first one on; ``clock`` returns seconds."""

    def __init__(
        self,
        allowed_count: int,
        clock: Callable[[], float] = time.monotonic,
        keys_max: int = KEYS_MAX,
    ) -> None:
        self._allowed_count = allowed_count
        self._clock = clock
        self._windows: TTLCache[str | bytes, _Window] = TTLCache(keys_max, WINDOW_SECONDS, clock)

    def failed(self, caller: str, bearer: str | None) -> Excess | None:
        """Count a failure of a caller and of its bearer; return the excess, if any."""
        keys: list[str | bytes] = [caller]
        if bearer is not None:
            keys.append(sha256(bearer.encode()).digest())
        wait_seconds, is_first = 0.0, False
        for window in map(self._window, keys):
            window.count += 1
            if window.count > self._allowed_count:
                wait_seconds = max(wait_seconds, window.ends_seconds - self._clock())
                is_first |= window.count == self._allowed_count + 1
        return Excess(wait_seconds, is_first) if wait_seconds > 0 else None

    def __len__(self) -> int:
        """Return how many callers and bearers are counted now."""
        return len(self._windows)

    def _window(self, key: str | bytes) -> _Window:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(self._clock() + WINDOW_SECONDS)
        return window
