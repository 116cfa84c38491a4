"""/proc/<pid>/stat."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from runmeter.procfs.errors import ParseError
from runmeter.procfs.fields import readable, unsigned
from runmeter.procfs.names import decode_name

FILE = "/proc/<pid>/stat"
_FIELDS_MIN = 21  # state to starttime, and more
_PPID, _STARTTIME = 1, 19  # position after the command name, state is 0
_OTHERS = (11, 12, 13, 14, 17, 7, 8)  # utime, stime, cutime, cstime, num_threads, minflt, cminflt
_SIGNED_MAX = 2**63 - 1
_SHORT_DIGITS = 18  # no number of so many digits is above it


class ProcStat(NamedTuple):
    """One process. Its identity is ``pid`` together with ``starttime``.

    Other numbers are None, each by itself, if they are not what they can be: the kernel writes
    children's times as signed, and some have been seen to be negative.
    """

    pid: int  # in the pid namespace of the mount
    comm: str  # decoded; up to 15 bytes, of kernel workers up to 63
    state: str  # one letter: R S D Z T t X I …
    ppid: int  # 0: none, or outside of the pid namespace
    utime: int | None  # ticks in user mode, guest time included
    stime: int | None  # ticks in kernel mode
    cutime: int | None  # ticks in user mode of children that ended and were waited for
    cstime: int | None  # ticks in kernel mode of the same
    num_threads: int | None  # also of a zombie: above 1 if only its main thread has ended
    starttime: int  # ticks since boot
    minflt: int | None  # page faults without reading a disk
    cminflt: int | None  # the same of children that ended and were waited for


def parse_proc_stat(raw: bytes) -> ProcStat:
    """Parse ``/proc/<pid>/stat``: one line, times in ticks.

    Splits at the *last* ``)``: a command name may hold spaces, parentheses, newlines.

    Raises:
        ParseError: name, state, parent or start time is missing or malformed.

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
    ppid, starttime, utime, stime, cutime, cstime, threads, minflt, cminflt = _numbers(fields)
    return ProcStat(
        unsigned(raw[:start], FILE, "pid"),
        decode_name(raw[start + 2 : end]),
        state.decode(),
        ppid,
        utime,
        stime,
        cutime,
        cstime,
        threads,
        starttime,
        minflt,
        cminflt,
    )


def _numbers(fields: list[bytes]) -> Sequence[Any]:
    """Return ppid, starttime and the others, usually checked all at once.

    This runs for every busy process.
    """
    texts = [fields[position] for position in (_PPID, _STARTTIME, *_OTHERS)]
    if all(texts) and b"".join(texts).isdigit() and max(map(len, texts)) <= _SHORT_DIGITS:
        return list(map(int, texts))
    others = [readable(unsigned, text) for text in texts[2:]]
    return [
        unsigned(texts[0], FILE, "ppid"),
        unsigned(texts[1], FILE, "starttime"),
        *(None if value is None or value > _SIGNED_MAX else value for value in others),
    ]
