"""Single values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import ParseError
from runmeter.procfs.fields import decimal, keyed, present, signed, single, unsigned


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
    """Wanted keys come in order, missing ones as None, other lines do not matter."""
    raw = b"b 2\nodd line\na 1\nnegative -5\n\n"
    assert keyed(raw, "f", (b"a", b"b", b"c")) == [1, 2, None]
    with pytest.raises(ParseError, match="negative"):
        keyed(raw, "f", (b"negative",))
    with pytest.raises(ParseError, match="a is not"):
        keyed(b"a\n", "f", (b"a",))
    with pytest.raises(ParseError, match="c is missing"):
        present(None, "f", "c")
