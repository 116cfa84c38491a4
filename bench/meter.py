"""CPU time of programs that do one thing per interval, measured from outside, in turns."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

from runmeter.collector.processes.clock import clock_id, read_process_clock

_QUIET_SECONDS = 0.04
_POLL_SECONDS = 0.005
_LONGEST_SECONDS = 30.0
_MS = 1e6


class Meter(NamedTuple):
    """A program under measurement: its pid and the grid it works on."""

    pid: int
    step_seconds: float
    request: Callable[[], None] | None = None  # makes it work once; None: it does by itself

    def cpu_ns(self) -> int:
        """Return all CPU time it has used."""
        return read_process_clock(clock_id(self.pid))

    def per_step_ns(self, steps: int) -> float:
        """Return its CPU time per step over that many, from one quiet moment to another."""
        if self.request is None:
            self.await_work()
        before = self.quiet_ns()
        if self.request is None:
            time.sleep(steps * self.step_seconds)
        else:
            for _ in range(steps):
                time.sleep(self.step_seconds)
                self.request()
        return (self.quiet_ns() - before) / steps

    def await_work(self) -> None:
        """Wait until it begins to work."""
        before, deadline = self.cpu_ns(), time.monotonic() + _LONGEST_SECONDS
        while self.cpu_ns() == before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} does nothing")
            time.sleep(_POLL_SECONDS)

    def quiet_ns(self) -> int:
        """Wait until it rests between two steps; return all CPU time it has used."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        last, since = self.cpu_ns(), time.monotonic()
        while time.monotonic() - since < _QUIET_SECONDS:
            time.sleep(_POLL_SECONDS)
            now = self.cpu_ns()
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} never rests")
        return last


class Costs(NamedTuple):
    """CPU time per step, milliseconds: ours over the whole run, others by turn."""

    ours_ms: float
    others_ms: dict[str, list[float]]

    def ratio(self, name: str) -> float:
        """Return ours divided by the median of another."""
        return self.ours_ms / median(self.others_ms[name])


def side_by_side(ours: Meter, others: Mapping[str, Meter], steps: int, turn: int) -> Costs:
    """Measure ours over ``steps`` scans, and meanwhile the others in turns of ``turn`` each.

    Ours runs through, as some of its work is spread over 64 scans; another that waits for its
    turn is stopped.
    """
    found: dict[str, list[float]] = {name: [] for name in others}
    for meter in others.values():
        os.kill(meter.pid, signal.SIGSTOP)
    ours.await_work()
    before, start = ours.quiet_ns(), time.monotonic()
    end = start + steps * ours.step_seconds
    while others:
        for name, meter in others.items():
            os.kill(meter.pid, signal.SIGCONT)
            found[name].append(meter.per_step_ns(turn) / _MS)
            os.kill(meter.pid, signal.SIGSTOP)
        longest = max(meter.step_seconds for meter in others.values())
        if time.monotonic() + len(others) * (turn + 2) * longest > end:
            break
    late = time.monotonic() - end
    if late > 0:  # a whole number of steps more
        steps += int(late // ours.step_seconds) + 1
    time.sleep(start + steps * ours.step_seconds - time.monotonic())
    return Costs((ours.quiet_ns() - before) / steps / _MS, found)
