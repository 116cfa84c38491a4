"""Readers: a mount, and one method per file named after it.

Nothing is looked up in the machine this runs on: mount, page size and tick rate are values.
Every method raises VanishedError, DeniedError, ReadError or ParseError.
"""

import os
from typing import NamedTuple

from runmeter.procfs.cgroup_v1 import (
    CpuStatV1,
    MemoryOomControl,
    MemoryStatV1,
    parse_cpu_stat_v1,
    parse_cpuacct_usage,
    parse_memory_limit_in_bytes,
    parse_memory_max_usage_in_bytes,
    parse_memory_oom_control,
    parse_memory_stat_v1,
    parse_memory_usage_in_bytes,
)
from runmeter.procfs.cgroup_v2 import (
    CpuMax,
    CpuStatV2,
    MemoryEvents,
    MemoryStatV2,
    Pressure,
    parse_cpu_max,
    parse_cpu_stat_v2,
    parse_memory_current,
    parse_memory_events,
    parse_memory_max,
    parse_memory_peak,
    parse_memory_stat_v2,
    parse_pressure,
)
from runmeter.procfs.errors import OutsideError, from_os_error
from runmeter.procfs.loadavg import Loadavg, parse_loadavg
from runmeter.procfs.meminfo import Meminfo, parse_meminfo
from runmeter.procfs.proc_cgroup import ControlGroup, parse_proc_cgroup
from runmeter.procfs.proc_cmdline import READ_BYTES_MAX, parse_argv0
from runmeter.procfs.proc_comm import parse_proc_comm
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

    def meminfo(self) -> Meminfo:
        """Read ``/proc/meminfo``."""
        return parse_meminfo(read_file(f"{self.mount}/meminfo"))

    def loadavg(self) -> Loadavg:
        """Read ``/proc/loadavg``."""
        return parse_loadavg(read_file(f"{self.mount}/loadavg"))

    def proc_stat(self, pid: int) -> ProcStat:
        """Read ``/proc/<pid>/stat``."""
        return parse_proc_stat(read_line(f"{self.mount}/{pid}/stat"))

    def proc_statm(self, pid: int) -> ProcStatm:
        """Read ``/proc/<pid>/statm``."""
        return parse_proc_statm(read_line(f"{self.mount}/{pid}/statm"))

    def proc_status(self, pid: int) -> ProcStatus:
        """Read ``/proc/<pid>/status``."""
        return parse_proc_status(read_file(f"{self.mount}/{pid}/status"))

    def proc_comm(self, pid: int) -> str:
        """Read ``/proc/<pid>/comm``."""
        return parse_proc_comm(read_file(f"{self.mount}/{pid}/comm"))

    def proc_cgroup(self, pid: int) -> tuple[ControlGroup, ...]:
        """Read ``/proc/<pid>/cgroup``."""
        return parse_proc_cgroup(read_file(f"{self.mount}/{pid}/cgroup"))

    def proc_mountinfo(self, pid: int) -> tuple[Mount, ...]:
        """Read ``/proc/<pid>/mountinfo``; ReadError with EINVAL for a zombie."""
        return parse_proc_mountinfo(read_file(f"{self.mount}/{pid}/mountinfo"))

    def proc_argv0(self, pid: int) -> str:
        """Read the first word of ``/proc/<pid>/cmdline``, and no more than a page of it."""
        return parse_argv0(read_file(f"{self.mount}/{pid}/cmdline", READ_BYTES_MAX))

    def ticks_nanoseconds(self, ticks: int) -> int:
        """Convert ticks to nanoseconds, rounded down."""
        return ticks * 1_000_000_000 // self.ticks_per_second

    def pages_bytes(self, pages: int) -> int:
        """Convert pages to bytes."""
        return pages * self.page_size


class CgroupV1(NamedTuple):
    """The folder that holds the v1 hierarchies, each mounted under its controller's name.

    ``path`` is that of ``/proc/<pid>/cgroup`` for the controller. A path with a ``..`` part
    raises OutsideError.
    """

    mount: str  # for example /sys/fs/cgroup

    def cpuacct_usage(self, path: str) -> int:
        """Read ``cpuacct.usage``, nanoseconds."""
        return parse_cpuacct_usage(self._read("cpuacct", path, "cpuacct.usage"))

    def cpu_stat(self, path: str) -> CpuStatV1:
        """Read ``cpu.stat``."""
        return parse_cpu_stat_v1(self._read("cpu", path, "cpu.stat"))

    def memory_usage_in_bytes(self, path: str) -> int:
        """Read ``memory.usage_in_bytes``."""
        return parse_memory_usage_in_bytes(self._read("memory", path, "memory.usage_in_bytes"))

    def memory_max_usage_in_bytes(self, path: str) -> int:
        """Read ``memory.max_usage_in_bytes``."""
        return parse_memory_max_usage_in_bytes(
            self._read("memory", path, "memory.max_usage_in_bytes")
        )

    def memory_limit_in_bytes(self, path: str) -> int:
        """Read ``memory.limit_in_bytes``."""
        return parse_memory_limit_in_bytes(self._read("memory", path, "memory.limit_in_bytes"))

    def memory_stat(self, path: str) -> MemoryStatV1:
        """Read ``memory.stat``."""
        return parse_memory_stat_v1(self._read("memory", path, "memory.stat"))

    def memory_oom_control(self, path: str) -> MemoryOomControl:
        """Read ``memory.oom_control``."""
        return parse_memory_oom_control(self._read("memory", path, "memory.oom_control"))

    def _read(self, controller: str, path: str, file: str) -> bytes:
        return read_file(cgroup_file(f"{self.mount}/{controller}", path, file))


class CgroupV2(NamedTuple):
    """A mount of the v2 hierarchy; ``path`` is that of ``/proc/<pid>/cgroup``.

    A path with a ``..`` part raises OutsideError.
    """

    mount: str  # for example /sys/fs/cgroup

    def cpu_stat(self, path: str) -> CpuStatV2:
        """Read ``cpu.stat``."""
        return parse_cpu_stat_v2(self._read(path, "cpu.stat"))

    def cpu_max(self, path: str) -> CpuMax:
        """Read ``cpu.max``."""
        return parse_cpu_max(self._read(path, "cpu.max"))

    def cpu_pressure(self, path: str) -> Pressure:
        """Read ``cpu.pressure``."""
        return parse_pressure(self._read(path, "cpu.pressure"))

    def memory_current(self, path: str) -> int:
        """Read ``memory.current``, bytes."""
        return parse_memory_current(self._read(path, "memory.current"))

    def memory_peak(self, path: str) -> int:
        """Read ``memory.peak``, bytes; VanishedError before Linux 5.19."""
        return parse_memory_peak(self._read(path, "memory.peak"))

    def memory_max(self, path: str) -> int | None:
        """Read ``memory.max``, bytes; None without a limit."""
        return parse_memory_max(self._read(path, "memory.max"))

    def memory_stat(self, path: str) -> MemoryStatV2:
        """Read ``memory.stat``."""
        return parse_memory_stat_v2(self._read(path, "memory.stat"))

    def memory_events(self, path: str) -> MemoryEvents:
        """Read ``memory.events``."""
        return parse_memory_events(self._read(path, "memory.events"))

    def memory_pressure(self, path: str) -> Pressure:
        """Read ``memory.pressure``."""
        return parse_pressure(self._read(path, "memory.pressure"))

    def io_pressure(self, path: str) -> Pressure:
        """Read ``io.pressure``."""
        return parse_pressure(self._read(path, "io.pressure"))

    def _read(self, path: str, file: str) -> bytes:
        return read_file(cgroup_file(self.mount, path, file))


def cgroup_file(mount: str, path: str, file: str) -> str:
    """Return where a file of a cgroup lies below the mount.

    Raises:
        OutsideError: ``path`` does not begin with ``/``, or holds a ``..`` part or a NUL.
    """
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise OutsideError(path)
    return f"{mount}{path.rstrip('/')}/{file}"
