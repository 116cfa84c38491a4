"""Values over a run and their statistics, in bounded memory.

Values are kept exactly, as packed arrays, while all series of a run together fit a budget.
Beyond it every series becomes counts in logarithmic buckets: percentiles are then within
1 % of the exact value; peak, avg and count stay exact.
"""

from array import array
from math import ceil, fsum, log
from typing import NamedTuple

BUDGET_BYTES = 4 * 1024 * 1024
_GROWTH = 1.02  # of one bucket to the next: its middle is within 1 % of all it holds
_LOG_GROWTH = log(_GROWTH)
_ITEM_BYTES = 8


class Statistics(NamedTuple):
    """Peak, percentiles and mean of a series, in the unit of its values."""

    peak: float
    p99: float
    p95: float
    p75: float
    p50: float
    avg: float


class Series:
    """Values of one figure: floats, or whole numbers below 2^53. Never negative."""

    __slots__ = ("_buckets", "_total", "_values", "count", "peak")

    def __init__(self) -> None:
        self._values: array[float] = array("d")
        self._buckets: dict[int, int] | None = None
        self._total = 0.0
        self.count = 0
        self.peak = 0.0

    def add(self, value: float) -> None:
        """Take one value."""
        self.count += 1
        if value > self.peak:
            self.peak = value
        if self._buckets is None:
            self._values.append(value)
        else:
            self._total += value
            index = _bucket(value)
            self._buckets[index] = self._buckets.get(index, 0) + 1

    @property
    def exact(self) -> bool:
        """Whether every value is still kept."""
        return self._buckets is None

    def coarsen(self) -> None:
        """Replace the values by counts in buckets."""
        if self._buckets is not None:
            return
        buckets: dict[int, int] = {}
        for value in self._values:
            index = _bucket(value)
            buckets[index] = buckets.get(index, 0) + 1
        self._total = fsum(self._values)
        self._values = array("d")
        self._buckets = buckets

    def statistics(self) -> Statistics | None:
        """Return the statistics; None if no value was taken.

        Percentiles are nearest-rank: the smallest value with at least p % of the values at or
        below it.
        """
        if not self.count:
            return None
        if self._buckets is None:
            ordered = sorted(self._values)
            p99, p95, p75, p50 = (ordered[_rank(p, self.count) - 1] for p in (99, 95, 75, 50))
            avg = fsum(ordered) / self.count
        else:
            p99, p95, p75, p50 = self._bucket_percentiles((99, 95, 75, 50))
            avg = self._total / self.count
        return Statistics(self.peak, p99, p95, p75, p50, min(avg, self.peak))

    def _bucket_percentiles(self, percents: tuple[int, ...]) -> list[float]:
        found = []
        assert self._buckets is not None
        ordered = sorted(self._buckets.items())
        for percent in percents:
            rank, below = _rank(percent, self.count), 0
            for index, count in ordered:
                below += count
                if below >= rank:
                    found.append(min(_middle(index), self.peak))
                    break
        return found


class SeriesSet:
    """All series of one run: hands them out and keeps them within the budget."""

    __slots__ = ("_budget_items", "_items", "_series", "exact")

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._budget_items = budget_bytes // _ITEM_BYTES
        self._items = 0
        self._series: list[Series] = []
        self.exact = True

    def new(self) -> Series:
        """Return an empty series of this run."""
        series = Series()
        if not self.exact:
            series.coarsen()
        self._series.append(series)
        return series

    def add(self, series: Series, value: float) -> None:
        """Take one value into a series of this set."""
        series.add(value)
        if self.exact:
            self._items += 1
            if self._items > self._budget_items:
                self.exact = False
                for each in self._series:
                    each.coarsen()


def _rank(percent: int, count: int) -> int:
    return max(1, -(-percent * count // 100))


_ZERO_BUCKET = -(2**31)


def _bucket(value: float) -> int:
    """Return the bucket of a value: (growth^(i-1), growth^i]; zero has one of its own."""
    return ceil(log(value) / _LOG_GROWTH) if value > 0 else _ZERO_BUCKET


def _middle(index: int) -> float:
    """Return the value in a bucket whose relative distance to both ends is equal."""
    if index == _ZERO_BUCKET:
        return 0.0
    return float(2 * _GROWTH**index / (1 + _GROWTH))
