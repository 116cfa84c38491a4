"""Checks of single values, collecting every violation with its field path."""

import math
import re
from collections.abc import Sequence

from runmeter.receiver.errors import InvalidRequest, Violation

LISTED_MAX = 100
WHOLE_MAX = 2**63 - 1

# Unicode category Cc: C0, DEL, C1. Surrogates cannot come over the wire, but from elsewhere.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Checks:
    """Collects violations; keeps the first 100 and counts the rest.

    Every check returns its value when it is good and a harmless one of the same type when it
    is not, so that a reader goes on and finds all violations. `altered` tells whether some good
    value is taken otherwise than it was written: then the message is not what the model says.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.found_count = 0
        self.altered = False

    def add(self, field: str, reason: str) -> None:
        """Note one violation."""
        self.found_count += 1
        if len(self.violations) < LISTED_MAX:
            self.violations.append(Violation(field, reason))

    def close(self) -> None:
        """Raise InvalidRequest if anything was found."""
        if self.found_count:
            raise InvalidRequest(tuple(self.violations), self.found_count - len(self.violations))

    def text(self, path: str, name: str, value: str, least: int, most: int) -> str:
        """Check a length in UTF-8 bytes and that there are no control characters."""
        if value.isascii() and value.isprintable() and least <= len(value) <= most:
            return value  # most names, at a quarter of the price
        if _CONTROL.search(value):
            self.add(_join(path, name), "has control characters")
            return ""
        length = len(value.encode())
        if least <= length <= most:
            return value
        if not length:
            self.add(_join(path, name), "is required")
        else:
            self.add(_join(path, name), f"has {length} bytes; {least} to {most} are allowed")
        return ""

    def whole(self, path: str, name: str, value: int, least: int = 0, most: int = WHOLE_MAX) -> int:
        """Check the range of an integer."""
        if least <= value <= most:
            return value
        if most == WHOLE_MAX:
            self.add(_join(path, name), f"is {value}; must be at least {least}")
        else:
            self.add(_join(path, name), f"is {value}; must be {least} to {most}")
        return least

    def number(self, path: str, name: str, value: float, most: float = math.inf) -> float:
        """Check that a number is finite, not negative and at most `most`."""
        if 0.0 <= value <= most and value != math.inf:
            if value == 0.0 and math.copysign(1.0, value) < 0.0:
                self.altered = True
                return 0.0
            return value
        if math.isfinite(value):
            allowed = "must not be negative" if value < 0 else f"must be at most {most:g}"
            self.add(_join(path, name), f"is {value:g}; {allowed}")
        else:
            self.add(_join(path, name), "is not a finite number")
        return 0.0

    def positive(self, path: str, name: str, value: float, most: float = math.inf) -> float:
        """Check that a number is finite, above 0 and at most `most`."""
        if value == 0.0:
            self.add(_join(path, name), "is 0; must be above 0")
            return 1.0
        return self.number(path, name, value, most)

    def count(self, path: str, name: str, length: int, most: int) -> bool:
        """Check the length of a list; what is too long is not worth reading."""
        if length <= most:
            return True
        self.add(_join(path, name), f"has {length} entries; at most {most} are allowed")
        return False

    def ordered(self, path: str, name: str, values: Sequence[float], slack: float) -> None:
        """Check peak ≥ p99 ≥ p95 ≥ p75 ≥ p50 and peak ≥ avg, up to a relative slack."""
        peak, p99, p95, p75, p50, avg = values
        grace = 1.0 + slack
        if p99 <= peak * grace and p95 <= p99 * grace and p75 <= p95 * grace:
            if p50 > p75 * grace:
                self.add(_join(path, name), "is not ordered: p50 is above p75")
            elif avg > peak * grace:
                self.add(_join(path, name), "is not ordered: avg is above peak")
            return
        self.add(_join(path, name), "is not ordered: must be peak ≥ p99 ≥ p95 ≥ p75 ≥ p50")

    def known(self, numbers: frozenset[int], number: int) -> int:
        """Return the number of an enum's value, 0 if it is not known."""
        if number in numbers:
            return number
        self.altered = True
        return 0


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
