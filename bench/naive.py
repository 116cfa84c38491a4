"""What most tools do: add up what the CPU times of the processes in sight grew by."""

import os
import threading
import time
from itertools import pairwise
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


class Naive:
    """Samples the processes of one cgroup on a grid; a process counts from its second sight."""

    def __init__(self, procs: Path, interval_seconds: float) -> None:
        self._procs = procs
        self._interval_seconds = interval_seconds
        self._seen: dict[tuple[int, str], int] = {}
        self._ended = threading.Event()
        self._ticks = 0
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> float:
        """Take a last sample; return the CPU seconds counted."""
        self._ended.set()
        self._thread.join()
        self._sample()
        return self._ticks / _TICKS

    def _loop(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            self._sample()
            due += self._interval_seconds

    def _sample(self) -> None:
        seen: dict[tuple[int, str], int] = {}
        for pid in self._procs.read_text().split():
            try:
                raw = Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                continue
            fields = raw.rpartition(") ")[2].split(" ")
            seen[int(pid), fields[19]] = int(fields[11]) + int(fields[12])
        for process, ticks in seen.items():
            self._ticks += ticks - self._seen.get(process, ticks)
        self._seen = seen


class KernelCounter:
    """Samples a kernel counter every 20 ms, for peaks over any interval."""

    def __init__(self, usage: Path) -> None:
        self._file = os.open(usage, os.O_RDONLY | os.O_CLOEXEC)
        self._points: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample."""
        self._ended.set()
        self._thread.join()
        self._sample()
        os.close(self._file)

    def _loop(self) -> None:
        while not self._ended.wait(0.02):
            self._sample()

    def _sample(self) -> None:
        self._points.append((time.time(), int(os.pread(self._file, 64, 0))))

    def peak_cores(self, start: float, interval_seconds: float, end: float) -> float:
        """Return the highest use in an interval of the grid that starts at a time of day.

        An end in the first half of an interval belongs to the one before, as in the collector.
        """
        edges = [start]
        while edges[-1] + interval_seconds <= end:
            edges.append(edges[-1] + interval_seconds)
        if len(edges) > 1 and end - edges[-1] < interval_seconds / 2:
            edges[-1] = end
        else:
            edges.append(end)
        return max((self._at(b) - self._at(a)) / (b - a) / 1e9 for a, b in pairwise(edges))

    def _at(self, moment: float) -> float:
        """Return the counter at a time, in a straight line between two points."""
        before = (self._points[0][0], 0)
        for point in self._points:
            if point[0] >= moment:
                share = (moment - before[0]) / ((point[0] - before[0]) or 1)
                return before[1] + max(0.0, min(1.0, share)) * (point[1] - before[1])
            before = point
        return self._points[-1][1]
