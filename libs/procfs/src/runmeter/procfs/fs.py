"""Read the files of a /proc mount: one method per file, named after it.

Mount, page size and tick rate are values, so a recording of another machine can be read. ``pid``
may also be ``<pid>/task/<tid>``, as ``living_thread()`` returns it. Every method raises
VanishedError, DeniedError, ReadError or ParseError.
"""

import os
from typing import NamedTuple

from runmeter.procfs.errors import ProcfsError, from_os_error
from runmeter.procfs.proc_cgroup import ControlGroup, parse_proc_cgroup
from runmeter.procfs.proc_cmdline import READ_BYTES_MAX, parse_argv0
from runmeter.procfs.proc_mountinfo import Mount, parse_proc_mountinfo
from runmeter.procfs.proc_stat import ProcStat, parse_proc_stat
from runmeter.procfs.proc_statm import ProcStatm, parse_proc_statm
from runmeter.procfs.proc_status import ProcStatus, parse_proc_status
from runmeter.procfs.reading import read_file, read_line
from runmeter.procfs.stat import Stat, parse_stat


class ProcFS(NamedTuple):
    """A mount of /proc, live or recorded."""

    mount: str  # for example /proc
    page_size: int  # bytes
    ticks_per_second: int

    def pids(self) -> list[int]:
        """Return the pids the mount shows, ascending."""
        try:
            names = os.listdir(self.mount)
        except OSError as error:
            raise from_os_error(self.mount, error) from error
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def stat(self) -> Stat:
        """Read ``/proc/stat``."""
        return parse_stat(read_file(f"{self.mount}/stat"))

    def proc_stat(self, pid: int | str) -> ProcStat:
        """Read ``/proc/<pid>/stat``."""
        return parse_proc_stat(read_line(f"{self.mount}/{pid}/stat"))

    def proc_statm(self, pid: int | str) -> ProcStatm:
        """Read ``/proc/<pid>/statm``."""
        return parse_proc_statm(read_line(f"{self.mount}/{pid}/statm"))

    def proc_status(self, pid: int | str) -> ProcStatus:
        """Read ``/proc/<pid>/status``."""
        return parse_proc_status(read_file(f"{self.mount}/{pid}/status"))

    def proc_cgroup(self, pid: int | str) -> tuple[ControlGroup, ...]:
        """Read ``/proc/<pid>/cgroup``."""
        return parse_proc_cgroup(read_file(f"{self.mount}/{pid}/cgroup"))

    def proc_mountinfo(self, pid: int | str) -> tuple[Mount, ...]:
        """Read ``/proc/<pid>/mountinfo``; ReadError with EINVAL for a zombie."""
        return parse_proc_mountinfo(read_file(f"{self.mount}/{pid}/mountinfo"))

    def proc_argv0(self, pid: int | str) -> str:
        """Read the first word of ``/proc/<pid>/cmdline``, and no more than a page of it."""
        return parse_argv0(read_file(f"{self.mount}/{pid}/cmdline", READ_BYTES_MAX))

    def living_thread(self, pid: int) -> str | None:
        """Return a thread that has memory, of a process whose main thread has ended.

        The files of the main thread then show no memory, and in cgroup v1 no cgroup. None: there
        is no such thread (any more).
        """
        folder = f"{pid}/task"
        try:
            threads = os.listdir(f"{self.mount}/{folder}")
        except OSError:
            return None
        for thread in threads:
            try:
                if self.proc_statm(f"{folder}/{thread}").resident:
                    return f"{folder}/{thread}"
            except ProcfsError:  # it has just ended
                pass
        return None

    def ticks_nanoseconds(self, ticks: int) -> int:
        """Convert ticks to nanoseconds, rounded down."""
        return ticks * 1_000_000_000 // self.ticks_per_second

    def pages_bytes(self, pages: int) -> int:
        """Convert pages to bytes."""
        return pages * self.page_size
