"""``/proc/loadavg``, whose last field is the newest pid: while it is the same, nothing has started.

gVisor writes a constant, LXCFS a copy that is some seconds old. The field is therefore used only
where the collector's own threads change it.
"""

import _thread
from collections.abc import Callable

from runmeter.collector.open_files import keep_below
from runmeter.procfs import KeptFile, ProcfsError, parse_loadavg

_MATCHES = 2  # one could be the chance moment at which a copy is renewed
_TRIES = 8  # on a busy machine another process may start in between

Look = Callable[[], int | None]
RunTask = Callable[[Look], tuple[int, int | None]]


def run_task(look: Look) -> tuple[int, int | None]:
    """Start a thread that ends at once, and look; return its pid, and what was seen.

    To the kernel a thread has a pid as a process has one, and it costs a tenth of a fork.

    Raises:
        RuntimeError: no thread can be started.
    """
    pids: list[int] = []
    has_ended = _thread.allocate_lock()
    has_ended.acquire()

    def note() -> None:
        pids.append(_thread.get_native_id())
        has_ended.release()

    _thread.start_new_thread(note, ())
    seen = look()  # before other processes start
    has_ended.acquire()
    return pids[0], seen


class NewestPid:
    """The newest pid of our pid namespace."""

    def __init__(self, mount: str, run_task: RunTask) -> None:
        self._loadavg = KeptFile(f"{mount}/loadavg", keep_below())
        self._run_task = run_task
        self._is_proven = False
        self._must_move = False
        self._before: int | None = None

    def prove(self) -> None:
        """Start threads until the file has shown two of them, or is proven not to move."""
        before, matches = self._now(), 0
        for _ in range(_TRIES if before is not None else 0):
            try:
                pid, now = self._run_task(self._now)
            except RuntimeError:  # the limit of processes
                return
            if now is None or now == before:
                return
            matches += now == pid
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
