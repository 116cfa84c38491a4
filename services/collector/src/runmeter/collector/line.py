"""Processes side by side with their clocks: what a scan of them all compares."""

from collections.abc import Iterable

from runmeter.collector.process import Process


class Line:
    """Processes in one order, the ids of their clocks, and the nanoseconds accounted of each."""

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
