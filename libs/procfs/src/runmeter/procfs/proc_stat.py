"""/proc/<pid>/stat."""

from typing import NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import UNSIGNED_MAX, signed, unsigned
from runmeter.procfs.names import decode_name

FILE = "/proc/<pid>/stat"
_FIELDS_MIN = 23  # state to rsslim: the kernel wrote these from the beginning
_UNSIGNED = (
    ("ppid", 1),
    ("utime", 11),
    ("stime", 12),
    ("cutime", 13),
    ("cstime", 14),
    ("num_threads", 17),
    ("starttime", 19),
    ("vsize", 20),
    ("rss", 21),
)  # position after the command name, state is 0


class ProcStat(NamedTuple):
    """One process. Its identity is ``pid`` together with ``starttime``."""

    pid: int  # in the pid namespace of the mount
    comm: str  # decoded; up to 15 bytes, of kernel workers up to 63
    state: str  # one letter: R S D Z T t X I …
    ppid: int  # 0: none, or outside of the pid namespace
    pgrp: int  # -1: the process is being torn down
    session: int  # -1: the process is being torn down
    utime: int  # ticks in user mode, guest time included
    stime: int  # ticks in kernel mode
    cutime: int  # ticks in user mode of children that ended and were waited for
    cstime: int  # ticks in kernel mode of the same
    num_threads: int  # 0 once it is a zombie without threads
    starttime: int  # ticks since boot
    vsize: int  # bytes
    rss: int  # pages; inexact, statm has the exact figure


def parse_proc_stat(raw: bytes) -> ProcStat:
    """Parse ``/proc/<pid>/stat``: one line, times in ticks.

    Splits at the *last* ``)``: a command name may hold spaces, parentheses, newlines.

    Raises:
        ParseError: a field is missing or not an integer.

    Source: proc_pid_stat(5); kernel fs/proc/array.c, do_task_stat().
    """
    start = raw.find(b" (")
    end = raw.rfind(b") ")
    if start < 0 or end < start + 2:
        raise ParseError(FILE, "no command name in parentheses")
    fields = raw[end + 2 :].split(b" ", _FIELDS_MIN)
    if len(fields) < _FIELDS_MIN:
        raise ParseError(FILE, "fields are missing")
    state = fields[0]
    if len(state) != 1 or not state.isalpha():
        raise ParseError(FILE, "state is not a letter")
    ppid, utime, stime, cutime, cstime, threads, starttime, vsize, rss = _numbers(fields)
    return ProcStat(
        unsigned(raw[:start], FILE, "pid"),
        decode_name(raw[start + 2 : end]),
        state.decode(),
        ppid,
        signed(fields[2], FILE, "pgrp"),
        signed(fields[3], FILE, "session"),
        utime,
        stime,
        cutime,
        cstime,
        threads,
        starttime,
        vsize,
        rss,
    )


def _numbers(fields: list[bytes]) -> list[int]:
    """Return the unsigned fields, checked all at once, since this runs for every busy process."""
    texts = [fields[position] for _, position in _UNSIGNED]
    if all(texts) and b"".join(texts).isdigit() and max(map(len, texts)) <= 20:
        values = list(map(int, texts))
        if max(values) <= UNSIGNED_MAX:
            return values
    return [unsigned(fields[position], FILE, name) for name, position in _UNSIGNED]
