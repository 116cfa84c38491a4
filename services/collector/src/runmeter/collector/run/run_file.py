"""The run's own file in the spool: its lock, its revisions, and what is logged if that fails."""

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
from runmeter.collector.run.handover import in_memory
from runmeter.collector.spool import advice
from runmeter.collector.spool.folder import StoredRun, trim, write_file
from runmeter.collector.spool.format import encode
from runmeter.collector.spool.locks import lock

_WRITE_NS = 5_000_000_000  # for a slow disk


class RunFile:
    """The file of a run that this process measures.

    ``revision``: the last one written. ``is_there``: a revision is in the spool.
    """

    def __init__(self, config: Config, log: Log, push_id: str) -> None:
        self._config = config
        self._log = log
        self.push_id = push_id
        self.revision = 0
        self.lock_fd: int | None = None
        self.is_there = False
        self._has_warned = False

    @property
    def in_spool(self) -> StoredRun:
        """Return the run as it is in the spool, once it is there."""
        return StoredRun(self._config.spool_dir, self.push_id)

    def lock(self) -> bool:
        """Lock the run until the process ends; return whether it is locked."""
        if self.lock_fd is None:
            try:
                self.lock_fd = lock(self._config.spool_dir, self.push_id)
            except SpoolError as error:
                self.warn(error)
        return self.lock_fd is not None

    def write(self, record: dict[str, Any]) -> None:
        """Write the run to the spool; the first time, remove other runs that exceed its limits.

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
                reason = "the spool exceeds --spool-max"
                self._log.write("warning", "run.dropped", reason=reason, push_id=push_id)

    def warn(self, error: SpoolError) -> None:
        """Log a failure; later ones are not logged, but writing is tried again."""
        if not self._has_warned:
            instead = "the run will not be kept" if self._config.unpushed else "pushing from memory"
            self._log.write("warning", "spool.failed", reason=f"{error}; {instead}")
        self._has_warned = True

    def keep(self, record: dict[str, Any], wait: Callable[[int], object]) -> StoredRun | None:
        """Store the ended run in the spool or, if that fails, in memory; return where it is.

        ``wait(until_ns)``: waits for the end of a child, or until then. None: neither is
        possible, which is logged.
        """
        content = encode(record)
        if self.lock():
            try:
                self._write_in_child(content, wait)
                self._trim()
                return self.in_spool
            except SpoolError as error:
                self.warn(error)
        try:
            return self.in_spool._replace(memory_fd=in_memory(content))
        except OSError as error:
            self.log_lost(f"memory cannot hold it: {error.strerror}")
            return None

    def _write_in_child(self, content: bytes, wait: Callable[[int], object]) -> None:
        """Write the run in a child process: if the disk hangs, the job does not.

        A child that hangs is left running; it writes the same run that is pushed from memory.

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
        until_ns = monotonic_ns() + _WRITE_NS
        while (ended := reap_child(pid)) is None:
            if monotonic_ns() >= until_ns:
                raise SpoolError(f"{folder!r} hangs")
            wait(until_ns)
        code = os.waitstatus_to_exitcode(ended.status)
        if code < 0:
            raise SpoolError(f"its writer was ended by signal {-code}")
        if code:
            raise WriteError(folder, code)

    def log_unpushed(self, stored: StoredRun, reason: str) -> None:
        """Log where a run is that was not pushed."""
        if stored.is_in_memory:
            self.log_lost(reason)
        elif os.path.exists(stored.path):
            self._log_kept(reason)

    def log_lost(self, reason: str) -> None:
        """Log that the end of the run can be neither kept nor pushed."""
        if os.path.exists(self.in_spool.path):
            self._log_kept(f"{reason}; only its last checkpoint is kept")
        else:
            self._log.write("error", "run.lost", reason=reason)

    def _log_kept(self, reason: str) -> None:
        path, hint = self.in_spool.path, advice.kept(self._config.spool_dir)
        self._log.write("error", "run.kept", reason=reason, path=path, hint=hint)


def _write_and_exit(folder: str, push_id: str, content: bytes) -> NoReturn:
    """Write a run in a process of its own; its exit code is 0 or an errno."""
    code = errno.EIO
    try:
        detach_streams(0, 1, 2)  # their readers must not wait for this process
        write_file(folder, push_id, content)
        code = 0
    except WriteError as error:
        code = error.number
    finally:
        os._exit(code)
