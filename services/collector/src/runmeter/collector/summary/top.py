"""Top lists: the processes of a run with the highest peaks, in bounded memory."""

from collections.abc import Callable, Mapping
from typing import Any

from runmeter.collector.model import Group
from runmeter.collector.processes.process import Process

_SLACK = 64  # additional entries kept until the next sorting
_NS = 1_000_000_000
Rank = tuple[float, int, int]


def by_cpu(process: Process) -> Rank | None:
    """Rank by highest CPU use; None for a process that used no CPU time."""
    if not process.peak_cores:
        return None
    return (-process.peak_cores, -process.cpu_ns, process.pid)


def by_memory(process: Process) -> Rank | None:
    """Rank by highest RSS; None for a process without memory of its own."""
    if not process.peak_rss_bytes:
        return None
    return (-process.peak_rss_bytes, -process.cpu_ns, process.pid)


class TopList:
    """The first ``entry_count`` processes by rank; ties are ordered by CPU time, then by pid.

    Every process is offered once, when it has ended or at the end of the run.
    """

    __slots__ = ("_entry_count", "_kept", "_rank")

    def __init__(self, entry_count: int, rank: Callable[[Process], Rank | None]) -> None:
        self._entry_count = entry_count
        self._rank = rank
        self._kept: list[tuple[Rank, Process]] = []

    def offer(self, process: Process) -> None:
        """Add a process whose figures are final."""
        rank = self._rank(process)
        if rank is None or not self._entry_count:
            return
        self._kept.append((rank, process))
        if len(self._kept) > self._entry_count + _SLACK:
            self._cut()

    def _cut(self) -> None:
        self._kept.sort(key=lambda kept: kept[0])
        del self._kept[self._entry_count :]

    def entries(self, names: Mapping[Group, str]) -> list[dict[str, Any]]:
        """Return one entry per process, first rank first, in the JSON form of the payload.

        ``names``: the container name of every group that was offered.
        """
        self._cut()
        return [_entry(process, names) for _, process in self._kept]


def _entry(process: Process, names: Mapping[Group, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "pid": process.pid,
        "name": process.comm,
        "container": names[process.group],
    }
    if process.peak_cores is not None:
        entry["peak_cpu_percent"] = round(100 * process.peak_cores, 4)
    entry["cpu_seconds"] = round(process.cpu_ns / _NS, 6)
    if process.peak_rss_bytes is not None:
        entry["peak_mem_bytes"] = process.peak_rss_bytes
    return entry
