"""/proc/<pid>/mountinfo."""

from typing import NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import each_line
from runmeter.procfs.names import decode_name

FILE = "/proc/<pid>/mountinfo"
_OPTIONAL = 6  # first optional field; a single ``-`` ends them


class Mount(NamedTuple):
    """One mount of the mount namespace of the process."""

    root: str  # folder or file of the file system that is mounted; ``…//deleted`` if removed
    mount_point: str  # below the root of the process
    fs_type: str
    super_options: str  # per file system, comma-separated


def parse_proc_mountinfo(raw: bytes) -> tuple[Mount, ...]:
    r"""Parse ``/proc/<pid>/mountinfo``: one line per mount, in the order of mounting.

    Space, tab, newline and backslash are octal escapes (``\040``): these are undone, then all
    text is decoded like a process name.

    Raises:
        ParseError: no line has the fields. One of several that has not is left out.

    Source: proc_pid_mountinfo(5); kernel fs/proc_namespace.c, show_mountinfo().
    """
    return each_line(raw, _mount)


def _mount(line: bytes) -> Mount:
    fields = line.split(b" ")
    try:
        end = fields.index(b"-", _OPTIONAL)
    except ValueError:
        raise ParseError(FILE, "a line has no separator") from None
    if len(fields) < end + 4 or not (fields[3] and fields[4]):
        raise ParseError(FILE, "a line lacks fields")
    return Mount(
        _text(fields[3]),
        _text(fields[4]),
        _text(fields[end + 1]),
        _text(b" ".join(fields[end + 3 :])),
    )


def _text(raw: bytes) -> str:
    if b"\\" not in raw:
        return decode_name(raw)
    first, *rest = raw.split(b"\\")
    return decode_name(first + b"".join(map(_after_backslash, rest)))


def _after_backslash(part: bytes) -> bytes:
    octal = part[:3]
    if len(octal) == 3 and not octal.strip(b"01234567") and octal <= b"377":
        return bytes((int(octal, 8),)) + part[3:]
    return b"\\" + part
