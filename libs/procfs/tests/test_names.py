"""decode_name(): the result is safe to print."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.procfs import decode_name


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"bash", "bash"),
        ("bär 名".encode(), "bär 名"),
        (b"a\nb", r"a\x0ab"),
        (b"\x00\x1f\x7f", r"\x00\x1f\x7f"),
        ("\x80\x85\x9f\xa0".encode(), "\\x80\\x85\\x9f\xa0"),
        (b"\xff\xc3(", r"\xff\xc3("),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
        ("a\u2028b\u2029".encode(), r"a\u2028b\u2029"),
        (rb"literal\n\x41", r"literal\n\x41"),
        ("\U0001f6e0".encode(), "\U0001f6e0"),
    ],
)
def test_examples(raw: bytes, text: str) -> None:
    """UTF-8 stays, other bytes and control characters become escapes, backslashes stay."""
    assert decode_name(raw) == text


@given(st.binary())
def test_never_a_control_character_or_surrogate(raw: bytes) -> None:
    """No input gives a character that could break a line, a terminal or an encoder."""
    text = decode_name(raw)
    text.encode("utf-8")
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in text)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))))
def test_text_without_control_characters_is_unchanged(text: str) -> None:
    """Printable text is not changed."""
    assert decode_name(text.encode()) == text
