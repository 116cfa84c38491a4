"""Values of the JSON form: times as text, and reasons for values of the wrong type."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from runmeter.v1.checks import LISTED_MAX, Path, Violation, path_text

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
_KINDS = {dict: "object", list: "array", str: "str", bool: "bool", int: "int", float: "float"}
_NOUNS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}


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
            got = "null" if given is None else _KINDS.get(type(given), type(given).__name__)
            self.add(path, name, f"expected {expected}, got {got}")

    def unknown(self, path: Path, given: dict[str, object], known: frozenset[str]) -> None:
        """Record the fields that are not known."""
        for name in given.keys() - known:
            self.add(path, name, "is not known")

    def not_object(self, path: Path, given: object) -> None:
        """Record that what should hold fields is something else."""
        if given is ABSENT:
            self.add(path, "", "is required")
        else:
            kind = "null" if given is None else _NOUNS.get(type(given), "a number")
            self.add(path, "", f"is {kind}, not an object")

    def whole(self, path: Path, name: str, given: object, bits: int) -> None:
        """Record why a value is not an integer of so many bits."""
        if type(given) is not int:
            self.wrong(path, name, given, "int")
        elif given < 0:
            self.add(path, name, f"expected int >= {-(2 ** (bits - 1))}")
        else:
            self.add(path, name, f"expected int <= {2 ** (bits - 1) - 1}")

    def number(self, path: Path, name: str, given: object) -> float:
        """Return a number that is no float, or record why it is none."""
        if type(given) is int:
            try:
                return float(given)
            except OverflowError:
                self.add(path, name, "number out of range")
        else:
            self.wrong(path, name, given, "float")
        return 0.0

    def named(self, path: Path, name: str, given: object, numbers: dict[str, int]) -> Any:
        """Return the number of an enum's value, or record that it is none."""
        if type(given) is not str:
            self.wrong(path, name, given, "str")
        elif given in numbers:
            return numbers[given]
        else:
            self.add(path, name, f"invalid enum value {given!r}")
        return 0

    def time(self, path: Path, name: str, given: object, message: Timestamp) -> None:
        """Set a time from its text, or record what is wrong with it."""
        if type(given) is not str:
            self.add(path, name, "is required" if given is ABSENT else "is not a string")
            return
        try:
            set_time(message, parse_time(given))
        except TimeError as error:
            self.add(path, name, str(error))

    def texts(self, path: Path, name: str, given: object) -> dict[str, str]:
        """Return an object whose values are texts, as far as they are."""
        if not isinstance(given, dict):
            self.wrong(path, name, given, "object")
            return {}
        for key, value in given.items():
            if type(value) is not str:
                self.wrong(path, f"{name}[{key}]", value, "str")
        return {key: value for key, value in given.items() if type(value) is str}

    def entries(self, path: Path, name: str, given: object) -> list[object]:
        """Return an array; one that is left out is empty."""
        if isinstance(given, list):
            return given
        if given is not ABSENT:
            self.wrong(path, name, given, "array")
        return []


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
