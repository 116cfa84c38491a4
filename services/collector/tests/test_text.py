"""Times and sizes as text."""

import pytest

from runmeter.collector.text import rfc3339, size


def test_times_are_rfc_3339_with_milliseconds() -> None:
    """A time is written in UTC with three decimals and a Z."""
    assert rfc3339(1770388202185) == "2026-02-06T14:30:02.185Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (18567168, "17.7 MiB"),
        (2**30, "1.0 GiB"),
        (5 * 2**40, "5.0 TiB"),
        (2**60, "1048576.0 TiB"),
    ],
)
def test_sizes_have_binary_units(count: int, text: str) -> None:
    """A size is shown in the largest unit that leaves at least one."""
    assert size(count) == text
