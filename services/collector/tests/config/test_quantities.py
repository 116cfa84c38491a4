"""Durations and Kubernetes quantities, against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runmeter.collector.config.quantities import parse_cpu, parse_duration, parse_memory
from runmeter.collector.errors import QuantityError

_SCALES = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{name: Fraction(1000 ** (i + 1)) for i, name in enumerate("kMGTPE")},
    **{f"{name}i": Fraction(1024 ** (i + 1)) for i, name in enumerate("KMGTPE")},
    "K": Fraction(1000),
}
_UNITS_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("128974848", 128974848),
        ("129e6", 129_000_000),
        ("129e+6", 129_000_000),
        ("129M", 129_000_000),
        ("123Mi", 123 * 2**20),
        ("1k", 1000),
        ("1K", 1000),
        ("1E3", 1000),
        ("12e-1", 2),
        (".5Ki", 512),
        ("5.", 5),
        ("0.1", 1),
        ("+7", 7),
        ("128974848000m", 128974848),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_memory_takes_every_form_of_kubernetes(text: str, size_bytes: int) -> None:
    """Bytes are exact, and a fraction of a byte is rounded up."""
    assert parse_memory(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("500m", 0.5),
        ("100u", 0.0001),
        ("1n", 1e-9),
        (".5", 0.5),
        ("5.", 5.0),
        ("12e-1", 1.2),
        ("0.1", 0.1),
    ],
)
def test_cpu_takes_cores_and_their_parts(text: str, cores: float) -> None:
    """Cores are the float nearest to what is written."""
    assert parse_cpu(text) == cores


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "2 ", " 2", "-1", "0", "0.0", "0m", "1e", "1e+", "1e--1", "1e+-1", "1e100", "e3",
        ".", "..", "1..2", "1.2.3", "1mi", "1MI", "1KI", "1Kb", "1B", "MB", "Mi", "1_000", "0x10",
        "1,5", "inf", "nan", "²", "٣", "1²", "8Ei", "9223372036854775808", "9" * 65, "1\n", "++1",
    ],
)  # fmt: skip
def test_bad_quantities_are_named_and_explained(text: str) -> None:
    """What is no quantity above zero is refused with the text and what would be allowed."""
    for parse in (parse_cpu, parse_memory):
        with pytest.raises(QuantityError) as caught:
            parse(text)
        assert caught.value.text == text
        assert "a Kubernetes quantity such as 2, 0.5, 500m" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("0", 0),
        ("500ms", 500_000_000),
        ("2s", 2 * 10**9),
        ("1m30s", 90 * 10**9),
        ("1h2m3s4ms5us6ns", 3_723_004_005_006),
        ("1.5h", 5400 * 10**9),
        (".5s", 500_000_000),
        ("1.s", 10**9),
        ("1\u00b5s", 1000),
        ("1\u03bcs", 1000),
        ("0.3ns", 0),
        ("30s1m", 90 * 10**9),
    ],
)
def test_durations_are_those_of_go(text: str, duration_ns: int) -> None:
    """A duration is a sequence of numbers with units, in nanoseconds."""
    assert parse_duration(text) == duration_ns


@pytest.mark.parametrize(
    "text",
    ["", "2", "s", "1d", "1 s", "1s ", "-1s", "1e3s", "1S", "1.2.3s", ".s", "1ss", "1²s",
     "9223372036854775808ns", "1s" * 33, "2562048h"],
)  # fmt: skip
def test_bad_durations_are_named_and_explained(text: str) -> None:
    """What is no duration is refused with the text and an example."""
    with pytest.raises(QuantityError, match="a duration such as 500ms, 2s or 1m30s") as caught:
        parse_duration(text)
    assert caught.value.text == text


_DIGITS = st.text("0123456789", min_size=0, max_size=12)


@given(_DIGITS, st.none() | _DIGITS, st.sampled_from(sorted(_SCALES)))
def test_quantities_equal_exact_fractions(whole: str, part: str | None, suffix: str) -> None:
    """Every decimal number with every suffix means what fractions say, or is out of range."""
    number = whole if part is None else f"{whole}.{part}"
    text = number + suffix
    digits = whole + (part or "")
    exact = Fraction(int(digits or 0), 10 ** len(part or "")) * _SCALES[suffix]
    if not digits or not 0 < exact <= 2**63 - 1:
        with pytest.raises(QuantityError):
            parse_memory(text)
    else:
        assert parse_memory(text) == -(-exact.numerator // exact.denominator)
        assert parse_cpu(text) == exact.numerator / exact.denominator


@given(st.integers(1, 10**9), st.integers(-20, 20), st.sampled_from("eE"))
def test_exponents_equal_exact_fractions(number: int, exponent: int, mark: str) -> None:
    """A number with a decimal exponent means what fractions say, or is out of range."""
    exact = number * Fraction(10) ** exponent
    text = f"{number}{mark}{exponent}"
    if exact > 2**63 - 1:
        with pytest.raises(QuantityError):
            parse_memory(text)
    else:
        assert parse_memory(text) == -(-exact.numerator // exact.denominator)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(sorted(_UNITS_NS))), min_size=1,
                max_size=6))  # fmt: skip
def test_durations_survive_being_written(parts: list[tuple[int, str]]) -> None:
    """A duration written from numbers and units is read back as their sum."""
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration(text) == sum(number * _UNITS_NS[unit] for number, unit in parts)


@given(st.text() | st.text("0123456789.eE+-mMKkiGTnuhsµ", max_size=70))
@example("1" * 64 + "e99")
def test_no_text_raises_anything_else(text: str) -> None:
    """Any text gives a value in range or a QuantityError."""
    for parse in (parse_cpu, parse_memory, parse_duration):
        try:
            value = parse(text)
        except QuantityError:
            continue
        assert 0 <= value <= 2**63 - 1
