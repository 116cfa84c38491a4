"""Decode names, which may be any bytes, to text that is safe to print and store."""


def decode_name(raw: bytes) -> str:
    r"""Decode the name of a process, cgroup or mount.

    UTF-8. Other bytes are written ``\xff``, control characters (C0, DEL, C1) and the separators
    U+2028 and U+2029 as ``\x0a``, ``\u2028``. A backslash stays as it is, so the result is for
    reading and comparing and cannot be turned back into bytes. It never holds a control
    character or a surrogate.
    """
    text = raw.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    code = ord(character)
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"\\x{code:02x}"
    if code in (0x2028, 0x2029):
        return f"\\u{code:04x}"
    return character
