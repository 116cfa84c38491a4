"""Take a snapshot: read the machine, settle the ledger, pass a sample to the summary.

Nothing here waits, reads the time or handles signals: the caller passes the current time to
``start``, ``tick`` and ``finish``.
"""

from collections.abc import Callable, Iterable

from runmeter.collector.cgroups.usage import CgroupUsage
from runmeter.collector.model import (
    COMMAND_GROUP,
    ROOT_KEY,
    CgroupFigures,
    Group,
    GroupSample,
    Key,
    Sample,
)
from runmeter.collector.processes.clock import Clock
from runmeter.collector.processes.containers import Containers, is_real
from runmeter.collector.processes.newest_pid import RunTask, run_task
from runmeter.collector.processes.process import Process
from runmeter.collector.processes.table import ProcessTable, Scan
from runmeter.collector.sampling.ledger import Ledger, Vanished
from runmeter.collector.sampling.machine import Machine
from runmeter.collector.summary.summary import Summary
from runmeter.procfs import ProcFS, ProcfsError

_SIGCHLD_BIT = 16

_Sizes = tuple[dict[Group, tuple[int, int]], bool]


class Sampler:
    """Takes snapshots of one machine for one run."""

    def __init__(
        self,
        proc: ProcFS,
        containers: Containers,
        summary: Summary,
        *,
        own_pid: int,
        reaper_pid: int = 1,
        clock: Clock | None = None,
        cgroups: CgroupUsage | None = None,
        show: Callable[[Sample], None] | None = None,
        run_task: RunTask = run_task,
    ) -> None:
        self._proc = proc
        self._containers = containers
        self._summary = summary
        self._own_pid = own_pid
        self._reaper_pid = reaper_pid
        self.table = ProcessTable(proc, containers, clock, run_task)
        self._machine = Machine(proc.mount, self.table.unreadable)
        self._cgroups = cgroups
        self._show = show
        self._command_keys: set[Key] = set()
        self._adopts = False  # orphans of the command become children of the collector
        self._job_groups: set[Group] = set()  # that have held more than pid 1 and the collector
        self._exact: set[Group] = set()  # with CPU time from counters, at the last snapshot
        self._last_ns = 0
        self._sizes_by_group: _Sizes | None = None
        self.own_children_ns = 0  # CPU time of the collector's own children that have ended
        self._own_ended_ns = 0  # of it, since the scan before
        self._unseen_ns: int | None = None  # of its children's time, at the start: below a tick
        self._own_waited_ns = 0  # of it, not yet subtracted from what the collector waited for
        self._ledger: Ledger[Group] = Ledger(
            proc.ticks_nanoseconds(1), reaper_pid, self._ignores_children
        )

    def start(self, now_ns: int) -> Sample:
        """Take the first snapshot; what was used before it does not count."""
        self.table.scan()
        self._regroup({}, ())
        figures = self._figures({}, now_ns, ())
        sample = Sample(now_ns, self._machine.read(), self._sizes({}, figures))
        self._summary.start(sample)
        return self._shown(sample)

    def tick(self, now_ns: int) -> Sample:
        """Take a snapshot."""
        self._close_interval()
        sample, vanished = self._step(now_ns)
        self._summary.snapshot(sample)
        self._summary.retire(vanished)
        return self._shown(sample)

    def finish(
        self, now_ns: int, command_pid: int = 0, collect: Callable[[], int | None] | None = None
    ) -> Sample:
        """Take the last reading: a snapshot, or part of the interval before if it is short.

        ``collect``: waits for ``command_pid``, which has ended; returns the CPU time of all
        children waited for so far, as ``follow_command`` got it.
        """
        if not self._summary.merges_tail(now_ns):
            sample = self.tick(now_ns)
            self._credit_rest(command_pid, collect)
            self._close_last_interval()
        else:
            sample, vanished = self._step(now_ns)
            self._summary.merge_tail(sample)
            self._credit_rest(command_pid, collect)
            self._close_last_interval()
            self._summary.retire(vanished)
        self._summary.retire(self.table.processes.values())
        return sample

    def _credit_rest(self, command_pid: int, collect: Callable[[], int | None] | None) -> None:
        """Add to the command what clock ticks have not shown: up to two for each parent.

        When the command has been waited for, the kernel has added all that it and its descendants
        used to the time of our children, which is known to the microsecond.
        """
        children_ns = collect() if collect is not None else None
        collector = self.table.processes.get(self._own_pid)
        if children_ns is None or self._unseen_ns is None or collector is None:
            return
        seen_ns = collector.waited_ns + self._unseen_ns + self._own_waited_ns
        command = self.table.processes.get(command_pid)
        if command is not None:
            seen_ns += command.own_ns + command.waited_ns
        rest_ns = children_ns - seen_ns - self._ledger.take_debt(COMMAND_GROUP)
        if rest_ns > 0:
            self._summary.credit(COMMAND_GROUP, rest_ns)

    def _close_interval(self) -> None:
        if self._summary.close_interval(self.table.active):
            self.table.active.clear()

    def conclude(self) -> None:
        """Sum up as if the run had ended with the last snapshot; call nothing else afterwards."""
        self._close_last_interval()
        self._summary.retire(self.table.processes.values())

    def _close_last_interval(self) -> None:
        """Close it with the time of orphans that is still unassigned: it is that of pid 1."""
        unassigned_ns = self._ledger.take_unassigned()
        reaper = self.table.processes.get(self._reaper_pid)
        if unassigned_ns and reaper is not None:
            # what the kernel's counters show contains it
            groups = self._job_groups or {reaper.group}
            if reaper.group not in self._exact and not groups <= self._exact:
                self._summary.credit(reaper.group, unassigned_ns)
        self._close_interval()

    def follow_command(self, parent_pid: int, adopts: bool, children_ns: int | None = None) -> None:
        """Measure new children of a process, and their descendants, as the command.

        ``adopts``: it also becomes the parent of their orphans. ``children_ns``: CPU time of its
        children so far, more exact than clock ticks, if known.
        """
        collector = self.table.processes.get(parent_pid)
        if children_ns is not None and collector is not None:
            self._unseen_ns = children_ns - collector.waited_ns
        self.table.command_parent_pid = parent_pid
        self._adopts = adopts

    def add_own_child(self, pid: int) -> None:
        """Register a pid as one of the collector's own child processes: it is not the command."""
        self.table.add_own(pid)

    def end_own_child(self, pid: int, cpu_ns: int) -> None:
        """Record that an own child has ended, and its CPU time."""
        self.table.own_pids.discard(pid)
        self.own_children_ns += cpu_ns
        self._own_ended_ns += cpu_ns
        self._own_waited_ns += cpu_ns

    def _shown(self, sample: Sample) -> Sample:
        """Show a snapshot before the interval is closed in the processes."""
        if self._show is not None:
            self._show(sample)
        return sample

    def _step(self, now_ns: int) -> tuple[Sample, list[Process]]:
        system = self._machine.read()
        if self._cgroups is not None:
            self._cgroups.read()
        scan = self.table.scan()
        own_ns = self._regroup(scan.own_ns, scan.vanished)
        used_ns = self._settle(scan, own_ns)
        figures = self._figures(own_ns, now_ns, scan.vanished)
        for group, found in figures.items():
            if found.cpu_ns is not None:
                used_ns[group] = found.cpu_ns
        self._exact = {group for group, found in figures.items() if found.cpu_ns is not None}
        return Sample(now_ns, system, self._sizes(used_ns, figures)), scan.vanished

    def _figures(
        self, own_ns: dict[Group, int], now_ns: int, vanished: Iterable[Process]
    ) -> dict[Group, CgroupFigures]:
        elapsed_ns, self._last_ns = now_ns - self._last_ns, now_ns
        if self._cgroups is None:
            return {}
        processes = self.table.processes.values()
        self._cgroups.discover(processes, self.table.newly_placed)
        parent = self.table.processes.get(self.table.command_parent_pid or 0)
        if parent is not None:
            self._command_keys.add(parent.key)
            # counters keep what the command used after it has ended, and of what was never seen
            self._command_keys.update(p.key for p in (*processes, *vanished) if p.group.is_command)
        without = frozenset(self._command_keys)
        return self._cgroups.figures(self._containers.group, own_ns, elapsed_ns, without)

    def _settle(self, scan: Scan, own_ns: dict[Group, int]) -> dict[Group, int]:
        ended = self._set_own_apart(scan, own_ns)
        moved = bool(scan.waited_ns or scan.vanished)
        groups = self.table.processes.items() if moved else ()
        living = {pid: process.group for pid, process in groups}
        if self.table.command_parent_pid in living:
            # what the collector waited for are orphans of the command
            living[self.table.command_parent_pid] = COMMAND_GROUP
        without, sole = self._shares_of_orphans()
        return self._ledger.settle(
            own_ns,
            scan.waited_ns,
            [as_vanished(process) for process in scan.vanished if process not in ended],
            living,
            without,
            frozenset(pid for pid in living if self.table.processes[pid].is_zombie),
            sole,
            self.table.without_children,
        )

    def _set_own_apart(self, scan: Scan, own_ns: dict[Group, int]) -> set[Process]:
        """Add what the collector's own children used to its container, not to that of orphans.

        Returns those that have ended. What the kernel counts in ticks may appear a scan later.
        """
        ended = self.table.own.intersection(scan.vanished)
        collector = self.table.processes.get(self._own_pid)
        if collector is not None and (ended or self._own_ended_ns or self._own_waited_ns):
            counted_ns = sum(process.own_ns + process.waited_ns for process in ended)
            rest_ns = max(0, self._own_ended_ns - counted_ns)
            own_ns[collector.group] = own_ns.get(collector.group, 0) + rest_ns
            waited_ns = scan.waited_ns.get(self._own_pid, 0)
            taken_ns = min(waited_ns, self._own_waited_ns)
            scan.waited_ns[self._own_pid] = waited_ns - taken_ns
            self._own_waited_ns -= taken_ns
        self._own_ended_ns = 0
        self.table.own -= ended
        return ended

    @property
    def _special_pids(self) -> set[int]:
        return {self._reaper_pid, self._own_pid, *self.table.own_pids}

    def _note_groups(self) -> None:
        """Remember the groups that hold, or have held, more than pid 1 and the collector."""
        special = self._special_pids
        for process in self.table.newly_placed:
            adopted = self._adopts and process.group.is_command
            has_left = process.is_zombie and process.key == ROOT_KEY
            if process.pid not in special and not adopted and not has_left:
                self._job_groups.add(process.group)

    def _shares_of_orphans(self) -> tuple[frozenset[Group], Group | None]:
        """Return the groups that get nothing of what pid 1 waited for, and one that gets it all.

        Nothing: those of pid 1 and the collector while they have held no other process, and the
        command if its orphans become children of the collector. All: the only group there is, or
        that of pid 1 if this is part of the job: it is no holder, and its container has held
        other processes, or there is no other group.
        """
        processes = self.table.processes
        own = {processes[pid].group for pid in self._special_pids if pid in processes}
        if self._adopts:
            own.add(COMMAND_GROUP)
        jobs, reaper = self._job_groups, processes.get(self._reaper_pid)
        sole = next(iter(jobs)) if len(jobs) == 1 else None
        if reaper is None or self._reaper_pid == self._own_pid or reaper.is_holder:
            return frozenset(own - jobs), sole
        if jobs <= {reaper.group} or (reaper.group in jobs and is_real(reaper.group)):
            sole = reaper.group
        return frozenset(own - jobs), sole

    def _regroup(self, own_ns: dict[Group, int], vanished: Iterable[Process]) -> dict[Group, int]:
        """Rename groups that the process map has identified; return the renamed times."""
        renamed = self._containers.take_identified()
        for old, new in renamed.items():
            self._summary.rename(old, new)
            if old in own_ns:
                own_ns[new] = own_ns.get(new, 0) + own_ns.pop(old)
        if renamed:
            for process in (*self.table.processes.values(), *vanished):
                process.group = renamed.get(process.group, process.group)
            self._job_groups = {renamed.get(group, group) for group in self._job_groups}
        self._note_groups()
        return own_ns

    def _sizes(
        self, used_ns: dict[Group, int], figures: dict[Group, CgroupFigures]
    ) -> dict[Group, GroupSample]:
        if self._sizes_by_group is None or self.table.has_changed:
            self._sizes_by_group = self._living_sizes()
        sizes, has_command = self._sizes_by_group
        groups = dict.fromkeys((*sizes, *used_ns))
        if has_command:
            groups[COMMAND_GROUP] = None  # listed even if it was short
        found: dict[Group, GroupSample] = {}
        for group in groups:
            rss_bytes, anon_bytes = sizes.get(group, (None, None))
            cpu_ns = used_ns.get(group, 0)
            found[group] = GroupSample(cpu_ns, rss_bytes, anon_bytes, figures.get(group))
        return found

    def _living_sizes(self) -> _Sizes:
        """Return RSS and its anonymous part by group, and whether the command has a process."""
        has_command = False
        # by identity first: hashing a group costs more than reading a process
        sums: dict[int, tuple[Group, list[int]]] = {}
        for process in self.table.processes.values():
            group = process.group
            entry = sums.get(id(group))
            if entry is None:
                entry = sums[id(group)] = (group, [0, 0, 0])
                has_command = has_command or group.is_command
            if not process.is_zombie and process.peak_rss_bytes is not None:  # None: not read
                found = entry[1]
                found[0] += process.rss_bytes
                found[1] += process.anon_bytes
                found[2] += 1
        sizes: dict[Group, tuple[int, int]] = {}
        for group, (rss_bytes, anon_bytes, count) in sums.values():
            if count:
                before = sizes.get(group, (0, 0))
                sizes[group] = (before[0] + rss_bytes, before[1] + anon_bytes)
        return sizes, has_command

    def _ignores_children(self, pid: int) -> bool:
        try:
            return bool((self._proc.proc_status(pid).sig_ign or 0) >> _SIGCHLD_BIT & 1)
        except ProcfsError:
            return False


def as_vanished(process: Process) -> Vanished[Group]:
    """Return what the ledger needs of a process that has ended."""
    return Vanished(process.pid, process.ppid, process.group, process.own_ns + process.waited_ns)
