"""Typed, immutable records of the /proc and cgroup files Runmeter reads.

One module per file: a NamedTuple in the units of the kernel and a pure ``parse_x(bytes)``.
Fields that nothing uses are not read, and one bad field does not cost the others.
ProcFS reads a mount; mount, page size and tick rate are values.
"""

from runmeter.procfs.cgroup_v1 import (
    parse_cpuacct_usage,
    parse_memory_max_usage_in_bytes,
    parse_memory_usage_in_bytes,
    parse_oom_control_kills,
    parse_throttled_time,
    parse_total_inactive_file,
)
from runmeter.procfs.cgroup_v2 import (
    parse_events_oom_kill,
    parse_inactive_file,
    parse_memory_current,
    parse_memory_peak,
    parse_throttled_usec,
    parse_usage_usec,
)
from runmeter.procfs.errors import (
    DeniedError,
    ParseError,
    ProcfsError,
    ReadError,
    VanishedError,
)
from runmeter.procfs.fs import ProcFS
from runmeter.procfs.loadavg import Loadavg, parse_loadavg
from runmeter.procfs.meminfo import Meminfo, parse_meminfo
from runmeter.procfs.names import decode_name
from runmeter.procfs.proc_cgroup import ControlGroup, parse_proc_cgroup
from runmeter.procfs.proc_cmdline import parse_argv0
from runmeter.procfs.proc_mountinfo import Mount, parse_proc_mountinfo
from runmeter.procfs.proc_stat import ProcStat, parse_proc_stat
from runmeter.procfs.proc_statm import ProcStatm, parse_proc_statm
from runmeter.procfs.proc_status import ProcStatus, parse_proc_status
from runmeter.procfs.reading import KeptFile
from runmeter.procfs.stat import CpuTimes, Stat, parse_stat

__all__ = [
    "ControlGroup",
    "CpuTimes",
    "DeniedError",
    "KeptFile",
    "Loadavg",
    "Meminfo",
    "Mount",
    "ParseError",
    "ProcFS",
    "ProcStat",
    "ProcStatm",
    "ProcStatus",
    "ProcfsError",
    "ReadError",
    "Stat",
    "VanishedError",
    "decode_name",
    "parse_argv0",
    "parse_cpuacct_usage",
    "parse_events_oom_kill",
    "parse_inactive_file",
    "parse_loadavg",
    "parse_meminfo",
    "parse_memory_current",
    "parse_memory_max_usage_in_bytes",
    "parse_memory_peak",
    "parse_memory_usage_in_bytes",
    "parse_oom_control_kills",
    "parse_proc_cgroup",
    "parse_proc_mountinfo",
    "parse_proc_stat",
    "parse_proc_statm",
    "parse_proc_status",
    "parse_stat",
    "parse_throttled_time",
    "parse_throttled_usec",
    "parse_total_inactive_file",
    "parse_usage_usec",
]
