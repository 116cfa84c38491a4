"""One run while it is measured: when snapshots are taken, their log lines, the payload."""

import os
from collections import Counter
from collections.abc import Iterable
from time import monotonic_ns, process_time_ns, time_ns
from typing import Any

from runmeter.collector.cgroups.discovery import CGROUP_ROOT, hierarchies
from runmeter.collector.cgroups.usage import CgroupUsage
from runmeter.collector.config.settings import Config
from runmeter.collector.display.sample import sample_fields, sample_text
from runmeter.collector.errors import MeasureError
from runmeter.collector.log import Log
from runmeter.collector.model import Group, Limit, Sample
from runmeter.collector.open_files import keep_below
from runmeter.collector.processes.clock import (
    PROCESS_CLOCK,
    clock_id,
    clock_source,
    read_process_clock,
)
from runmeter.collector.processes.containers import Containers, is_real
from runmeter.collector.processes.hidepid import hides_processes
from runmeter.collector.run.command import Command, children_ns
from runmeter.collector.run.record import new_push_id, times
from runmeter.collector.sampling.sampler import Sampler
from runmeter.collector.summary.summary import Summary
from runmeter.procfs import Mount, ProcFS, ProcfsError

_NS = 1_000_000_000


class Measurement:
    """One run while it is measured.

    Raises:
        MeasureError: the proc mount cannot be read.
    """

    def __init__(self, config: Config, log: Log) -> None:
        self._config = config
        self._log = log
        self.push_id = new_push_id()
        self._proc = _proc(config.proc_path)
        self._containers = Containers(config.process_map, self._mounts)
        self._cpu_count = _cpu_count(self._proc)
        self._summary = Summary(
            config.interval_ns,
            config.top,
            self._lists,
            merges=bool(config.process_map),
            cpu_count=self._cpu_count or 0,
        )
        own_pid = _own_pid(config.proc_path)
        self._own_pid = own_pid
        self._own_clock_id = clock_id(os.getpid())  # also in a forked child
        self.clock_source = clock_source(config.proc_path)
        has_clock = self.clock_source == PROCESS_CLOCK
        self._hides_processes = has_clock and hides_processes(self._proc, own_pid)
        self._cgroups = _cgroup_usage(self._proc, self._cpu_count) if has_clock else None
        self.sampler = Sampler(
            self._proc,
            self._containers,
            self._summary,
            own_pid=own_pid,
            # around a command all orphans below the collector belong to the command
            reaper_pid=0 if config.command and own_pid == 1 else 1,
            clock=read_process_clock if has_clock else None,
            cgroups=self._cgroups,
            show=self._show if log.is_debug else None,
        )
        self._before: Sample | None = None
        self._failed_count = 0
        start_ns = monotonic_ns()
        self._start_unix_ms = time_ns() // 1_000_000
        self._schedule = Schedule(start_ns, config.interval_ns)
        try:
            self.sampler.start(start_ns)
        except ProcfsError as error:
            raise MeasureError(f"{config.proc_path!r} cannot be measured: {error}") from error
        if not self.sampler.table.processes:
            raise MeasureError(f"{config.proc_path!r} cannot be measured: it shows no process")

    @property
    def next_ns(self) -> int:
        """Return when the next snapshot is due, on the monotonic clock."""
        return self._schedule.next_ns

    def follow_command(self, adopts: bool) -> None:
        """Measure the processes started from now on, and their descendants, as one container.

        ``adopts``: this process becomes the parent of their orphans.
        """
        known_ns = None if self.is_elsewhere else children_ns()
        self.sampler.follow_command(self._own_pid, adopts, known_ns)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the proc mount is of another pid namespace, in which pids are different."""
        return self._own_pid != os.getpid()

    def seen_pid(self) -> int:
        """Return the calling process's pid in the proc mount; 0 if it is not there."""
        return _own_pid(self._config.proc_path)

    def tick(self) -> None:
        """Take the snapshot that is due."""
        now_ns = monotonic_ns()
        try:
            self.sampler.tick(now_ns)
        except ProcfsError as error:
            self._failed_count += 1
            self._log.write("warning", "sample.failed", reason=str(error))
        self._schedule.ticked(monotonic_ns())

    def finish(self, command: Command | None = None) -> None:
        """Take the last reading, and collect the command, which has ended."""

        try:
            if command is None:
                self.sampler.finish(monotonic_ns())
            else:
                self.sampler.finish(monotonic_ns(), command.pid, command.collect)
        except ProcfsError as error:
            self._failed_count += 1
            self._log.write("warning", "sample.failed", reason=str(error))

    def _show(self, sample: Sample) -> None:
        """Log one sample."""
        before, self._before = self._before, sample
        config = self._config
        names = self._containers.names(self._summary.groups)
        processes = self.sampler.table.processes.values()
        most_cores = self._summary.most_cores
        fields = sample_fields(
            sample, before, names, config.limits, processes, config.top, most_cores
        )
        if self._log.format == "text":
            fields = {"sample": sample_text(fields)}
        self._log.write("debug", "sample.taken", **fields)

    def _lists(self, group: Group) -> bool:
        return not self._config.command or self._config.all_containers or is_real(group)

    def _limit(self, group: Group) -> Limit | None:
        return self._config.limits.get(self._containers.base_name(group))

    def _mounts(self, folder: int | str) -> Iterable[Mount] | None:
        try:
            return self._proc.proc_mountinfo(folder)
        except ProcfsError:
            return None

    def payload(self) -> dict[str, Any]:
        """Return the payload of the run that is finished or concluded."""
        names = self._containers.names(self._summary.groups)
        measured = self._summary.payload(names, self._limit)
        return {
            **times(self._start_unix_ms, measured["duration_seconds"]),
            **measured,
            "host": self._host(),
            "coverage": self._coverage(),
        }

    def limitation(self) -> str:
        """Return one sentence on what could not be measured; empty if nothing."""
        found = []
        if self.clock_source != PROCESS_CLOCK:
            found.append(
                f"{self._config.proc_path} is of another pid namespace: CPU time is read in clock "
                "ticks, and the kernel's counters of containers are not used"
            )
        elif self._cgroups is not None and self._cgroups.denied_count:
            found.append(
                f"the kernel's counters of {self._cgroups.denied_count} containers cannot be read "
                "(they run as another user or hide their cgroup): their CPU time is accounted "
                "from processes, their cgroup's memory is unknown"
            )
        if self._cgroups is not None and self._cgroups.crowded_count:
            found.append(
                f"the limit of open files is too low (ulimit -n) to read the kernel's counters of "
                f"{self._cgroups.crowded_count} containers: their CPU time is accounted from "
                "processes, their cgroup's memory is unknown"
            )
        if self.sampler.table.births.count:
            found.append(
                f"{self.sampler.table.births.count} processes (or threads) started and ended "
                "between snapshots, and no visible process has started them: without the kernel's "
                "counters their CPU time is unknown"
            )
        if self._hides_processes:
            found.append(
                f"{self._config.proc_path} hides processes of other users (hidepid): they are not "
                "measured"
            )
        unreadable = self._unreadable()
        if unreadable:
            shown = ", ".join(f"{count} x {what}" for what, count in unreadable.items())
            found.append(f"left out, because missing or not what the kernel writes: {shown}")
        if self.sampler.table.denied_count:
            found.append(f"{self.sampler.table.denied_count} reads of processes were refused")
        if self._schedule.missed_count + self._failed_count:
            found.append(
                f"{self._schedule.missed_count + self._failed_count} snapshots could not be taken "
                "in time"
            )
        return "; ".join(found)

    def _unreadable(self) -> Counter[str]:
        """Return what was missing or not what the kernel writes: count by file."""
        found = Counter(self.sampler.table.unreadable)
        if self._cgroups is not None:
            found.update(self._cgroups.unreadable)
            if not self._cgroups.has_hierarchies:
                found[f"{CGROUP_ROOT}: cgroups, and so the kernel's counters of containers"] += 1
        if self._cpu_count is None:
            found["/proc/stat: cpu0 and others"] += 1
        if self._summary.lacks_machine_cpu and "/proc/stat: cpu" not in found:
            found["/proc/stat: CPU time that grows"] += 1
        return found

    def _host(self) -> dict[str, Any]:
        host: dict[str, Any] = {"kernel": os.uname().release, "clock_source": self.clock_source}
        if self._cpu_count is not None:
            host["cpu_count"] = self._cpu_count
        if self._summary.mem_total_bytes is not None:
            host["memory_total_bytes"] = self._summary.mem_total_bytes
        version = _cgroup_version(self._proc, self._own_pid)
        if version is not None:
            host["cgroup_version"] = version
        return host

    def _coverage(self) -> dict[str, Any]:
        table = self.sampler.table
        denied_count = 0
        if self._cgroups is not None:
            denied_count = self._cgroups.denied_count + self._cgroups.crowded_count
        coverage: dict[str, Any] = {
            "interval_seconds": self._config.interval_ns / _NS,
            "missed_samples": self._schedule.missed_count + self._failed_count,
            "vanished": table.vanished_count,
            "denied": table.denied_count + denied_count,
            "unreadable": self._unreadable().total(),
            "self_cpu_seconds": round(self._own_cpu_ns() / _NS, 6),
        }
        try:
            peak_kb = self._proc.proc_status(self._own_pid).vm_hwm_kb
        except ProcfsError:
            peak_kb = None
        if peak_kb is not None:
            coverage["self_peak_rss_bytes"] = peak_kb * 1024
        if table.births.count is not None:
            coverage["unattributed_births"] = table.births.count
        return coverage

    def _own_cpu_ns(self) -> int:
        """Return the CPU time of the measuring process and its children."""
        try:
            own_ns = read_process_clock(self._own_clock_id)
        except OSError:  # it has ended, and this is a forked child
            own_ns = process_time_ns()
        return own_ns + self.sampler.own_children_ns


def _proc(mount: str) -> ProcFS:
    return ProcFS(mount, os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK"))


def _cpu_count(proc: ProcFS) -> int | None:
    try:
        return proc.stat().cpu_count
    except ProcfsError:
        return None


def _cgroup_usage(proc: ProcFS, cpu_count: int | None) -> CgroupUsage:
    own = hierarchies(CGROUP_ROOT)
    tick_ns = proc.ticks_nanoseconds(1)
    return CgroupUsage(proc, own, tick_ns, cpu_count or os.cpu_count(), keep_below())


def _own_pid(mount: str) -> int:
    """Return this process's pid in the proc mount; 0 if it is not there."""
    try:
        return int(os.readlink(f"{mount}/self"))
    except (OSError, ValueError):
        return 0


def _cgroup_version(proc: ProcFS, pid: int) -> int | None:
    try:
        groups = proc.proc_cgroup(pid)
    except ProcfsError:
        return None
    if not groups:
        return None
    has_v1 = any({"memory", "cpu", "cpuacct"} & set(group.controllers) for group in groups)
    return 1 if has_v1 else 2


class Schedule:
    """Ticks on an absolute grid: no drift; missed ticks are counted."""

    def __init__(self, start_ns: int, interval_ns: int) -> None:
        self._start_ns = start_ns
        self._interval_ns = interval_ns
        self._passed = 0
        self.missed_count = 0

    @property
    def next_ns(self) -> int:
        """Return when the next tick is due, on the clock of ``start_ns``."""
        return self._start_ns + (self._passed + 1) * self._interval_ns

    def ticked(self, now_ns: int) -> None:
        """Record that the due tick was taken; ``now_ns``: when that was done."""
        due = max(self._passed + 1, (now_ns - self._start_ns) // self._interval_ns)
        self.missed_count += due - self._passed - 1
        self._passed = due
