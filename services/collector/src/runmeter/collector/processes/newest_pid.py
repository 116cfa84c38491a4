"""``/proc/loadavg``, whose last field is the newest pid: while it is the same, nothing has started.

gVisor writes a constant, LXCFS a copy that is some seconds old. The field is therefore used only
where the collector's own children change it.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

from runmeter.collector.open_files import keep_below
from runmeter.collector.processes.clock import clock_id, read_process_clock
from runmeter.procfs import KeptFile, ProcfsError, parse_loadavg

_MATCHES = 2  # one could be the chance moment at which a copy is renewed
_TRIES = 8  # on a busy machine another process may start in between


class Child(NamedTuple):
    """A child that has ended; ``cpu_ns`` is what it used."""

    pid: int
    cpu_ns: int


def run_child() -> Child:
    """Start a child that ends at once, and wait for it."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        cpu_ns = read_process_clock(clock_id(pid))
    except OSError:
        cpu_ns = 0
    os.waitpid(pid, 0)
    return Child(pid, cpu_ns)


class NewestPid:
    """The newest pid of our pid namespace.

    ``cpu_ns``: what the children have used that proved it.
    """

    def __init__(self, mount: str, run_child: Callable[[], Child]) -> None:
        self._loadavg = KeptFile(f"{mount}/loadavg", keep_below())
        self._run_child = run_child
        self._is_proven = False
        self._must_move = False
        self._before: int | None = None
        self.cpu_ns = 0

    def prove(self) -> None:
        """Start children until the file has shown two of them, or is proven not to move."""
        before, matches = self._now(), 0
        for _ in range(_TRIES if before is not None else 0):
            try:
                child = self._run_child()
            except OSError:  # the limit of processes
                return
            self.cpu_ns += child.cpu_ns
            now = self._now()
            if now is None or now == before:
                return
            matches += now == child.pid
            if matches == _MATCHES:
                self._is_proven = True
                return
            before = now

    def must_move(self) -> None:
        """Record that an own child has been started: if the file has not moved, it is frozen."""
        self._must_move = True

    def read(self) -> int | None:
        """Return the newest pid; None if it is not known."""
        now = self._now() if self._is_proven else None
        if self._must_move and now == self._before:
            self._is_proven, now = False, None
        self._must_move, self._before = False, now
        return now

    def _now(self) -> int | None:
        try:
            return parse_loadavg(self._loadavg.read()).last_pid
        except ProcfsError:
            return None
