"""Typed, immutable records of the /proc and cgroup files Runmeter reads.

One module per file: a NamedTuple in the units of the kernel and a pure ``parse_x(bytes)``.
ProcFS reads a mount; mount, page size and tick rate are values.
"""

from runmeter.procfs.cgroup_v1 import (
    CpuStatV1,
    MemoryOomControl,
    MemoryStatV1,
    parse_cpu_stat_v1,
    parse_cpuacct_usage,
    parse_memory_max_usage_in_bytes,
    parse_memory_oom_control,
    parse_memory_stat_v1,
    parse_memory_usage_in_bytes,
)
from runmeter.procfs.cgroup_v2 import (
    CpuStatV2,
    MemoryEvents,
    MemoryStatV2,
    parse_cpu_stat_v2,
    parse_memory_current,
    parse_memory_events,
    parse_memory_peak,
    parse_memory_stat_v2,
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
    "CpuStatV1",
    "CpuStatV2",
    "CpuTimes",
    "DeniedError",
    "KeptFile",
    "Loadavg",
    "Meminfo",
    "MemoryEvents",
    "MemoryOomControl",
    "MemoryStatV1",
    "MemoryStatV2",
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
    "parse_cpu_stat_v1",
    "parse_cpu_stat_v2",
    "parse_cpuacct_usage",
    "parse_loadavg",
    "parse_meminfo",
    "parse_memory_current",
    "parse_memory_events",
    "parse_memory_max_usage_in_bytes",
    "parse_memory_oom_control",
    "parse_memory_peak",
    "parse_memory_stat_v1",
    "parse_memory_stat_v2",
    "parse_memory_usage_in_bytes",
    "parse_proc_cgroup",
    "parse_proc_mountinfo",
    "parse_proc_stat",
    "parse_proc_statm",
    "parse_proc_status",
    "parse_stat",
]
