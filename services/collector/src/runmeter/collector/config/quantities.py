"""Parse durations in the form of Go, CPU and memory in the form of Kubernetes.

All arithmetic is on integers: ``0.1`` is exactly a tenth. ``decimal`` and ``re`` would cost more
memory than the sampler itself.
"""

from collections.abc import Callable

from runmeter.collector.errors import QuantityError

_DURATION_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # greek mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION = "a duration such as 500ms, 2s or 1m30s"

# suffix -> (numerator, denominator); Kubernetes: resource.Quantity
_SUFFIXES = {
    "": (1, 1),
    "n": (1, 10**9),
    "u": (1, 10**6),
    "m": (1, 10**3),
    "k": (10**3, 1),
    "K": (10**3, 1),
    "M": (10**6, 1),
    "G": (10**9, 1),
    "T": (10**12, 1),
    "P": (10**15, 1),
    "E": (10**18, 1),
    "Ki": (2**10, 1),
    "Mi": (2**20, 1),
    "Gi": (2**30, 1),
    "Ti": (2**40, 1),
    "Pi": (2**50, 1),
    "Ei": (2**60, 1),
}
_QUANTITY = "a Kubernetes quantity such as 2, 0.5, 500m, 129e6, 128974848 or 256Mi"
_LARGEST = 2**63 - 1
_LONGEST = 64  # characters; keeps the powers small


def parse_duration(text: str) -> int:
    """Return a Go duration in nanoseconds; fractions of a nanosecond are cut off.

    Raises:
        QuantityError: not a sequence of number and unit, negative, or above 2^63-1 ns.

    Source: Go, time.ParseDuration.
    """
    if text == "0":
        return 0
    total, rest = 0, text
    if not rest or len(rest) > _LONGEST:
        raise QuantityError(text, _DURATION)
    while rest:
        digits, scale, rest = _number(rest, text, _DURATION)
        unit = _leading(rest, lambda c: not (c.isdigit() or c == "."))
        if unit not in _DURATION_UNITS:
            raise QuantityError(text, _DURATION)
        rest = rest[len(unit) :]
        total += digits * _DURATION_UNITS[unit] // scale
    if total > _LARGEST:
        raise QuantityError(text, _DURATION)
    return total


def parse_cpu(text: str) -> float:
    """Return a Kubernetes CPU quantity in cores, above 0.

    Raises:
        QuantityError: not a quantity, zero or negative.
    """
    numerator, denominator = _quantity(text)
    return numerator / denominator


def parse_memory(text: str) -> int:
    """Return a Kubernetes memory quantity in bytes, above 0, a fraction rounded up.

    Raises:
        QuantityError: not a quantity, zero or negative.
    """
    numerator, denominator = _quantity(text)
    return -(-numerator // denominator)


def _quantity(text: str) -> tuple[int, int]:
    if not text or len(text) > _LONGEST:
        raise QuantityError(text, _QUANTITY)
    digits, scale, suffix = _number(text.removeprefix("+"), text, _QUANTITY)
    if suffix in _SUFFIXES:
        numerator, denominator = _SUFFIXES[suffix]
    elif suffix[:1] in "eE":
        numerator, denominator = _power(suffix[1:], text)
    else:
        raise QuantityError(text, _QUANTITY)
    numerator, denominator = digits * numerator, scale * denominator
    if numerator == 0 or numerator > _LARGEST * denominator:
        raise QuantityError(text, f"{_QUANTITY}, above 0 and below 2^63")
    return numerator, denominator


def _power(exponent: str, text: str) -> tuple[int, int]:
    digits = exponent.removeprefix("-") if exponent.startswith("-") else exponent.removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 2):
        raise QuantityError(text, _QUANTITY)
    power = int(10 ** int(digits))
    return (1, power) if exponent.startswith("-") else (power, 1)


def _number(rest: str, text: str, expected: str) -> tuple[int, int, str]:
    """Split off a decimal number; return its digits, its power of ten and the rest of the text."""
    number = _leading(rest, lambda c: c in "0123456789.")
    whole, _, fraction = number.partition(".")
    digits = whole + fraction
    if not digits or "." in fraction:
        raise QuantityError(text, expected)
    return int(digits), int(10 ** len(fraction)), rest[len(number) :]


def _leading(text: str, belongs: Callable[[str], bool]) -> str:
    for index, character in enumerate(text):
        if not belongs(character):
            return text[:index]
    return text
