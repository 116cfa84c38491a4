"""Checks of single values: every violation is collected with the path of its field."""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

LISTED_MAX = 100
WHOLE_MAX = 2**63 - 1
NUMBER_MAX = math.nextafter(math.inf, 0.0)
ROUNDING_SLACK = 1e-6

Path: TypeAlias = "str | tuple[Path, str | int]"
"""Where a field is: a text, or a path and what follows it, an int for a place in a list.

Pairs cost nothing to make; the text is made only for a violation.
"""

# Unicode category Cc: C0, DEL, C1. Surrogates cannot come over the wire, but from elsewhere.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class Violation(NamedTuple):
    """A field, and why its value is not accepted."""

    field: str
    reason: str


def path_text(path: Path) -> str:
    """Return a path as it is reported: ``run.payload.containers[2].name``."""
    if isinstance(path, str):
        return path
    before, part = path
    text = path_text(before)
    if isinstance(part, int):
        return f"{text}[{part}]"
    return f"{text}.{part}" if text else part


def out_of_range(value: float | Decimal, least: int, most: int) -> str:
    """Return the reason why an integer field does not accept a value below or above its bounds."""
    number = value if isinstance(value, int) else float(value)
    shown = f"is {number}" if -(10**20) < value < 10**20 else "number out of range"
    if most < WHOLE_MAX:
        return f"{shown}; must be {least} to {most}"
    return f"{shown}; must be {f'at least {least}' if value < least else f'at most {most}'}"


class Checks:
    """Collects violations; keeps the first 100 and counts the rest.

    A check returns a good value as it is (``-0.0`` as ``0.0``), and a harmless one of the same type
    in place of a bad one, so that the caller goes on and finds all violations.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.found_count = 0
        self.slack = ROUNDING_SLACK

    @property
    def omitted_count(self) -> int:
        """Violations that were found and are not listed."""
        return self.found_count - len(self.violations)

    def add(self, path: Path, name: str, reason: str) -> None:
        """Record a violation of a field; without a name, of the path itself."""
        self.found_count += 1
        if len(self.violations) < LISTED_MAX:
            self.violations.append(Violation(path_text((path, name) if name else path), reason))

    def text(self, path: Path, name: str, value: str, least: int, most: int) -> str:
        """Check a length in UTF-8 bytes and that there are no control characters."""
        if value.isascii() and value.isprintable() and least <= len(value) <= most:
            return value  # most texts, and four times as fast
        if _CONTROL.search(value):
            self.add(path, name, "has control characters")
            return ""
        length = len(value.encode())
        if least <= length <= most:
            return value
        if not length:
            self.add(path, name, "is required")
        else:
            self.add(path, name, f"has {length} bytes; {least} to {most} are allowed")
        return ""

    def parts(self, path: Path, name: str, value: str, least: int, most: int, filled: bool) -> None:
        """Check a text and what stands between its slashes; ``filled``: no part may be empty."""
        before = self.found_count
        self.text(path, name, value, least, most)
        if self.found_count > before:
            return
        parts = value.split("/")
        if "." in parts or ".." in parts:
            self.add(path, name, "has a part `.` or `..` between slashes")
        if filled and "" in parts:
            self.add(path, name, "has an empty part between slashes")

    def uuid(self, path: Path, name: str, value: str) -> None:
        """Check that a text is a UUID."""
        if not _UUID.fullmatch(value):
            self.add(path, name, "must be a UUID of 36 characters in lower case")

    def whole(
        self, path: Path, name: str, value: int, least: int = 0, most: int = WHOLE_MAX
    ) -> int:
        """Check the range of an integer."""
        if least <= value <= most:
            return value
        self.add(path, name, out_of_range(value, least, most))
        return least

    def number(self, path: Path, name: str, value: float, most: float = NUMBER_MAX) -> float:
        """Check that a number is finite, not negative and at most `most`."""
        if 0.0 <= value <= most:
            return value or 0.0
        if math.isfinite(value):
            allowed = "must not be negative" if value < 0 else f"must be at most {most:g}"
            self.add(path, name, f"is {value:g}; {allowed}")
        else:
            self.add(path, name, "is not a finite number")
        return 0.0

    def positive(self, path: Path, name: str, value: float, most: float = NUMBER_MAX) -> float:
        """Check that a number is finite, above 0 and at most `most`."""
        if value == 0.0:
            self.add(path, name, "is 0; must be above 0")
            return 1.0
        return self.number(path, name, value, most)

    def count(self, path: Path, name: str, length: int, most: int) -> bool:
        """Check the length of a list; the entries of a list that is too long are not checked."""
        if length <= most:
            return True
        self.add(path, name, f"has {length} entries; at most {most} are allowed")
        return False

    def ordered(self, path: Path, values: tuple[float, ...]) -> None:
        """Check peak ≥ p99 ≥ p95 ≥ p75 ≥ p50 and peak ≥ avg, up to the slack."""
        peak, p99, p95, p75, p50, avg = values
        grace = 1.0 + self.slack
        if p99 <= peak * grace and p95 <= p99 * grace and p75 <= p95 * grace:
            if p50 > p75 * grace:
                self.add(path, "", "is not ordered: p50 is above p75")
            elif avg > peak * grace:
                self.add(path, "", "is not ordered: avg is above peak")
            return
        self.add(path, "", "is not ordered: must be peak ≥ p99 ≥ p95 ≥ p75 ≥ p50")

    def time(self, path: Path, name: str, message: Timestamp) -> int | None:
        """Check a time and cut it off to milliseconds since 1970; None: it is bad."""
        # 0001-01-01 to 9999-12-31, as protobuf allows
        if not -62135596800 <= message.seconds <= 253402300799:
            self.add(path, name, "is not a time of the years 1 to 9999")
            return None
        if not 0 <= message.nanos <= 999_999_999:
            self.add(path, name, "has nanos outside 0 to 999999999")
            return None
        milliseconds, rest = divmod(message.nanos, 1_000_000)
        if rest:
            message.nanos -= rest
        return message.seconds * 1000 + milliseconds

    def entries(
        self,
        path: Path,
        name: str,
        entries: Iterable[tuple[str, str]],
        key_bytes: tuple[int, int],
        value_bytes: tuple[int, int],
    ) -> None:
        """Check the keys and values of a map: the least and the most bytes of each."""
        for number, (key, value) in enumerate(sorted(entries)):
            # keys may be as bad as values: say which one, without quoting a bad key
            good_key = self.text(((path, name), number), "key", key, *key_bytes)
            self.text(path, f"{name}[{good_key or number}]", value, *value_bytes)
