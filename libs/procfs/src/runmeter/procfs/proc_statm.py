"""/proc/<pid>/statm."""

from typing import NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import unsigned

FILE = "/proc/<pid>/statm"
_NAMES = ("size", "resident", "shared", "text", "lib", "data", "dt")


class ProcStatm(NamedTuple):
    """Memory of one process, in pages. All 0 for kernel threads and zombies."""

    size: int  # virtual
    resident: int  # rss: exactly VmRSS of status
    shared: int  # resident pages backed by a file or shared; resident - shared is anonymous
    text: int
    lib: int  # always 0 since Linux 2.6
    data: int  # data and stack, virtual
    dt: int  # always 0 since Linux 2.6


def parse_proc_statm(raw: bytes) -> ProcStatm:
    """Parse ``/proc/<pid>/statm``: one line of seven page counts.

    Raises:
        ParseError: not seven unsigned integers.

    Source: proc_pid_statm(5); kernel fs/proc/array.c, proc_pid_statm().
    """
    texts = raw.removesuffix(b"\n").split(b" ")
    if len(texts) != len(_NAMES):
        raise ParseError(FILE, "not seven fields")
    return ProcStatm(
        *(unsigned(text, FILE, name) for name, text in zip(_NAMES, texts, strict=True))
    )
