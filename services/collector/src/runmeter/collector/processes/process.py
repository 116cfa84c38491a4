"""The state of one process between two scans."""

from runmeter.collector.model import ROOT_KEY, Group, Key
from runmeter.collector.processes.clock import clock_id
from runmeter.procfs import ProcStat

_ENDED = "ZX"  # states of a process whose main thread has ended


def main_has_ended(stat: ProcStat) -> bool:
    """Return whether the main thread of a process has ended; other threads may run on."""
    return stat.state in _ENDED


def may_run_on(stat: ProcStat) -> bool:
    """Return whether a process has threads besides its main thread."""
    return stat.num_threads is not None and stat.num_threads > 1


class Process:
    """One pid with one start time. Times in nanoseconds, sizes in bytes."""

    __slots__ = (
        "anon_bytes",
        "clock_id",
        "comm",
        "cpu_ns",
        "fault_count",
        "folder",
        "group",
        "interval_ns",
        "is_holder",
        "is_zombie",
        "key",
        "own_ns",
        "peak_cores",
        "peak_rss_bytes",
        "pid",
        "ppid",
        "rss_bytes",
        "seen_scans",
        "start_ticks",
        "waited_ns",
    )

    def __init__(self, stat: ProcStat, key: Key = ROOT_KEY) -> None:
        self.pid = stat.pid
        self.folder: int | str = stat.pid  # below the mount: what its memory is read from
        self.clock_id = clock_id(stat.pid)
        self.ppid = stat.ppid
        self.start_ticks = stat.starttime
        self.comm = stat.comm
        self.key = key
        self.group = Group(key=key)
        self.is_zombie = False
        self.is_holder = False  # as pid 1 it is there for orphans
        self.own_ns = 0  # own CPU time since it started
        self.waited_ns = 0  # CPU time of children it waited for
        self.cpu_ns = 0  # own CPU time during the run
        self.interval_ns = 0  # own CPU time in the interval that is still open
        self.peak_cores: float | None = None
        self.rss_bytes = 0
        self.anon_bytes = 0
        self.peak_rss_bytes: int | None = None
        self.seen_scans = 0
        self.fault_count = 0  # page faults of its own and of children it waited for
