"""/proc/loadavg."""

from typing import NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import decimal, unsigned

FILE = "/proc/loadavg"


class Loadavg(NamedTuple):
    """Load of the machine, and the newest pid."""

    one_minute: float  # runnable or uninterruptible tasks, averaged over one minute
    five_minutes: float
    fifteen_minutes: float
    running: int  # threads that can run now
    total: int  # threads
    last_pid: int  # newest pid in the reader's pid namespace: changes with every fork


def parse_loadavg(raw: bytes) -> Loadavg:
    """Parse ``/proc/loadavg``: ``0.07 0.03 0.01 1/84 6157``.

    Raises:
        ParseError: the line is not of this form.

    Source: proc_loadavg(5); kernel fs/proc/loadavg.c.
    """
    fields = raw.removesuffix(b"\n").split(b" ")
    if len(fields) != 5:
        raise ParseError(FILE, "not five fields")
    running, _, total = fields[3].partition(b"/")
    return Loadavg(
        decimal(fields[0], FILE, "the load of one minute"),
        decimal(fields[1], FILE, "the load of five minutes"),
        decimal(fields[2], FILE, "the load of fifteen minutes"),
        unsigned(running, FILE, "the number of running threads"),
        unsigned(total, FILE, "the number of threads"),
        unsigned(fields[4], FILE, "the last pid"),
    )
