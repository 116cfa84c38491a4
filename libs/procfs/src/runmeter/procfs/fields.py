"""Parse single values as the kernel writes them: stricter than ``int()`` and ``float()``.

``int()`` also accepts ``+1``, ``1_0``, `` 1`` and digits of other scripts. The kernel writes none
of them, so a file that has one is not what it should be.
"""

from collections.abc import Callable
from typing import TypeVar

from runmeter.procfs.errors import ParseError

T = TypeVar("T")

UNSIGNED_MAX = 2**64 - 1
_UNSIGNED_DIGITS_MAX = 20


def unsigned(raw: bytes, file: str, field: str) -> int:
    """Return 0 to 2^64-1, from ASCII digits and nothing else."""
    if raw.isdigit() and len(raw) <= _UNSIGNED_DIGITS_MAX:
        value = int(raw)
        if value <= UNSIGNED_MAX:
            return value
    raise ParseError(file, f"{field} is not an unsigned integer")


def signed(raw: bytes, file: str, field: str) -> int:
    """Return the same, with an optional ``-`` before it."""
    if raw.startswith(b"-"):
        return -unsigned(raw[1:], file, field)
    return unsigned(raw, file, field)


def decimal(raw: bytes, file: str, field: str) -> float:
    """Return a number written as digits, a point, digits (``0.07``)."""
    whole, point, fraction = raw.partition(b".")
    if (
        point
        and whole.isdigit()
        and fraction.isdigit()
        and len(whole) <= _UNSIGNED_DIGITS_MAX
        and len(fraction) <= _UNSIGNED_DIGITS_MAX
    ):
        return float(raw)
    raise ParseError(file, f"{field} is not a decimal number")


def single(raw: bytes, file: str) -> int:
    """Return the unsigned integer that is the only content of a file."""
    return unsigned(raw.removesuffix(b"\n"), file, "the value")


def keyed(raw: bytes, file: str, key: bytes) -> int | None:
    """Return the value of one key of a file of ``key value`` lines; None if there is no such key.

    Other lines may hold anything: a bad one does not affect this value. Source: kernel
    Documentation/admin-guide/cgroup-v2.rst, "Flat keyed".
    """
    _, found, rest = (b"\n" + raw).partition(b"\n" + key + b" ")
    return unsigned(rest.partition(b"\n")[0], file, key.decode()) if found else None


def present(value: int | None, file: str, field: str) -> int:
    """Return the value of a key that every kernel writes."""
    if value is None:
        raise ParseError(file, f"{field} is missing")
    return value


def each_line(raw: bytes, parse: Callable[[bytes], T]) -> tuple[T, ...]:
    """Parse each line by itself: one that is malformed is left out, if others are not.

    Raises:
        ParseError: as ``parse`` does, of the last line, if all are malformed.
    """
    texts = raw.removesuffix(b"\n").split(b"\n") if raw else []
    found = []
    failure = None
    for text in texts:
        try:
            found.append(parse(text))
        except ParseError as error:
            failure = error
    if failure is not None and not found:
        raise failure
    return tuple(found)


def readable(parse: Callable[[bytes, str, str], int], raw: bytes | None) -> int | None:
    """Return a value that may be absent: None, too, if it is not what the kernel writes."""
    if raw is None:
        return None
    try:
        return parse(raw, "", "")
    except ParseError:
        return None
