"""The end of a page of names, as an opaque text that fits into a URL."""

import base64
import binascii

CURSOR_MAX_LENGTH = 1024  # two names of 255 bytes need 682
_BETWEEN = "\0"  # no name holds it


def cursor_of(names: tuple[str, str]) -> str:
    """Write the last names of a page."""
    text = base64.urlsafe_b64encode(_BETWEEN.join(names).encode())
    return text.decode("ascii").rstrip("=")


def names_of(cursor: str) -> tuple[str, str]:
    """Read what ``cursor_of`` wrote.

    Raises:
        ValueError: it is something else.
    """
    if len(cursor) > CURSOR_MAX_LENGTH or not cursor.isascii():
        raise ValueError("too long, or not ASCII")
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        text = base64.b64decode(padded, altchars="-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not base64 of UTF-8") from error
    one, two = text.split(_BETWEEN)
    return one, two
