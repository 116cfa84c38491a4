"""The run's own file in the spool: its lock, its revisions, and what is said if it cannot be."""

import errno
import os
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, NoReturn

from runmeter.collector.config.settings import Config
from runmeter.collector.errors import SpoolError, WriteError
from runmeter.collector.log import Log
from runmeter.collector.open_files import detach_streams
from runmeter.collector.run.command import reap_child
from runmeter.collector.run.handover import memory_path
from runmeter.collector.spool import advice
from runmeter.collector.spool.folder import path_of, trim, write_file
from runmeter.collector.spool.format import encode
from runmeter.collector.spool.locks import lock

_PATIENCE_NS = 5_000_000_000  # with a disk that is slow


class RunFile:
    """The file of a run that is measured by this process.

    ``revision``: of what was written last. ``has_warned``: a failure has been told of; later
    ones are not, but tried again all the same.
    """

    def __init__(self, config: Config, log: Log, push_id: str) -> None:
        self._config = config
        self._log = log
        self.push_id = push_id
        self.revision = 0
        self.lock_fd: int | None = None
        self.is_there = False
        self.has_warned = False

    @property
    def path(self) -> str:
        """Where it is in the spool, once it is there."""
        return path_of(self._config.spool_dir, self.push_id)

    def lock(self) -> bool:
        """Own the run, from the first time this can be until the end of the process."""
        if self.lock_fd is None:
            try:
                self.lock_fd = lock(self._config.spool_dir, self.push_id)
            except SpoolError as error:
                self.warn(error)
        return self.lock_fd is not None

    def write(self, record: dict[str, Any]) -> None:
        """Put the run into the spool; the first time drop what is too much in it.

        Raises:
            WriteError: it cannot be written.
        """
        write_file(self._config.spool_dir, self.push_id, encode(record))
        self._trim()

    def _trim(self) -> None:
        config = self._config
        if not self.is_there:
            self.is_there = True
            limits = config.spool_max
            for push_id in trim(
                config.spool_dir, limits.run_count, limits.size_bytes, self.push_id
            ):
                reason = "--spool-max: the spool holds more than it may"
                self._log.write("warning", "run.dropped", reason=reason, push_id=push_id)

    def warn(self, error: SpoolError) -> None:
        """Tell of the first failure."""
        if not self.has_warned:
            instead = "the run will not be kept" if self._config.unpushed else "pushing from memory"
            self._log.write("warning", "spool.failed", reason=f"{error}; {instead}")
        self.has_warned = True

    def keep(self, record: dict[str, Any], wait: Callable[[int], object]) -> str:
        """Write the ended run to the spool, or to memory if that cannot be; return its path.

        ``wait(until_ns)``: waits for the end of a child, or until then. An empty path: neither
        can be, and the job goes on to its end all the same.
        """
        content = encode(record)
        if self.lock():
            try:
                self._write_beside(content, wait)
                self._trim()
                return self.path
            except SpoolError as error:
                self.warn(error)
        try:
            return memory_path(content)
        except OSError as error:
            self.log_lost(f"memory cannot take it: {error.strerror}")
            return ""

    def _write_beside(self, content: bytes, wait: Callable[[int], object]) -> None:
        """Let a child write the run, as it may hang with its disk; the job shall not.

        One that hangs is left: what it writes in the end is what is pushed from memory meanwhile.

        Raises:
            SpoolError: it cannot be written, or not in time.
        """
        folder = self._config.spool_dir
        try:
            pid = os.fork()
        except OSError:
            write_file(folder, self.push_id, content)
            return
        if not pid:
            _write_and_exit(folder, self.push_id, content)
        until_ns = monotonic_ns() + _PATIENCE_NS
        while (ended := reap_child(pid)) is None:
            if monotonic_ns() >= until_ns:
                raise SpoolError(f"{folder!r} hangs")
            wait(until_ns)
        code = os.waitstatus_to_exitcode(ended.status)
        if code < 0:
            raise SpoolError(f"its writer was ended by signal {-code}")
        if code:
            raise WriteError(folder, code)

    def log_lost(self, reason: str) -> None:
        """Say that the end of the run can be neither kept nor pushed, and what of it lies where."""
        if os.path.exists(self.path):
            reason += "; only its last checkpoint is kept"
            facts = {"path": self.path, "hint": advice.kept(self._config.spool_dir)}
            self._log.write("error", "run.kept", reason=reason, **facts)
        else:
            self._log.write("error", "run.lost", reason=reason)


def _write_and_exit(folder: str, push_id: str, content: bytes) -> NoReturn:
    """Write a run in a process of its own; its exit code is 0 or an errno."""
    code = errno.EIO
    try:
        detach_streams(0, 1, 2)  # whoever reads them shall not wait for it
        write_file(folder, push_id, content)
        code = 0
    except WriteError as error:
        code = error.number
    finally:
        os._exit(code)
