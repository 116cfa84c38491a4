"""The signals of this process."""

import signal
from time import monotonic_ns

_NS = 1_000_000_000
ENDING = (signal.SIGINT, signal.SIGTERM)
_PASSED_ON = (*ENDING, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_SHORTEST_NS = 1_000  # a timer of 0 never comes


class Signals:
    """The signals of this process: blocked from the start, taken where it waits.

    Blocked signals are not lost while something else is done, reach even pid 1 of a container
    and a process started with SIGINT ignored, and stay blocked into the pusher.
    """

    def __init__(self) -> None:
        self._awaited: set[signal.Signals] = {*ENDING, signal.SIGCHLD, signal.SIGALRM}
        self.inherited = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        # inherited as ignored, it would never come, and children would end unseen
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.ending_count = 0

    def pass_on(self) -> None:
        """Take, too, what is meant for a wrapped command."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
        self._awaited.update(_PASSED_ON)

    def wait(self, until_ns: int) -> "signal.struct_siginfo | None":
        """Wait for a signal until a time of the monotonic clock; None when it has come.

        By a timer of our own: ``sigtimedwait`` of CPython 3.11 makes up a signal when it was
        interrupted, as by SIGSTOP and SIGCONT, and its time has passed.
        """
        return self._wait(until_ns, self._awaited)

    def wait_for_child(self, until_ns: int) -> None:
        """Wait for the end of a child, or until a time; other signals stay where they are."""
        self._wait(until_ns, {signal.SIGCHLD, signal.SIGALRM})

    def _wait(
        self, until_ns: int, awaited: "set[signal.Signals]"
    ) -> "signal.struct_siginfo | None":
        while (left_ns := until_ns - monotonic_ns()) > 0:
            signal.setitimer(signal.ITIMER_REAL, max(left_ns, _SHORTEST_NS) / _NS)
            taken = signal.sigwaitinfo(awaited)
            if taken.si_signo != signal.SIGALRM:
                self.ending_count += taken.si_signo in ENDING
                return taken
        return None

    def stop_timer(self) -> None:
        """Leave no alarm behind: timer and pending signal would outlive an exec."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.SIGALRM in signal.sigpending():
            signal.sigwaitinfo({signal.SIGALRM})
