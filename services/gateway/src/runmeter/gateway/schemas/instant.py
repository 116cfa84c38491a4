"""Times of the API: RFC 3339, UTC, whole milliseconds, ``Z``."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MILLISECONDS = 86_400_000
_MINUTES = tuple(f"{hour:02}:{minute:02}" for hour in range(24) for minute in range(60))
_MILLISECOND = timedelta(milliseconds=1)
_RFC_3339 = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<minute>\d\d:\d\d):(?P<second>\d\d)"
    r"(?:\.(?P<fraction>\d+))?(?P<offset>[Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


class InstantError(ValueError):
    """The text is not an RFC 3339 time with an offset."""


class Instant:
    """A time between the years 1 and 9999, in milliseconds since 1970 (UTC).

    Not a tuple or dataclass: msgspec would write those as arrays or objects.
    """

    __slots__ = ("epoch_milliseconds",)

    def __init__(self, epoch_milliseconds: int) -> None:
        self.epoch_milliseconds = epoch_milliseconds

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Instant):
            return NotImplemented
        return self.epoch_milliseconds == other.epoch_milliseconds

    def __hash__(self) -> int:
        return hash(self.epoch_milliseconds)

    def __repr__(self) -> str:
        return f"Instant({self.epoch_milliseconds})"

    def __str__(self) -> str:
        days, rest = divmod(self.epoch_milliseconds, _DAY_MILLISECONDS)
        minutes, rest = divmod(rest, 60_000)
        return f"{_date(days)}T{_MINUTES[minutes]}:{rest / 1000:06.3f}Z"


@lru_cache(1024)
def _date(days: int) -> str:
    """Write a day, counted from 1970; cached, as most times of an answer are of few days."""
    return (_EPOCH + timedelta(days=days)).date().isoformat()


def parse_instant(text: str) -> Instant:
    """Parse an RFC 3339 time with any offset; digits beyond milliseconds are cut off.

    A leap second (``23:59:60`` UTC) is read as the first second of the next day, as POSIX time
    counts.

    Raises:
        InstantError: not of that form, without offset, or not a date of the calendar.

    Source: RFC 3339, 5.6 (a space for the ``T`` is allowed there too).
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise InstantError("is not an RFC 3339 time with offset, such as 2026-02-06T14:30:02.185Z")
    leap = match["second"] == "60"
    offset = "+00:00" if match["offset"] in "Zz" else match["offset"]
    second = "59" if leap else match["second"]
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['minute']}:{second}{offset}")
        moment = moment.astimezone(UTC)
        at_midnight = (moment.hour, moment.minute) == (23, 59)
        moment += timedelta(seconds=1 if leap else 0)
    except (ValueError, OverflowError) as error:
        raise InstantError("is not a date and time of the calendar, years 1 to 9999") from error
    if leap and not at_midnight:
        raise InstantError("has a leap second that is not at 23:59:60 UTC")
    milliseconds = int((match["fraction"] or "")[:3].ljust(3, "0"))
    return Instant((moment - _EPOCH) // _MILLISECOND + milliseconds)
