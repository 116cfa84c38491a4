"""Single values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import ParseError
from runmeter.procfs.fields import (
    decimal,
    each_line,
    keyed,
    present,
    readable,
    signed,
    single,
    unsigned,
)


@given(st.integers(0, 2**64 - 1))
def test_unsigned_and_signed_round_trip(value: int) -> None:
    """What the kernel prints comes back, with a minus sign where one is allowed."""
    text = str(value).encode()
    assert unsigned(text, "f", "x") == value
    assert signed(text, "f", "x") == value
    assert signed(b"-" + text, "f", "x") == -value
    assert single(text + b"\n", "f") == value


@given(st.integers(2**64, 2**80))
def test_too_large(value: int) -> None:
    """A number above 64 bits is refused."""
    with pytest.raises(ParseError):
        unsigned(str(value).encode(), "f", "x")


@given(st.integers(0, 10**9), st.integers(0, 99))
def test_decimal_round_trip(whole: int, hundredths: int) -> None:
    """Two digits behind the point, as the kernel prints averages."""
    text = f"{whole}.{hundredths:02}"
    assert decimal(text.encode(), "f", "x") == float(text)


@pytest.mark.parametrize("text", [b"1", b".5", b"1.", b"1e5", b"nan", b"inf", b"-0.1", b"1_0.0"])
def test_decimal_is_strict(text: bytes) -> None:
    """What float() would take beyond digits, a point, digits is refused."""
    with pytest.raises(ParseError):
        decimal(text, "f", "x")


def test_keyed() -> None:
    """A key is found by its whole name, a missing one is None, other lines do not matter."""
    raw = b"b 2\nodd line\na 1\nnegative -5\nempty \n\n"
    assert [keyed(raw, "f", key) for key in (b"a", b"b", b"c", b"odd lin")] == [1, 2, None, None]
    for key in ("negative", "empty"):
        with pytest.raises(ParseError, match=f"{key} is not"):
            keyed(raw, "f", key.encode())
    with pytest.raises(ParseError, match="c is missing"):
        present(None, "f", "c")


def test_readable() -> None:
    """A value that may be absent is None if it is malformed."""
    assert [readable(unsigned, raw) for raw in (b"1", b"-1", b"", None)] == [1, None, None, None]


def test_each_line() -> None:
    """Malformed lines are left out; only a file of nothing else is refused."""

    def parse(line: bytes) -> int:
        return unsigned(line, "f", "x")

    assert each_line(b"1\nx\n\n2\n", parse) == (1, 2)
    assert each_line(b"", parse) == ()
    with pytest.raises(ParseError):
        each_line(b"x\ny\n", parse)
