"""The table of processes: what is read of each one per scan, and what it used since.

Processes are scanned parents first (ascending pid): a race then counts too little for one
scan instead of counting twice.
"""

from typing import NamedTuple

from runmeter.collector.containers import (
    COMMAND_GROUP,
    ROOT_KEY,
    Containers,
    Group,
    Key,
    container_key,
)
from runmeter.collector.ledger import Vanished
from runmeter.procfs import (
    ParseError,
    ProcFS,
    ProcfsError,
    ProcStat,
    VanishedError,
)

_YOUNG_SCANS = 2  # a runtime may still move a process between cgroups
_CGROUP_SCANS = 64  # and now and then somebody does later
_ZOMBIES = "ZX"


class Process:
    """One pid with one start time. Times in nanoseconds, sizes in bytes."""

    __slots__ = (
        "anon_bytes",
        "comm",
        "cpu_ns",
        "group",
        "interval_ns",
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

    def __init__(self, stat: ProcStat, key: Key) -> None:
        self.pid = stat.pid
        self.ppid = stat.ppid
        self.start_ticks = stat.starttime
        self.comm = stat.comm
        self.key = key
        self.group = Group(key=key)
        self.is_zombie = False
        self.own_ns = 0  # own CPU time since it started
        self.waited_ns = 0  # CPU time of children it waited for
        self.cpu_ns = 0  # own CPU time during the run
        self.interval_ns = 0  # own CPU time in the interval that is still open
        self.peak_cores: float | None = None
        self.rss_bytes = 0
        self.anon_bytes = 0
        self.peak_rss_bytes: int | None = None
        self.seen_scans = 0


class Scan(NamedTuple):
    """What one scan of all processes found.

    ``own_ns``: growth of living processes' own time by group. ``waited_ns``: growth of
    children's time by pid. ``vanished``: processes of the scan before that are no more.
    """

    own_ns: dict[Group, int]
    waited_ns: dict[int, int]
    vanished: list[Process]


class ProcessTable:
    """All processes visible under one proc mount.

    ``command_parent_pid``: whose new children, with all below them, are the command. Counts what
    vanished while it was read and what the kernel refused.
    """

    def __init__(self, proc: ProcFS, containers: Containers) -> None:
        self._proc = proc
        self._containers = containers
        self.processes: dict[int, Process] = {}
        self.command_parent_pid: int | None = None
        self.vanished_count = 0
        self.denied_count = 0
        self._scanned = False

    def scan(self) -> Scan:
        """Read every process once.

        In the very first scan processes only enter the table: what they used before does not
        belong to the run.
        """
        pids = self._proc.pids()
        before, self.processes = self.processes, {}
        scan = Scan({}, {}, [])
        for pid in pids:
            try:
                self._read(pid, before, scan)
            except VanishedError:
                self.vanished_count += 1
            except ParseError:  # cut short: the process is going away
                self.vanished_count += 1
            except ProcfsError:
                self.denied_count += 1
                if pid in before:  # it lives: taken for new later, all it used would count again
                    self.processes[pid] = before.pop(pid)
        scan.vanished.extend(before.values())
        self._scanned = True
        return scan

    def _read(self, pid: int, before: dict[int, Process], scan: Scan) -> None:
        stat = self._proc.proc_stat(pid)
        process = before.get(pid)
        if process is None or process.start_ticks != stat.starttime:
            process = self._enter(stat, before)
        else:
            self._look_again(process, stat)
            del before[pid]
        self.processes[pid] = process
        process.seen_scans += 1
        process.ppid = stat.ppid
        process.group = self._group(process, before)
        self._account(process, stat, scan)
        process.is_zombie = stat.state in _ZOMBIES
        self._size(process)

    def _enter(self, stat: ProcStat, before: dict[int, Process]) -> Process:
        """Make the entry of a process that was not there in the scan before."""
        key = container_key(self._proc.proc_cgroup(stat.pid))
        parent = self._parent(stat.ppid, before)
        if parent is not None and stat.ppid != 1:
            # an exiting task reads `/` as its cgroup in a v1 hierarchy; what v2 says beside it
            # (on a hybrid host the service of the runtime) is not the container
            ended = stat.state in _ZOMBIES and not key.container_id
            if key == ROOT_KEY or (ended and parent.key.container_id):
                key = parent.key
        process = Process(stat, key)
        if not self._scanned:
            process.own_ns, process.waited_ns = self._times(stat)
        self._learn(process)
        return process

    def _look_again(self, process: Process, stat: ProcStat) -> None:
        """Read anew what may change in a living process: its cgroup and its name."""
        is_due = process.seen_scans <= _YOUNG_SCANS or process.seen_scans % _CGROUP_SCANS == 0
        if is_due and stat.state not in _ZOMBIES:
            try:
                key = container_key(self._proc.proc_cgroup(process.pid))
            except ProcfsError:
                key = ROOT_KEY
            if key not in (ROOT_KEY, process.key):
                process.key = key
                self._learn(process)
        if process.comm != stat.comm:
            process.comm = stat.comm
            self._learn(process)

    def _learn(self, process: Process) -> None:
        argv0 = ""
        if self._containers.wants_argv0:
            try:
                argv0 = self._proc.proc_argv0(process.pid)
            except ProcfsError:
                argv0 = ""
        self._containers.see(process.key, process.pid, process.comm, argv0)

    def _parent(self, ppid: int, before: dict[int, Process]) -> Process | None:
        """Return the parent, read in this scan or, once pids have wrapped, not yet."""
        return self.processes.get(ppid) or before.get(ppid)

    def _group(self, process: Process, before: dict[int, Process]) -> Group:
        """Return the group: once part of the command's tree, always part of it."""
        if process.group.is_command:
            return COMMAND_GROUP
        if process.seen_scans == 1 and process.ppid == self.command_parent_pid:
            return COMMAND_GROUP
        if process.seen_scans <= _YOUNG_SCANS:  # its parent may be as new and have a higher pid
            parent = self._parent(process.ppid, before)
            if parent is not None and parent.group.is_command:
                return COMMAND_GROUP
        return self._containers.group(process.key)

    def _times(self, stat: ProcStat) -> tuple[int, int]:
        return (
            self._proc.ticks_nanoseconds(stat.utime + stat.stime),
            self._proc.ticks_nanoseconds(stat.cutime + stat.cstime),
        )

    def _account(self, process: Process, stat: ProcStat, scan: Scan) -> None:
        own_ns, waited_ns = self._times(stat)
        used = max(0, own_ns - process.own_ns)
        if used:
            scan.own_ns[process.group] = scan.own_ns.get(process.group, 0) + used
            process.cpu_ns += used
            process.interval_ns += used
            process.own_ns = own_ns
        waited = max(0, waited_ns - process.waited_ns)
        if waited:
            scan.waited_ns[process.pid] = waited
            process.waited_ns = waited_ns

    def _size(self, process: Process) -> None:
        if process.is_zombie:
            process.rss_bytes = process.anon_bytes = 0
            return
        statm = self._proc.proc_statm(process.pid)
        process.rss_bytes = self._proc.pages_bytes(statm.resident)
        process.anon_bytes = self._proc.pages_bytes(max(0, statm.resident - statm.shared))
        if process.peak_rss_bytes is None or process.rss_bytes > process.peak_rss_bytes:
            process.peak_rss_bytes = process.rss_bytes


def as_vanished(process: Process) -> Vanished[Group]:
    """Return what the ledger needs of a process that is no more."""
    return Vanished(process.pid, process.ppid, process.group, process.own_ns + process.waited_ns)
