"""Values over a run and their statistics, in bounded memory.

Values are kept exactly, in packed arrays, while all series of a run together fit a budget.
Beyond it every series becomes counts in logarithmic buckets: percentiles are then within
1 % of the exact value; peak, avg and count stay exact.
"""

from array import array
from math import ceil, fsum, log
from typing import NamedTuple

BUDGET_BYTES = 4 * 1024 * 1024
_GROWTH = 1.02  # from one bucket to the next: its middle is within 1 % of all its values
_LOG_GROWTH = log(_GROWTH)
_ITEM_BYTES = 8
_TICK_BYTES = 4


class Statistics(NamedTuple):
    """Peak, percentiles and mean of a series, in the unit of its values."""

    peak: float
    p99: float
    p95: float
    p75: float
    p50: float
    avg: float


class _Buckets:
    """Counts of values in logarithmic buckets, packed; zero has a count of its own."""

    __slots__ = ("counts", "first", "zero_count")

    def __init__(self) -> None:
        self.counts = array("I")
        self.first = 0  # index of the first count
        self.zero_count = 0

    def add(self, value: float) -> None:
        """Count one value."""
        if value <= 0:
            self.zero_count += 1
            return
        index = ceil(log(value) / _LOG_GROWTH)  # (growth^(index-1), growth^index]
        if not self.counts:
            self.first = index
        below, above = self.first - index, index - self.first - len(self.counts) + 1
        if below > 0:
            self.counts = array("I", bytes(below * self.counts.itemsize)) + self.counts
            self.first = index
        elif above > 0:
            self.counts.frombytes(bytes(above * self.counts.itemsize))
        self.counts[index - self.first] += 1

    def percentile(self, rank: int) -> float:
        """Return the middle of the bucket that holds the value of a rank, from 1."""
        below = self.zero_count
        if rank <= below:
            return 0.0
        index = self.first
        for count in self.counts:
            below += count
            if rank <= below:
                break
            index += 1
        # the relative distance to both ends is equal
        return float(2 * _GROWTH**index / (1 + _GROWTH))


class Series:
    """Values of one figure: floats, or whole numbers below 2^53. Never negative.

    ``keeps_ticks``: remember at which tick each value was taken, so that two series can be
    added up.
    """

    __slots__ = ("_buckets", "_ticks", "_total", "_values", "count", "peak")

    def __init__(self, keeps_ticks: bool = False) -> None:
        self._values: array[float] = array("d")
        self._ticks: array[int] | None = array("I") if keeps_ticks else None
        self._buckets: _Buckets | None = None
        self._total = 0.0
        self.count = 0
        self.peak = 0.0

    def add(self, value: float, tick: int = 0) -> None:
        """Take one value."""
        self.count += 1
        if value > self.peak:
            self.peak = value
        if self._buckets is not None:
            self._total += value
            self._buckets.add(value)
            return
        self._values.append(value)
        if self._ticks is not None:
            self._ticks.append(tick)

    @property
    def can_merge(self) -> bool:
        """Whether every value and its tick is still kept."""
        return self._buckets is None and self._ticks is not None

    def merge(self, other: "Series") -> None:
        """Add the values of another series, tick by tick."""
        assert self._ticks is not None
        assert other._ticks is not None
        sums = dict(zip(self._ticks, self._values, strict=True))
        for tick, value in zip(other._ticks, other._values, strict=True):
            sums[tick] = sums.get(tick, 0.0) + value
        ticks = sorted(sums)
        self._ticks = array("I", ticks)
        self._values = array("d", (sums[tick] for tick in ticks))
        self.count = len(ticks)
        self.peak = max(self._values, default=0.0)

    def coarsen(self) -> None:
        """Replace the values by counts in buckets."""
        if self._buckets is not None:
            return
        self._buckets = _Buckets()
        for value in self._values:
            self._buckets.add(value)
        self._total = fsum(self._values)
        self._values = array("d")
        self._ticks = None

    def statistics(self) -> Statistics | None:
        """Return the statistics; None if no value was taken.

        Percentiles are nearest-rank: the smallest value with at least p % of the values at or
        below it.
        """
        if not self.count:
            return None
        ranks = [_rank(percent, self.count) for percent in (99, 95, 75, 50)]
        if self._buckets is None:
            ordered = sorted(self._values)
            p99, p95, p75, p50 = (ordered[rank - 1] for rank in ranks)
            avg = fsum(ordered) / self.count
        else:
            buckets = self._buckets
            p99, p95, p75, p50 = (min(buckets.percentile(rank), self.peak) for rank in ranks)
            avg = self._total / self.count
        return Statistics(self.peak, p99, p95, p75, p50, min(avg, self.peak))


class SeriesSet:
    """All series of one run: creates them and keeps them within the budget."""

    __slots__ = ("_budget_items", "_items", "_keeps_ticks", "_series", "exact")

    def __init__(self, budget_bytes: int = BUDGET_BYTES, keeps_ticks: bool = False) -> None:
        self._budget_items = budget_bytes // (_ITEM_BYTES + (_TICK_BYTES if keeps_ticks else 0))
        self._keeps_ticks = keeps_ticks
        self._items = 0
        self._series: list[Series] = []
        self.exact = True

    def new(self) -> Series:
        """Return an empty series of this run."""
        series = Series(self._keeps_ticks)
        if not self.exact:
            series.coarsen()
        self._series.append(series)
        return series

    def add(self, series: Series, value: float, tick: int = 0) -> None:
        """Take one value into a series of this set."""
        series.add(value, tick)
        if self.exact:
            self._items += 1
            if self._items > self._budget_items:
                self.exact = False
                for each in self._series:
                    each.coarsen()


def _rank(percent: int, count: int) -> int:
    return max(1, -(-percent * count // 100))
