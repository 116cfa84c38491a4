"""RFC 3339 in and out."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.gateway.schemas.instant import Instant, parse_instant
from runmeter.v1.json_values import TimeError


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-02-06T14:30:02.185Z", "2026-02-06T14:30:02.185Z"),
        ("2026-02-06t14:30:02z", "2026-02-06T14:30:02.000Z"),
        ("2026-02-06 14:30:02Z", "2026-02-06T14:30:02.000Z"),
        ("2026-02-06T14:30:02.1+05:30", "2026-02-06T09:00:02.100Z"),
        ("2026-02-06T14:30:02.999999999-00:00", "2026-02-06T14:30:02.999Z"),
        ("2026-02-06T23:30:00-01:00", "2026-02-07T00:30:00.000Z"),
        ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
        ("2017-01-01T01:59:60.5+02:00", "2017-01-01T00:00:00.500Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_read_and_written(text: str, written: str) -> None:
    """Any offset becomes Z with three decimals; further digits are cut off, not rounded."""
    assert str(parse_instant(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-02-06",
        "2026-02-06T14:30:02",
        "2026-02-06T14:30:02.Z",
        "2026-02-06T14:30Z",
        "2026-02-30T14:30:02Z",
        "2026-02-06T24:00:01Z",
        "2026-02-06T14:30:61Z",
        "2026-02-06T14:30:60Z",
        "2026-02-06T14:30:02+0530",
        "2026-02-06T14:30:02+24:00",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:60Z",
        "9999-12-31T23:59:59-01:00",
        "２026-02-06T14:30:02Z",  # noqa: RUF001
        "2026-02-06T14:30:02Z\n",
        "1770388202",
    ],
)
def test_refused(text: str) -> None:
    """What is no time with an offset, or not in the calendar, is refused."""
    with pytest.raises(TimeError):
        parse_instant(text)


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)),
    st.integers(-23 * 60, 23 * 60),
)
def test_against_datetime(moment: datetime, offset_minutes: int) -> None:
    """Every time with an offset means the moment that the standard library says."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_instant(aware.isoformat()) == Instant(expected)
    assert parse_instant(str(Instant(expected))) == Instant(expected)


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    """Any text is a moment or an TimeError."""
    with suppress(TimeError):
        assert isinstance(parse_instant(text), Instant)
