"""/proc/<pid>/statm."""

from typing import NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import unsigned

FILE = "/proc/<pid>/statm"
_FIELDS_MIN = 3


class ProcStatm(NamedTuple):
    """Memory of one process, in pages. All 0 for kernel threads and zombies."""

    resident: int  # rss: exactly VmRSS of status
    shared: int  # resident pages backed by a file or shared; resident - shared is anonymous


def parse_proc_statm(raw: bytes) -> ProcStatm:
    """Parse ``/proc/<pid>/statm``: one line of page counts, of which two are read.

    Raises:
        ParseError: these two are missing or malformed.

    Source: proc_pid_statm(5); kernel fs/proc/array.c, proc_pid_statm().
    """
    texts = raw.removesuffix(b"\n").split(b" ")
    if len(texts) < _FIELDS_MIN:
        raise ParseError(FILE, "fields are missing")
    return ProcStatm(unsigned(texts[1], FILE, "resident"), unsigned(texts[2], FILE, "shared"))
