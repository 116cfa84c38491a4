"""CPU time of a process, in nanoseconds since it started, from one of two sources.

``process_clock``: the CPU clock of the process (its whole thread group). One system call, no
privilege, exact to the nanosecond. If it has not changed, the process has not run, and nothing
else of it needs to be read. It works for pids of the caller's own pid namespace only.

``stat``: ``utime + stime`` of ``/proc/<pid>/stat``, in clock ticks: for a proc mount of another
pid namespace.

Source: clock_getcpuclockid(3), kernel include/linux/posix-timers.h (make_process_cpuclock).
"""

import os
from collections.abc import Callable
from time import clock_gettime_ns

PROCESS_CLOCK = "process_clock"
STAT = "stat"
NO_CLOCK = -1  # instead of the time of a process that has ended
_SCHEDULER_TIME = 2  # CPUCLOCK_SCHED of a process, not of one thread

_READINGS = 100_000  # take longer than a clock tick

Clock = Callable[[int], int]


def clock_id(pid: int) -> int:
    """Return the clock of a process, for ``read_process_clock``."""
    return (~pid << 3) | _SCHEDULER_TIME


# takes a clock id; OSError (EINVAL) when the process has ended
read_process_clock: Clock = clock_gettime_ns


def read_clocks(clock: Clock, clock_ids: list[int]) -> list[int]:
    """Return the time of each clock, ``NO_CLOCK`` for a process that has ended.

    The loop runs inside the interpreter, since it is most of the cost of a scan of idle processes.
    """
    clocks = map(clock, clock_ids)
    found: list[int] = []
    while len(found) < len(clock_ids):
        try:
            found.extend(clocks)  # keeps the times read before a clock fails
        except OSError:
            found.append(NO_CLOCK)
    return found


def clock_source(mount: str, clock: Clock = read_process_clock) -> str:
    """Return the source for a proc mount.

    The clock needs the mount to show our own pid namespace, and must move while a process runs:
    one that stood still would say that nothing runs.
    """
    own = clock_id(os.getpid())
    try:
        if os.readlink(f"{mount}/self") == str(os.getpid()):
            start_ns = clock(own)
            if any(clock(own) != start_ns for _ in range(_READINGS)):
                return PROCESS_CLOCK
    except OSError:
        pass
    return STAT
