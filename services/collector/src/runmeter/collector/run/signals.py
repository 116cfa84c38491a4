"""The signals of this process."""

import signal
from time import monotonic_ns

_NS = 1_000_000_000
ENDING = (signal.SIGINT, signal.SIGTERM)
_PASSED_ON = (*ENDING, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_SHORTEST_NS = 1_000  # a timer of 0 never fires
_REPEAT_NS = 200_000_000


class Repeats:
    """Finds ending signals that were sent twice: the same one again within 200 ms.

    GNU timeout signals its child and then its process group, which has the child in it.
    """

    def __init__(self, number: int = 0, at_ns: int = 0) -> None:
        self.number = number
        self.at_ns = at_ns

    def include(self, number: int) -> bool:
        """Return whether a signal that is received now is a repeat of the one before."""
        now_ns = monotonic_ns()
        if number == self.number and now_ns - self.at_ns < _REPEAT_NS:
            return True
        self.number, self.at_ns = number, now_ns
        return False


class Signals:
    """The signals of this process: blocked from the start, received while it waits.

    Blocked signals are not lost while it does something else. They also reach pid 1 of a container
    and a process started with SIGINT ignored, and they stay blocked in the pusher.
    """

    def __init__(self) -> None:
        self._awaited: set[signal.Signals] = {*ENDING, signal.SIGCHLD, signal.SIGALRM}
        self.inherited = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        # if it is inherited as ignored, ended children are not reported
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.ending_count = 0
        self.repeats = Repeats()

    def pass_on(self) -> None:
        """Also receive the signals that are passed on to a wrapped command."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
        self._awaited.update(_PASSED_ON)

    def wait(self, until_ns: int) -> "signal.struct_siginfo | None":
        """Wait for a signal until a time of the monotonic clock; return None at that time.

        A timer is used because ``sigtimedwait`` of CPython 3.11 returns a wrong signal if it was
        interrupted, as by SIGSTOP and SIGCONT, and its time is over.
        """
        return self._wait(until_ns, self._awaited)

    def wait_for_child(self, until_ns: int) -> None:
        """Wait for the end of a child, or until a time; other signals stay pending."""
        self._wait(until_ns, {signal.SIGCHLD, signal.SIGALRM})

    def _wait(
        self, until_ns: int, awaited: "set[signal.Signals]"
    ) -> "signal.struct_siginfo | None":
        while (left_ns := until_ns - monotonic_ns()) > 0:
            signal.setitimer(signal.ITIMER_REAL, max(left_ns, _SHORTEST_NS) / _NS)
            taken = signal.sigwaitinfo(awaited)
            if taken.si_signo != signal.SIGALRM:
                if taken.si_signo in ENDING and not self.repeats.include(taken.si_signo):
                    self.ending_count += 1
                return taken
        return None

    def settle(self) -> None:
        """Stop the timer; drop its pending signal and a repeat: all would survive an exec."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        pending = signal.sigpending()
        if signal.SIGALRM in pending:
            signal.sigwaitinfo({signal.SIGALRM})
        last = self.repeats.number
        if last in pending and self.repeats.include(last):
            signal.sigwaitinfo({last})
