"""When checkpoints are made; test_lifecycle has what they do."""

from __future__ import annotations

import pytest

from runmeter.collector.run.checkpoints import gap_ns

SECOND = 10**9


@pytest.mark.parametrize(
    ("interval", "longest", "ages"),
    [
        (2, 30, [0, 2, 4, 6, 10, 16, 24, 36, 54, 82, 112, 142]),
        (0.1, 30, [0, 1, 2, 3, 4.5, 6.8, 10.2, 15.3, 23, 34.5, 51.8, 77.7, 107.7]),
        (2, 3600, [0, 2, 4, 6, 10, 16, 24, 36, 54, 82, 124, 186, 280]),
        (3600, 30, [0, 30, 60, 90]),
        (0.1, 0.1, [0, 0.1, 0.2, 0.3]),
    ],
)
def test_the_first_ones_follow_soon(interval: float, longest: float, ages: list[float]) -> None:
    """Each is half the age of the run after the one before, with a snapshot, up to the longest."""
    found = [0]
    while len(found) < len(ages):
        distance = gap_ns(found[-1], round(interval * SECOND), round(longest * SECOND))
        found.append(found[-1] + distance)
    assert [age / SECOND for age in found] == ages
