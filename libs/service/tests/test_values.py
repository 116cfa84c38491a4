"""Texts of settings and their values."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.service import values
from runmeter.service.values import Address

SHUTDOWN = values.duration(0, 3600, "0s to 1h")
BODY = values.size(1, 64 * 2**20, "1 to 64MiB")
PARSERS: dict[str, Callable[[str], Any]] = {
    "address": values.address,
    "address or none": values.or_none(values.address),
    "duration": SHUTDOWN,
    "size": BODY,
    "count": values.count(),
    "few": values.count(64),
    "word": values.one_of(("json", "text")),
    "yes": values.yes,
}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("address", ":0", Address(None, 0)),
        ("address", "[::]:80", Address(None, 80)),
        ("address", "[0:0::0]:80", Address(None, 80)),
        ("address", "0.0.0.0:0", Address("0.0.0.0", 0)),
        ("address", "[::1]:65535", Address("::1", 65535)),
        ("address", "localhost:80", Address("localhost", 80)),
        ("address", "my-host.example:80", Address("my-host.example", 80)),
        ("address or none", "none", None),
        ("address or none", "127.0.0.1:1", Address("127.0.0.1", 1)),
        ("duration", "0", 0.0),
        ("duration", "500ms", 0.5),
        ("duration", "1.5s", 1.5),
        ("duration", "1m30s", 90.0),
        ("duration", "1h", 3600.0),
        ("size", "1", 1),
        ("size", "2Ki", 2048),
        ("size", "3KiB", 3072),
        ("size", "64Mi", 67108864),
        ("size", "1MiB", 1048576),
        ("size", "67108864", 67108864),
        ("count", "999999", 999999),
        ("few", "64", 64),
        ("word", "text", "text"),
        ("yes", "On", True),
        ("yes", "0", False),
    ],
)
def test_accepted(kind: str, text: str, value: object) -> None:
    """Every documented form is understood."""
    assert PARSERS[kind](text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("address", text) for text in ("", "8080", "localhost", "localhost:65536", ":-1")),
        *(("address", text) for text in ("::1:80", "a b:1", "unix:/x", "*:80", "0:80", "[::g]:1")),
        *(("address", text) for text in ("127.0.0.256:80", "a..b:80", f"{'a' * 64}:80", ":٣")),
        ("address or none", "off"),
        *(("duration", text) for text in ("25", "-1s", "1s1", "61m", ".s", "1d", "1h 30m", "soon")),
        *(("duration", text) for text in ("1..5s", "9" * 400 + "h", "")),
        *(("size", text) for text in ("0", "1MB", "65MiB", "MiB", "1.5MiB", "-5", "67108865")),
        *(("count", text) for text in ("0", "01", "1.5", "-1", "1000000", "none", "")),
        ("few", "65"),
        *(("word", text) for text in ("xml", "JSON", "")),
        ("yes", "maybe"),
    ],
)
def test_refused(kind: str, text: str) -> None:
    """A bad value is refused with what is allowed."""
    with pytest.raises(ValueError, match=r"^must be "):
        PARSERS[kind](text)


def test_sentences_say_the_bounds() -> None:
    """The text has the range as users write it."""
    for text in ("2h", "soon"):
        with pytest.raises(
            ValueError, match=r"must be a duration of 0s to 1h, such as 25s or 1m30s$"
        ):
            SHUTDOWN(text)
    with pytest.raises(ValueError, match="must be 1 to 64MiB, in bytes or with Ki, KiB, Mi, MiB"):
        BODY("0")
    with pytest.raises(ValueError, match=r"must be a whole number of 1 to 64$"):
        values.count(64)("65")
    with pytest.raises(ValueError, match=r"must be host:port.*, or none$"):
        values.or_none(values.address)("x")


@given(st.sampled_from(sorted(PARSERS)), st.text())
def test_any_text(kind: str, text: str) -> None:
    """Any text is parsed, or refused with a sentence."""
    said = ""
    try:
        PARSERS[kind](text)
    except ValueError as error:
        said = str(error)
    assert not said or said.startswith("must be ")


@given(st.none() | st.ip_addresses().map(str), st.integers(0, 65535))
def test_an_address_reads_what_it_writes(host: str | None, port: int) -> None:
    """The text of an address parses to the same address."""
    host = None if host == "::" else host
    assert values.address(str(Address(host, port))) == Address(host, port)
