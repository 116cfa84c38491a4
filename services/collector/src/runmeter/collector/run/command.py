"""Start the wrapped command without the collector's secrets and descriptors, and reap children.

It uses ``posix_spawn``: ``subprocess`` would cost the sampling process a megabyte.
"""

import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn, TypeVar

from runmeter.collector.errors import CollectorError
from runmeter.collector.processes.clock import clock_id, read_process_clock

NOT_FOUND = 127
NOT_EXECUTABLE = 126
_SIGNALLED = 128
_LOOK = os.WEXITED | os.WNOWAIT | os.WNOHANG  # look at an ended child; it stays a zombie
T = TypeVar("T")


class CommandError(CollectorError):
    """The command could not be started; ``exit_code`` as a shell gives it."""

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"{name!r} cannot be run: {error.strerror}")
        self.exit_code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


class Command:
    """A command that was started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exit_code: int | None = None  # once it has been collected

    def has_ended(self) -> bool:
        """Return whether it has ended; it stays a zombie, so that its times can still be read."""
        return self._exit_code is not None or os.waitid(os.P_PID, self.pid, _LOOK) is not None

    def reap(self) -> int:
        """Collect the ended command, once; return its exit code as a shell reports it."""
        if self._exit_code is None:
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self._exit_code = code if code >= 0 else _SIGNALLED - code
        return self._exit_code

    def collect(self) -> int | None:
        """Collect the ended command; return the CPU time of all children waited for so far."""
        self.reap()
        return children_ns()

    def shares_terminal_signals(self) -> bool:
        """Return whether the terminal sends it the same signals as us: same process group."""
        try:
            return os.getpgid(self.pid) == os.getpgrp()
        except ProcessLookupError:
            return True

    def send(self, number: int) -> None:
        """Pass a signal on."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass


def spawn(
    command: Sequence[str], environment: Mapping[str, str], mask: "set[signal.Signals | int]"
) -> Command:
    """Start a command, found by PATH, with a signal mask.

    SIGPIPE and SIGXFSZ, which Python ignores, have their defaults in the command. Of the
    descriptors that this process opened it has only 0, 1 and 2.

    Raises:
        CommandError: it is not there or cannot be executed.
    """
    return Command(_run(command, lambda found: _posix_spawn(found, environment, mask)))


def _posix_spawn(
    command: list[str], environment: Mapping[str, str], mask: "set[signal.Signals | int]"
) -> int:
    restored = [signal.SIGPIPE, signal.SIGXFSZ]
    return os.posix_spawnp(
        command[0], command, dict(environment), setsigmask=mask, setsigdef=restored
    )


def _run(command: Sequence[str], start: Callable[[list[str]], T]) -> T:
    """Start a command; a script without ``#!`` is run by sh, as execvp(3) does."""
    if not command[0]:
        raise CommandError("", FileNotFoundError(errno.ENOENT, "it has no name"))
    try:
        try:
            return start(list(command))
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
        return start(["/bin/sh", _path_of(command[0]), *command[1:]])
    except OSError as error:
        raise CommandError(command[0], error) from error


def _path_of(name: str) -> str:
    """Return the executable file that PATH finds under a name."""
    if "/" in name:
        return name
    candidates = (f"{folder or '.'}/{name}" for folder in os.get_exec_path())
    return next((path for path in candidates if os.access(path, os.X_OK)), name)


class Ended(NamedTuple):
    """A child that has been waited for; ``cpu_ns`` is what it used itself."""

    pid: int
    status: int
    cpu_ns: int


def reap_children(command: Command | None) -> list[Ended]:
    """Collect ended children, adopted orphans too, up to the end of the command itself.

    Their CPU time is in our children's time from then on. Children that ended after the command
    stay: the run ends with the command.
    """
    found: list[Ended] = []
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, _LOOK)
        except ChildProcessError:
            return found
        if ended is None or (command is not None and ended.si_pid == command.pid):
            return found
        found.append(_collect(ended.si_pid))


def reap_child(pid: int) -> Ended | None:
    """Collect a child if it has ended."""
    return _collect(pid) if os.waitid(os.P_PID, pid, _LOOK) is not None else None


def _collect(pid: int) -> Ended:
    """Collect an ended child; its clock is read first (``wait4`` needs a module and a file)."""
    try:
        cpu_ns = read_process_clock(clock_id(pid))
    except OSError:
        cpu_ns = 0
    _, status = os.waitpid(pid, 0)
    return Ended(pid, status, cpu_ns)


def children_ns() -> int | None:
    """Return the CPU time of all children waited for so far, to the microsecond.

    ``/proc`` shows it in clock ticks. None if the module cannot be loaded (too many open files);
    it is loaded here because only a wrapped command needs it.

    Source: getrusage(2), RUSAGE_CHILDREN.
    """
    try:
        from resource import RUSAGE_CHILDREN, getrusage
    except (ImportError, OSError):
        return None
    used = getrusage(RUSAGE_CHILDREN)
    return round((used.ru_utime + used.ru_stime) * 1_000_000) * 1000


def replace(
    command: Sequence[str], environment: Mapping[str, str], mask: "set[signal.Signals | int]"
) -> NoReturn:
    """Replace this process by the command, which runs as if it had not been wrapped.

    Raises:
        CommandError: it is not there or cannot be executed.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    _run(command, lambda found: os.execvpe(found[0], found, dict(environment)))
    raise AssertionError("exec does not return")


_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Become the parent of orphans: processes that the command leaves behind stay below us.

    A process whose parent ends becomes a child of its nearest ancestor that is a *subreaper*, else
    of pid 1. So the CPU time of orphans reaches the collector when they end, however short they
    live. Returns whether the kernel granted it.

    Source: prctl(2). ``ctypes`` is imported here: only a wrapped command needs it.
    """
    try:
        import ctypes

        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, OSError, AttributeError):  # ImportError, OSError: too many open files
        return False
    return bool(prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
