"""Statistics against a sorted oracle, exact and in buckets."""

from __future__ import annotations

from math import ceil, fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runmeter.collector.summary.series import BUDGET_BYTES, Series, SeriesSet, Statistics

VALUES = st.lists(
    st.floats(0, 1e12, allow_subnormal=False)
    | st.integers(0, 2**52).map(float)
    | st.sampled_from([0.0, 1.0, 1.02, 1e-9]),
    min_size=1,
    max_size=200,
)


def _series(values: list[float]) -> Series:
    series = Series()
    for value in values:
        series.add(value)
    return series


def _oracle(values: list[float], percent: int) -> float:
    """Return the smallest value with at least ``percent`` % of the values at or below it."""
    return next(
        v for v in sorted(values) if 100 * sum(w <= v for w in values) >= percent * len(values)
    )


@given(VALUES)
def test_statistics_equal_the_sorted_oracle(values: list[float]) -> None:
    """Peak, nearest-rank percentiles and mean are those of the values."""
    found = _series(values).statistics()
    assert found is not None
    assert found.peak == max(values)
    assert (found.p99, found.p95, found.p75, found.p50) == tuple(
        _oracle(values, percent) for percent in (99, 95, 75, 50)
    )
    assert found.avg == min(fsum(values) / len(values), max(values))


@given(VALUES, VALUES)
def test_buckets_are_within_one_percent(early: list[float], late: list[float]) -> None:
    """Coarsened at any time: peak, mean and count stay, percentiles are within 1 %."""
    series = _series(early)
    series.coarsen()
    for value in late:
        series.add(value)
    series.coarsen()
    values = early + late
    found = series.statistics()
    assert found is not None
    assert series._buckets is not None
    assert series.count == len(values)
    assert found.peak == max(values)
    assert found.avg == pytest.approx(fsum(values) / len(values), rel=1e-12, abs=1e-300)
    for percent, value in zip((99, 95, 75, 50), found[1:5], strict=True):
        exact = _oracle(values, percent)
        assert abs(value - exact) <= 0.01 * exact


@given(VALUES)
def test_percentiles_are_ordered(values: list[float]) -> None:
    """No percentile is above a higher one, none above the peak, exact or not."""
    series = _series(values)
    for _ in range(2):
        found = series.statistics()
        assert found is not None
        assert 0 <= found.p50 <= found.p75 <= found.p95 <= found.p99 <= found.peak
        assert found.avg <= found.peak
        series.coarsen()


def test_an_empty_series_has_no_statistics() -> None:
    """Without a value there is nothing to say, which is not zero."""
    series = Series()
    assert series.statistics() is None
    series.coarsen()
    assert series.statistics() is None


def test_ranks_of_twenty_values() -> None:
    """Of 1 to 20: p99 is the 20th, p95 the 19th, p75 the 15th, p50 the 10th."""
    values = [float(n) for n in range(20, 0, -1)]
    assert _series(values).statistics() == Statistics(20, 20, 19, 15, 10, 10.5)


def test_the_budget_holds_for_all_series_together() -> None:
    """Up to the budget everything is exact; the next value coarsens every series."""
    series_set = SeriesSet(budget_bytes=80)
    first, second = series_set.new(), series_set.new()
    for number in range(5):
        series_set.add(first, number)
        series_set.add(second, number)
    assert series_set.exact
    assert (first._buckets, second._buckets) == (None, None)
    series_set.add(first, 7)
    assert not series_set.exact
    assert None not in (first._buckets, second._buckets, series_set.new()._buckets)
    assert first.count == 6


def test_the_budget_is_respected_by_a_long_run() -> None:
    """A series of a week every tenth of a second keeps buckets, not values."""
    series_set = SeriesSet(budget_bytes=8 * 1000)
    series = series_set.new()
    for number in range(20_000):
        series_set.add(series, 1 + number % 997)
    found = series.statistics()
    assert found is not None
    assert found.peak == 997
    assert len(series._values) == 0
    assert series._buckets is not None
    assert len(series._buckets.counts) <= ceil(7 / 0.0198) + 1  # ln 997 < 7, ln 1.02 > 0.0198
    assert sum(series._buckets.counts) + series._buckets.zero_count == 20_000


@settings(max_examples=200)
@given(
    st.dictionaries(st.integers(0, 30), st.floats(0, 1e6)),
    st.dictionaries(st.integers(0, 30), st.floats(0, 1e6)),
)
def test_merging_adds_tick_by_tick(first: dict[int, float], second: dict[int, float]) -> None:
    """A merged series has the sum of each tick; a tick that one series lacks counts as 0 in it."""
    merged, other = Series(keeps_ticks=True), Series(keeps_ticks=True)
    for series, values in ((merged, first), (other, second)):
        for tick in sorted(values):
            series.add(values[tick], tick)
    merged.merge(other)
    sums = [first.get(t, 0.0) + second.get(t, 0.0) for t in sorted({**first, **second})]
    assert merged.statistics() == _series(sums).statistics()


def test_a_long_run_of_many_containers_stays_small() -> None:
    """Hundreds of coarsened series of wide-spread values take less than the budget together."""
    series_set = SeriesSet(budget_bytes=8)
    held = [series_set.new() for _ in range(320)]
    for number, series in enumerate(held):
        for value in (4096.0 + number, 1e6, 6.4e10):
            series_set.add(series, value)
    packed = sum(len(s._buckets.counts) * 4 for s in held if s._buckets is not None)
    assert packed <= BUDGET_BYTES / 2
