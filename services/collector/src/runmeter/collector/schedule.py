"""When snapshots are due."""


class Schedule:
    """Ticks on an absolute grid: no drift, and a tick that could not be kept is counted."""

    def __init__(self, start_ns: int, interval_ns: int) -> None:
        self._start_ns = start_ns
        self._interval_ns = interval_ns
        self._passed = 0
        self.missed_count = 0

    @property
    def next_ns(self) -> int:
        """Return when the next tick is due, on the clock of ``start_ns``."""
        return self._start_ns + (self._passed + 1) * self._interval_ns

    def ticked(self, now_ns: int) -> None:
        """Note that the tick that was due was taken; ``now_ns``: when that was done."""
        due = max(self._passed + 1, (now_ns - self._start_ns) // self._interval_ns)
        self.missed_count += due - self._passed - 1
        self._passed = due
