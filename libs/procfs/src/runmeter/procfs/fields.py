"""Parse single values as the kernel writes them: stricter than ``int()`` and ``float()``.

``int()`` also accepts ``+1``, ``1_0``, `` 1`` and digits of other scripts. The kernel writes none
of them, so a file that has one is not what it should be.
"""

from collections.abc import Iterable

from runmeter.procfs.errors import ParseError

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


def keyed(raw: bytes, file: str, wanted: Iterable[bytes]) -> list[int | None]:
    """Return the values of the ``wanted`` keys of a file of ``key value`` lines.

    In the order of ``wanted``, None for a key the file does not have; lines with other keys
    may hold anything. Source: kernel Documentation/admin-guide/cgroup-v2.rst, "Flat keyed".
    """
    lines = dict.fromkeys(wanted, b"")
    for line in raw.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key in lines:
            lines[key] = value or b"?"
    return [unsigned(value, file, key.decode()) if value else None for key, value in lines.items()]


def present(value: int | None, file: str, field: str) -> int:
    """Return the value of a key that every kernel writes."""
    if value is None:
        raise ParseError(file, f"{field} is missing")
    return value
