"""Statistics of one run, and the payload made of them.

Memory statistics use all snapshots, CPU statistics the intervals between them. The newest
interval stays open until the next snapshot: a short interval at the end is merged into it.
"""

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any

from runmeter.collector.model import CgroupFigures, Group, Limit, Sample, SystemReading
from runmeter.collector.processes.process import Process
from runmeter.collector.summary.group import GroupRecord
from runmeter.collector.summary.payload import container_entry, present, rates, sizes
from runmeter.collector.summary.series import SeriesSet
from runmeter.collector.summary.top import TopList, by_cpu, by_memory

_NS = 1_000_000_000


class _Interval:
    """The open interval: CPU time by group, the machine's ticks before and after it."""

    __slots__ = ("cpu_ns", "end_ns", "start_ns", "system_after", "system_before")

    def __init__(
        self, start_ns: int, end_ns: int, before: SystemReading, after: "SystemReading"
    ) -> None:
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.system_before = before
        self.system_after = after
        self.cpu_ns: dict[Group, int] = {}


class Summary:
    """Accumulates the samples of one run.

    ``interval_ns``: configured time between snapshots. ``top``: entries of each top list.
    ``lists(group)``: whether the group is reported as a container. ``merges``: whether several
    cgroups may be one container (there is a process map). ``cpu_count``: of the machine; 0:
    unknown.
    """

    def __init__(
        self,
        interval_ns: int,
        top: int,
        lists: Callable[[Group], bool],
        merges: bool = False,
        cpu_count: int = 0,
    ) -> None:
        self._interval_ns = interval_ns
        self.most_cores = float(cpu_count or inf)
        self._lists = lists
        self._renamed: dict[Group, Group] = {}
        self._series = SeriesSet(keeps_ticks=merges)
        self._groups: dict[Group, GroupRecord] = {}
        self._system_percent = self._series.new()
        self._mem_used = self._series.new()
        self._mem_percent = self._series.new()
        self._open: _Interval | None = None
        self._last: Sample | None = None
        self._top_cpu: TopList = TopList(top, by_cpu)
        self._top_memory: TopList = TopList(top, by_memory)
        self.start_ns = 0
        self.end_ns = 0
        self.snapshot_count = 0
        self.mem_total_bytes: int | None = None

    # -- during the run ------------------------------------------------------------------

    def start(self, sample: Sample) -> None:
        """Take the first snapshot."""
        self.start_ns = sample.monotonic_ns
        self._take_sizes(sample)
        self._last = sample

    def snapshot(self, sample: Sample) -> None:
        """Take a snapshot; the interval before it becomes the open one."""
        assert self._last is not None
        last = self._last
        self._open = _Interval(last.monotonic_ns, sample.monotonic_ns, last.system, sample.system)
        self._take_cpu(sample)
        self._take_sizes(sample)
        self._last = sample

    def merges_tail(self, now_ns: int) -> bool:
        """Return whether an end of the run at this time belongs to the open interval."""
        return self._open is not None and (now_ns - self._open.end_ns) * 2 < self._interval_ns

    def merge_tail(self, sample: Sample) -> None:
        """Extend the open interval to the end of the run; no snapshot."""
        assert self._open is not None
        self._open.end_ns = self.end_ns = sample.monotonic_ns
        self._open.system_after = sample.system
        self._take_cpu(sample)

    def credit(self, group: Group, cpu_ns: int) -> None:
        """Add CPU time to a group in the open interval."""
        assert self._open is not None
        self._open.cpu_ns[group] = self._open.cpu_ns.get(group, 0) + cpu_ns
        self._record(group).cpu_ns += cpu_ns

    def close_interval(self, processes: Iterable[Process]) -> bool:
        """Add the open interval to the CPU series as one value; return whether there was one.

        ``processes``: all that used CPU in it or are new.
        """
        interval, self._open = self._open, None
        if interval is None:
            return False
        duration_ns = max(1, interval.end_ns - interval.start_ns)
        for group, cpu_ns in interval.cpu_ns.items():
            # CPU time that is found late, in ticks or of a process waited for, is no higher rate
            cores = min(cpu_ns / duration_ns, self.most_cores)
            self._series.add(self._record(group).cores, cores, self.snapshot_count)
        percent = interval.system_after.cpu_percent_since(interval.system_before)
        if percent is not None:
            self._series.add(self._system_percent, percent)
        for process in processes:
            if process.interval_ns or process.peak_cores is None:
                cores = min(process.interval_ns / duration_ns, self.most_cores)
                process.peak_cores = max(cores, process.peak_cores or 0.0)
                process.interval_ns = 0
        return True

    def retire(self, processes: Iterable[Process]) -> None:
        """Offer ended processes to the top lists."""
        for process in processes:
            if self._lists(process.group):
                self._top_cpu.offer(process)
                self._top_memory.offer(process)

    def rename(self, old: Group, new: Group) -> None:
        """Rename a group, as the process map has identified its cgroup."""
        if old in self._groups:
            self._move(old, new)
        if self._open is not None and old in self._open.cpu_ns:
            moved = self._open.cpu_ns.pop(old)
            self._open.cpu_ns[new] = self._open.cpu_ns.get(new, 0) + moved

    def _move(self, old: Group, new: Group) -> None:
        if new not in self._groups:
            self._groups = {
                (new if group == old else group): record for group, record in self._groups.items()
            }
        elif self._groups[new].merge(self._groups[old]):
            del self._groups[old]
        else:
            return
        self._renamed[old] = new

    def _record(self, group: Group) -> GroupRecord:
        record = self._groups.get(group)
        if record is None:
            record = self._groups[group] = GroupRecord(self._series)
        return record

    def _take_cpu(self, sample: Sample) -> None:
        assert self._open is not None
        cpu_ns = self._open.cpu_ns
        for group, found in sample.groups.items():
            if found.cpu_ns or found.rss_bytes is not None:
                cpu_ns[group] = cpu_ns.get(group, 0) + found.cpu_ns
                self._record(group).cpu_ns += found.cpu_ns
            if found.figures is not None:
                self._record(group).count(found.figures)

    def _take_sizes(self, sample: Sample) -> None:
        self.snapshot_count += 1
        self.end_ns = sample.monotonic_ns
        for group, found in sample.groups.items():
            record = self._record(group)
            if found.rss_bytes is not None and found.anon_bytes is not None:
                record.snapshot_count += 1
                self._series.add(record.rss, found.rss_bytes, self.snapshot_count)
                self._series.add(record.anon, found.anon_bytes, self.snapshot_count)
                if found.figures is not None:
                    self._take_figures(record, found.figures)
        self._take_system(sample.system)

    def _take_figures(self, record: GroupRecord, figures: CgroupFigures) -> None:
        if figures.peak_bytes is not None:
            record.peak_bytes = max(record.peak_bytes or 0, figures.peak_bytes)
        if figures.memory_bytes is not None:
            self._series.add(record.cgroup, figures.memory_bytes, self.snapshot_count)
        if figures.working_set_bytes is not None:
            self._series.add(record.working_set, figures.working_set_bytes, self.snapshot_count)

    def _take_system(self, system: SystemReading) -> None:
        if system.mem_total_bytes:
            self.mem_total_bytes = system.mem_total_bytes
            if system.mem_used_bytes is not None:
                self._series.add(self._mem_used, system.mem_used_bytes)
                share = system.mem_used_bytes / system.mem_total_bytes
                self._series.add(self._mem_percent, min(100.0, 100.0 * share))

    # -- at its end -----------------------------------------------------------------------

    @property
    def lacks_machine_cpu(self) -> bool:
        """Return whether the machine's CPU counters have not moved, in a run of some ticks."""
        return self.end_ns - self.start_ns >= _NS // 10 and not self._system_percent.count

    @property
    def groups(self) -> list[Group]:
        """Return the groups to report as containers, in the order they were first seen."""
        return [group for group in self._groups if self._lists(group)]

    def payload(
        self, names: Mapping[Group, str], limits: Callable[[Group], Limit | None]
    ) -> dict[str, Any]:
        """Return the measured part of the payload, in the JSON form of the REST interface.

        ``names``: the name of every group of ``groups``. Values that were not measured are absent.
        """
        known = {old: names[new] for old, new in self._renamed.items() if new in names}
        known.update(names)
        containers = [
            container_entry(name, self._groups[group], limits(group))
            for group, name in names.items()
            if group in self._groups
        ]
        containers.sort(key=lambda found: (-found["cpu_seconds"], found["name"]))
        return present(
            duration_seconds=round((self.end_ns - self.start_ns) / _NS, 3),
            sample_count=self.snapshot_count,
            cpu_total_percent=rates(self._system_percent),
            mem_used_bytes=sizes(self._mem_used),
            mem_used_percent=rates(self._mem_percent),
            containers=containers,
            top_cpu_processes=self._top_cpu.entries(known),
            top_mem_processes=self._top_memory.entries(known),
            percentile_method="nearest_rank" if self._series.exact else "log_buckets",
        )
