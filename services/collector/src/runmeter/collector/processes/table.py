"""The table of processes: what each scan reads of them, and what they used since the last one.

A process whose CPU clock has not changed has not run: only its memory is read now and then,
because it can change from outside. Processes are scanned in the order of their start, parents
first: in a race, one scan then counts too little instead of counting twice.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from runmeter.collector.model import COMMAND_GROUP, Group
from runmeter.collector.processes.births import Births
from runmeter.collector.processes.clock import NO_CLOCK, Clock, clock_id, read_clocks
from runmeter.collector.processes.containers import Containers
from runmeter.collector.processes.newest_pid import NewestPid, RunTask, run_task
from runmeter.collector.processes.placement import CGROUP_SCANS, Placement
from runmeter.collector.processes.process import Process, main_has_ended, may_run_on
from runmeter.procfs import ParseError, ProcFS, ProcfsError, ProcStat, VanishedError

_IDLE_SCANS = 16  # the memory of an idle process is read every so many scans
_LISTING_SCANS = 16  # a process may have its pid a moment before it is listed

_Entered = tuple[Process, ProcStat, int | None]


class Scan(NamedTuple):
    """The result of one scan of all processes.

    ``own_ns``: growth of living processes' own time by group. ``waited_ns``: growth of
    children's time by pid. ``vanished``: processes of the scan before that have ended.
    """

    own_ns: dict[Group, int]
    waited_ns: dict[int, int]
    vanished: list[Process]


class ProcessTable:
    """All processes visible under one proc mount.

    ``clock``: reads the CPU clock of a process by clock id; None to use ``stat`` alone.
    ``command_parent_pid``: new children of this process, with all below them, are the command,
    except those in ``own_pids``. ``vanished_count``, ``denied_count``: processes that ended while
    they were read, and reads that the kernel refused. ``unreadable``: by file, what is missing or
    not what the kernel writes. ``run_task``: starts a thread of this process.
    """

    def __init__(
        self,
        proc: ProcFS,
        containers: Containers,
        clock: Clock | None = None,
        run_task: RunTask = run_task,
    ) -> None:
        self._proc = proc
        self._containers = containers
        self.unreadable: Counter[str] = Counter()
        self._places = Placement(proc, containers, self.unreadable)
        self._clock = clock
        # the file of a mount of another pid namespace shows our own
        self._newest = NewestPid(proc.mount, run_task) if clock is not None else None
        self.births = Births()
        self._own_pid = os.getpid()
        self._fault_count = 0  # page faults of processes since the scan before
        self.processes: dict[int, Process] = {}
        self.command_parent_pid: int | None = None
        self.own_pids: set[int] = set()  # living children of the collector that are not the command
        self.own: set[Process] = set()  # these processes, as far as they were seen; ended ones too
        self.without_children: set[int] = set()  # pids whose children's time cannot be read
        self.vanished_count = 0
        self.denied_count = 0
        self.active: list[Process] = []  # new, or used CPU, since this was last emptied
        self.has_changed = True  # in sizes, groups or processes, in the last scan
        self._scan_count = 0
        self._last_pid: int | None = None
        self._idle_slots: list[dict[int, Process]] = [{} for _ in range(_IDLE_SCANS)]
        self._line: Line | None = None  # all processes; None when they have changed

    @property
    def newly_placed(self) -> list[Process]:
        """Return the processes that were new, or in another cgroup, in the last scan."""
        return self._places.newly_placed

    def scan(self) -> Scan:
        """Read every process once.

        In the first scan processes only enter the table: their earlier use is not part of the
        run.
        """
        if self._newest is not None and not self._scan_count:
            self._newest.prove()
        last_pid = self._newest.read() if self._newest is not None else None
        scan = Scan({}, {}, [])
        self._scan_count += 1
        self._fault_count = 0
        self._places.newly_placed = []
        self.has_changed = False
        if self._clock is None:
            for process in self.processes.values():
                self._revisit(process, None, scan)
        else:
            self._revisit_moved(scan, self._clock)
        for process in scan.vanished:
            self._leave(process)
        is_due = last_pid is None or self._scan_count % _LISTING_SCANS == 0
        if is_due or scan.vanished or last_pid != self._last_pid:
            failed_count = self.denied_count + self.unreadable.total()
            self._enter_new(scan)
            # if a process could not be read, look for it again
            has_failed = self.denied_count + self.unreadable.total() > failed_count
            self._last_pid = None if has_failed else last_pid
        self.births.settle(last_pid, self.processes, self._fault_count)
        return scan

    def add_own(self, pid: int) -> None:
        """Add a child of the collector that is not the command."""
        self.own_pids.add(pid)
        if self._newest is not None:
            self._newest.must_move()

    def _revisit_moved(self, scan: Scan, clock: Clock) -> None:
        """Read all clocks, and more of the processes whose clock has moved."""
        line = self._line
        if line is None:
            line = self._line = Line(self.processes.values())
        clocks_ns = read_clocks(clock, line.clock_ids)
        ended: set[int] = set()
        moved = differences(clocks_ns, line.clocks_ns)
        for index in moved:
            process = line.order[index]
            if clocks_ns[index] == NO_CLOCK:
                scan.vanished.append(process)
                continue
            was_zombie = process.is_zombie
            self._revisit(process, clocks_ns[index], scan)
            clocks_ns[index] = process.own_ns  # if it could not be read: as before
            if process.is_zombie and not was_zombie:
                ended.add(process.pid)
        line.clocks_ns = clocks_ns
        self._look_at_some({line.order[index].pid for index in moved})
        ended.update(process.pid for process in scan.vanished)
        if ended:
            gone = {process.pid for process in scan.vanished}
            for process in line.order:
                if process.ppid in ended and process.pid not in gone:
                    self._guard(self._adopt, process)

    def _look_at_some(self, without: set[int]) -> None:
        """Read the idle processes that are due in this scan."""
        for pid, process in self._idle_slots[self._scan_count % _IDLE_SCANS].items():
            if pid not in without:
                self._guard(self._look_at_idle, process)

    def _adopt(self, process: Process) -> None:
        """Read the new parent of a process whose parent has ended: its clock does not show it."""
        stat = self._proc.proc_stat(process.pid)
        if stat.starttime == process.start_ticks:
            process.ppid = stat.ppid

    def _look_at_idle(self, process: Process) -> None:
        """Read what other processes may change in an idle process."""
        # every process in turn, not all of them in the same few scans
        turn = self._scan_count // _IDLE_SCANS + process.pid // _IDLE_SCANS
        if turn % (CGROUP_SCANS // _IDLE_SCANS) == 0 and not process.is_zombie:
            self._places.relocate(process)
            self._regroup(process)
        self._size(process)

    def _revisit(self, process: Process, own_ns: int | None, scan: Scan) -> None:
        """Read a process of the scan before again; if it has ended, record it."""
        try:
            stat = self._proc.proc_stat(process.pid)
        except VanishedError:
            self.vanished_count += 1
            scan.vanished.append(process)
            return
        except ProcfsError as error:  # it stays in the table: entered again it would start at zero
            self._count(error)
            return
        if stat.starttime != process.start_ticks:  # the pid has been given to another process
            scan.vanished.append(process)
            return
        self._find(process, stat)
        self._places.look_again(process, stat.comm)
        self._regroup(process)
        self._take(process, stat, own_ns, scan)

    def _find(self, process: Process, stat: ProcStat) -> None:
        """Record whether a process has ended, and what its memory and cgroup are read from.

        They are those of its main thread, or of another one if that has ended.
        """
        process.folder = process.pid
        is_zombie = main_has_ended(stat)
        if is_zombie and may_run_on(stat):
            thread = self._proc.living_thread(process.pid)
            if thread is not None:
                process.folder, is_zombie = thread, False
        self.has_changed = self.has_changed or is_zombie != process.is_zombie
        process.is_zombie = is_zombie

    def _regroup(self, process: Process) -> None:
        if not process.group.is_command:  # a process of the command's tree stays part of it
            self._place(process, self._containers.group(process.key))

    def _place(self, process: Process, group: Group) -> None:
        if process.group is not group:
            process.group = group
            self.has_changed = True

    def _leave(self, process: Process) -> None:
        del self.processes[process.pid]
        self.without_children.discard(process.pid)
        self._idle_slots[process.pid % _IDLE_SCANS].pop(process.pid, None)
        self._line = None
        self.has_changed = True

    def _enter_new(self, scan: Scan) -> None:
        """Enter the processes that were not in the table.

        All are read before any is accounted: whether a process belongs to the command depends on
        its parent, which may be new too and, once pids have wrapped, have a higher pid.
        """
        entered: list[_Entered] = []
        for pid in self._proc.pids():
            if pid not in self.processes:
                self._guard(self._enter, pid, entered)
        command = {process.pid for process, _, _ in entered if self._starts_command(process)}
        while more := {p.pid for p, _, _ in entered if p.ppid in command} - command:
            command |= more
        for process, stat, own_ns in entered:
            if process.pid in self.own_pids:
                self.own.add(process)
            process.group = self._containers.group(process.key)
            if process.pid in command:
                process.group = COMMAND_GROUP
            self._take(process, stat, own_ns, scan)

    def _starts_command(self, process: Process) -> bool:
        if process.pid in self.own_pids:
            return False
        parent = self.processes.get(process.ppid)
        below = parent is not None and parent.group.is_command
        return process.ppid == self.command_parent_pid or below

    def _guard(self, read: Callable[..., None], *arguments: Any) -> None:
        """Read; count a process that ends meanwhile, and a read that the kernel refuses."""
        try:
            read(*arguments)
        except ProcfsError as error:
            self._count(error)

    def _count(self, error: ProcfsError) -> None:
        if isinstance(error, VanishedError):
            self.vanished_count += 1
        elif isinstance(error, ParseError):
            self.unreadable[error.file] += 1
        else:
            self.denied_count += 1

    def _enter(self, pid: int, entered: list[_Entered]) -> None:
        own_ns = self._own_clock(pid)
        stat = self._proc.proc_stat(pid)
        process = Process(stat)
        self._find(process, stat)
        process.key = self._places.first_key(process, self.processes.get(stat.ppid))
        if self._scan_count == 1:
            stat_ns, waited_ns = self._times(stat)
            process.own_ns = (stat_ns if own_ns is None else own_ns) or 0
            process.waited_ns = waited_ns or 0
        self.processes[pid] = process
        self._idle_slots[pid % _IDLE_SCANS][pid] = process
        self._line = None
        self.has_changed = True
        self.active.append(process)
        entered.append((process, stat, own_ns))
        self._places.enter(process)

    def _own_clock(self, pid: int) -> int | None:
        if self._clock is None:
            return None
        try:
            return self._clock(clock_id(pid))
        except OSError as error:
            raise VanishedError(f"clock of {pid}") from error

    def _take(self, process: Process, stat: ProcStat, own_ns: int | None, scan: Scan) -> None:
        """Record what was read of a process: its parent, its times, its memory."""
        process.seen_scans += 1
        process.ppid = stat.ppid
        self._account(process, stat, own_ns, scan)
        self._count_faults(process, stat)
        self._guard(self._size, process)

    def _count_faults(self, process: Process, stat: ProcStat) -> None:
        """Count the page faults that processes or threads started by this one can have cost."""
        fault_count = stat.cminflt or 0
        if process.pid != self._own_pid:  # it starts no other processes, and no threads
            fault_count += stat.minflt or 0
        is_new = process.seen_scans == 1 and not process.is_zombie
        if is_new and stat.num_threads == 1:  # its own start cost most of them
            process.fault_count = stat.minflt or 0
        self._fault_count += max(0, fault_count - process.fault_count)
        process.fault_count = fault_count

    def _times(self, stat: ProcStat) -> tuple[int | None, int | None]:
        """Return own and children's time, each None if it cannot be read."""
        own_ns = waited_ns = None
        if stat.utime is not None and stat.stime is not None:
            own_ns = self._proc.ticks_nanoseconds(stat.utime + stat.stime)
        if stat.cutime is not None and stat.cstime is not None:
            waited_ns = self._proc.ticks_nanoseconds(stat.cutime + stat.cstime)
        return own_ns, waited_ns

    def _account(self, process: Process, stat: ProcStat, clock_ns: int | None, scan: Scan) -> None:
        stat_ns, waited_ns = self._times(stat)
        own_ns = stat_ns if clock_ns is None else clock_ns
        if own_ns is None:
            self.unreadable["/proc/<pid>/stat: utime, stime"] += 1
            own_ns = process.own_ns
        if waited_ns is None:
            self.unreadable["/proc/<pid>/stat: cutime, cstime"] += 1
            self.without_children.add(process.pid)
            waited_ns = process.waited_ns
        elif self.without_children:
            self.without_children.discard(process.pid)
        used = max(0, own_ns - process.own_ns)
        if used:
            scan.own_ns[process.group] = scan.own_ns.get(process.group, 0) + used
            process.cpu_ns += used
            if not process.interval_ns:
                self.active.append(process)
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
        statm = self._proc.proc_statm(process.folder)
        rss_bytes = self._proc.pages_bytes(statm.resident)
        anon_bytes = self._proc.pages_bytes(max(0, statm.resident - statm.shared))
        if (rss_bytes, anon_bytes) != (process.rss_bytes, process.anon_bytes):
            process.rss_bytes, process.anon_bytes = rss_bytes, anon_bytes
            self.has_changed = True
        if process.peak_rss_bytes is None or rss_bytes > process.peak_rss_bytes:
            process.peak_rss_bytes = rss_bytes


class Line:
    """Processes in a fixed order, their clock ids, and the nanoseconds accounted for each."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self.order = list(processes)
        self.clock_ids = [process.clock_id for process in self.order]
        self.clocks_ns = [process.own_ns for process in self.order]


def differences(first: list[int], second: list[int]) -> list[int]:
    """Return where two lists of one length differ."""
    if first == second:
        return []
    return [
        index for index, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1]
    ]
