"""Values of the JSON form: numbers, times, and reasons for values of the wrong type."""

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from runmeter.v1.checks import (
    LISTED_MAX,
    NUMBER_MAX,
    WHOLE_MAX,
    Path,
    Violation,
    out_of_range,
    path_text,
)

ABSENT = object()
"""Value of a field that a JSON object does not have."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DAY_MILLISECONDS = 86_400_000
_MINUTES = tuple(f"{hour:02}:{minute:02}" for hour in range(24) for minute in range(60))
_RFC_3339 = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<minute>\d\d:\d\d):(?P<second>\d\d)"
    r"(?:\.(?P<fraction>\d+))?(?P<offset>[Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
_NOUNS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    type(None): "null",
}


class BadFields(ValueError):
    """Fields of a JSON object that are missing or of the wrong type: the first 100."""

    def __init__(self, violations: list[Violation]) -> None:
        field, reason = violations[0]
        more = f", and {len(violations) - 1} more fields are bad" if violations[1:] else ""
        super().__init__(f"{field or 'it'} {reason}{more}")
        self.violations = violations


class TimeError(ValueError):
    """The text is no RFC 3339 time with an offset."""


class Found:
    """The bad fields of a JSON object, in the order they were found.

    ``exact``: fields that are not known are bad.
    """

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self.violations: list[Violation] = []

    def add(self, path: Path, name: str, reason: str) -> None:
        """Record a bad field.

        Raises:
            BadFields: these are as many as are listed.
        """
        self.violations.append(Violation(path_text((path, name) if name else path), reason))
        if len(self.violations) == LISTED_MAX:
            self.close()

    def close(self) -> None:
        """Raise `BadFields` if anything was found."""
        if self.violations:
            raise BadFields(self.violations)

    def wrong(self, path: Path, name: str, given: object, expected: str) -> None:
        """Record that a value is absent or of another type."""
        if given is ABSENT:
            self.add(path, name, "is required")
        else:
            noun = _NOUNS.get(type(given), "a number")
            self.add(path, name, f"must be {expected}, not {noun}")

    def unknown(self, path: Path, given: dict[str, object], known: frozenset[str]) -> None:
        """Record the fields that are not known."""
        for name in given.keys() - known:
            self.add(path, name, "is not known")

    def whole(
        self,
        path: Path,
        name: str,
        given: object,
        least: int,
        most: int,
        *,
        is_rounded: bool = False,
    ) -> int:
        """Return the integer that a number is, or record why it is none.

        ``is_rounded``: a fraction is rounded to the nearest integer, halves to the even one.
        """
        if type(given) is bool or not isinstance(given, int | float | Decimal):
            self.wrong(path, name, given, "a number" if is_rounded else "an integer")
        elif not is_rounded and -WHOLE_MAX <= given <= WHOLE_MAX and given != round(given):
            self.add(path, name, f"is {float(given)}; must be an integer")
        elif not least <= given <= most:
            self.add(path, name, out_of_range(given, least, most))
        else:
            return round(given)
        return 0

    def number(self, path: Path, name: str, given: object) -> float:
        """Return a number that is no float, or record why it is none."""
        if type(given) is bool or not isinstance(given, int | Decimal):
            self.wrong(path, name, given, "a number")
        elif -NUMBER_MAX <= given <= NUMBER_MAX:
            return float(given)
        else:
            self.add(path, name, "number out of range")
        return 0.0

    def named(self, path: Path, name: str, given: object, numbers: dict[str, int]) -> Any:
        """Return the number of an enum's value, or record that it is none."""
        if isinstance(given, str) and given in numbers:
            return numbers[given]
        self.add(path, name, f"must be one of {', '.join(numbers)}")
        return 0

    def time(self, path: Path, name: str, given: object, message: Timestamp) -> None:
        """Set a time from its text, or record what is wrong with it."""
        if type(given) is not str:
            self.wrong(path, name, given, "a string")
            return
        try:
            set_time(message, parse_time(given))
        except TimeError as error:
            self.add(path, name, str(error))

    def texts(self, path: Path, name: str, given: object) -> dict[str, str]:
        """Return an object whose values are texts, as far as they are."""
        if not isinstance(given, dict):
            self.wrong(path, name, given, "an object")
            return {}
        for key, value in given.items():
            if type(value) is not str:
                self.wrong(path, f"{name}[{key}]", value, "a string")
        return {key: value for key, value in given.items() if type(value) is str}

    def entries(self, path: Path, name: str, given: object) -> list[object]:
        """Return an array; one that is left out is empty."""
        if isinstance(given, list):
            return given
        if given is not ABSENT:
            self.wrong(path, name, given, "an array")
        return []


def parse_number(text: str) -> float | Decimal:
    """Return the number of a JSON text with a point or an exponent, for a JSON decoder.

    From 2^53 on it is a ``Decimal``, because a float may be another integer than the text. A
    number that is too large for a float is infinite.
    """
    number = float(text)
    if abs(number) < 2**53:
        return number
    return Decimal(text if math.isfinite(number) else number)


def set_time(message: Timestamp, time_ms: int) -> None:
    """Set a time in milliseconds since 1970; before that nanoseconds still count forward."""
    message.seconds, milliseconds = divmod(time_ms, 1000)
    message.nanos = milliseconds * 1_000_000
    message.SetInParent()


def time_ms(message: Timestamp) -> int:
    """Return a time in milliseconds since 1970, cut off."""
    return message.seconds * 1000 + message.nanos // 1_000_000


def time_text(time_ms: int) -> str:
    """Return milliseconds since 1970 as RFC 3339: UTC, three decimals, ``Z``."""
    days, rest = divmod(time_ms, _DAY_MILLISECONDS)
    minutes, rest = divmod(rest, 60_000)
    return f"{_date(days)}T{_MINUTES[minutes]}:{rest / 1000:06.3f}Z"


@lru_cache(1024)
def _date(days: int) -> str:
    """Return a day, counted from 1970; cached, as most times of an answer are of few days."""
    return (_EPOCH + timedelta(days=days)).date().isoformat()


def parse_time(text: str) -> int:
    """Parse an RFC 3339 time with any offset to milliseconds since 1970; cut off the rest.

    A leap second (``23:59:60`` UTC) is read as the first second of the next day, as POSIX time
    counts.

    Raises:
        TimeError: not of that form, without offset, or not a date of the calendar.

    Source: RFC 3339, 5.6 (a space for the ``T`` is allowed there too).
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise TimeError("is not an RFC 3339 time with offset, such as 2026-02-06T14:30:02.185Z")
    leap = match["second"] == "60"
    offset = "+00:00" if match["offset"] in "Zz" else match["offset"]
    second = "59" if leap else match["second"]
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['minute']}:{second}{offset}")
        moment = moment.astimezone(UTC)
        at_midnight = (moment.hour, moment.minute) == (23, 59)
        moment += timedelta(seconds=1 if leap else 0)
    except (ValueError, OverflowError) as error:
        raise TimeError("is not a date and time of the calendar, years 1 to 9999") from error
    if leap and not at_midnight:
        raise TimeError("has a leap second that is not at 23:59:60 UTC")
    milliseconds = int((match["fraction"] or "")[:3].ljust(3, "0"))
    return (moment - _EPOCH) // _MILLISECOND + milliseconds
