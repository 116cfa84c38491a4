"""Times of the API: RFC 3339, UTC, whole milliseconds, ``Z``."""

from runmeter.v1.json_values import parse_time, time_text


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
        return time_text(self.epoch_milliseconds)


def parse_instant(text: str) -> Instant:
    """Parse an RFC 3339 time with any offset; digits beyond milliseconds are cut off.

    Raises:
        TimeError: not of that form, without offset, or not a date of the calendar.
    """
    return Instant(parse_time(text))
