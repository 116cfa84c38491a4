"""The run's own file in the spool: its lock, its revisions, and what is said if it cannot be."""

import os
from typing import Any

from runmeter.collector import spool
from runmeter.collector.config import Config
from runmeter.collector.errors import SpoolError
from runmeter.collector.handover import memory_path
from runmeter.collector.output import Log


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
        return spool.path_of(self._config.spool_dir, self.push_id)

    def lock(self) -> bool:
        """Own the run, from the first time this can be until the end of the process."""
        if self.lock_fd is None:
            try:
                self.lock_fd = spool.lock(self._config.spool_dir, self.push_id)
            except SpoolError as error:
                self.warn(error)
        return self.lock_fd is not None

    def write(self, record: dict[str, Any]) -> None:
        """Put the run into the spool; the first time drop what is too much in it.

        Raises:
            SpoolError: it cannot be written.
        """
        config = self._config
        spool.write(config.spool_dir, self.push_id, spool.encode(record))
        if not self.is_there:
            self.is_there = True
            limits = config.spool_max
            for push_id in spool.trim(
                config.spool_dir, limits.run_count, limits.size_bytes, self.push_id
            ):
                reason = "--spool-max: the spool holds more than it may"
                self._log.write("warning", "run.dropped", reason=reason, push_id=push_id)

    def warn(self, error: SpoolError) -> None:
        """Tell of the first failure."""
        if not self.has_warned:
            self._log.write("warning", "spool.failed", reason=f"{error}; pushing from memory")
        self.has_warned = True

    def keep(self, record: dict[str, Any]) -> str:
        """Write the ended run to the spool, or to memory if that cannot be; return its path.

        An empty path: neither can be, and the job goes on to its end all the same.
        """
        if self.lock():
            try:
                self.write(record)
                return self.path
            except SpoolError as error:
                self.warn(error)
        try:
            return memory_path(spool.encode(record))
        except OSError as error:
            self.tell_lost(f"memory cannot take it: {error.strerror}")
            return ""

    def tell_lost(self, reason: str) -> None:
        """Say that the end of the run can be neither kept nor pushed, and what of it lies where."""
        if os.path.exists(self.path):
            reason += "; only its last checkpoint is kept, collector push delivers it"
            self._log.write("error", "run.kept", reason=reason, path=self.path)
        else:
            self._log.write("error", "run.lost", reason=reason)
