"""Checkpoints: the run so far goes to the spool and, less often, to the receiver.

The first ones follow soon after each other: a collector that is killed early loses about a third
of the run, later ``--checkpoint-interval`` at most.

A forked child makes each of them: it has a copy of all measurements, and may sum them up and wait
for a slow disk while the sampling goes on. At most one child writes and one pushes at a time.
"""

import gc
import os
import signal
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, NoReturn

from runmeter.collector.config.settings import Config
from runmeter.collector.errors import WriteError
from runmeter.collector.log import Log
from runmeter.collector.open_files import detach_streams
from runmeter.collector.run.command import Ended, reap_child
from runmeter.collector.run.handover import become_checkpoint_pusher, in_memory
from runmeter.collector.run.measurement import Measurement
from runmeter.collector.run.record import run_record
from runmeter.collector.run.run_file import RunFile
from runmeter.collector.spool.format import encode

_NEVER_NS = 2**63 - 1
_SHORTEST_NS = 1_000_000_000
_WRITTEN, _FAILED = 0, 255  # exit codes of a child; others: the errno of a file not written


class Checkpoints:
    """The checkpoints of one run, and the children that make them."""

    def __init__(self, config: Config, log: Log, measurement: Measurement, file: RunFile) -> None:
        self._config = config
        self._log = log
        self._measurement = measurement
        self._sampler = measurement.sampler
        self._file = file
        self._start_ns = 0
        self._next_ns = self._next_push_ns = _NEVER_NS
        self._wants_push = False
        self._writer: int | None = None
        self._pusher: int | None = None
        self._seen: dict[int, int] = {}  # pid in the proc mount by pid
        self._has_warned = False

    @property
    def next_ns(self) -> int:
        """Return when the next one is due, on the monotonic clock; far away if none is."""
        return min(self._next_ns, self._next_push_ns)

    def start(self, now_ns: int) -> None:
        """Make the first one, so that the run is in the spool from its start."""
        if not self._config.is_kept:
            return
        self._file.lock()
        if self._config.checkpoint_push_ns and not self._config.unpushed:
            self._next_push_ns = now_ns + self._config.checkpoint_push_ns
        if self._config.checkpoint_interval_ns:
            self._start_ns = self._next_ns = now_ns
            self.make_due(now_ns)

    def make_due(self, now_ns: int) -> None:
        """Make the one that is due, if any."""
        if now_ns < self.next_ns:
            return
        if now_ns >= self._next_push_ns:
            self._wants_push = True
            self._next_push_ns = _after(now_ns, self._next_push_ns, self._config.checkpoint_push_ns)
        if now_ns >= self._next_ns:
            age_ns = self._next_ns - self._start_ns
            longest_ns = self._config.checkpoint_interval_ns
            distance_ns = gap_ns(age_ns, self._config.interval_ns, longest_ns)
            self._next_ns = _after(now_ns, self._next_ns, distance_ns)
        if self._writer is not None:
            self._warn("the previous checkpoint is still being written")
        elif self._file.lock():
            self._file.revision += 1
            self._writer = self._start(self._write)
        else:
            self._push_due(is_kept=False)

    def ended(self, child: Ended) -> None:
        """Handle the end of a child; children that make no checkpoint are ignored."""
        seen_pid = self._seen.pop(child.pid, None)
        if seen_pid is None:
            return
        self._sampler.end_own_child(seen_pid, child.cpu_ns)
        code = os.waitstatus_to_exitcode(child.status)
        if child.pid == self._pusher:
            self._pusher = None
            if code < 0:
                self._warn(f"its push was ended by signal {-code}")
        elif child.pid == self._writer:
            self._writer = None
            if code < 0:
                self._warn(f"its process was ended by signal {-code}")
            self._has_warned = self._has_warned or code == _FAILED
            if _WRITTEN < code < _FAILED:  # logged here: the child may be killed at the run's end
                self._file.warn(WriteError(self._config.spool_dir, code))
            self._push_due(is_kept=code == _WRITTEN)

    def _push_due(self, is_kept: bool) -> None:
        """Push what is in the spool, or else from memory, if a push is due."""
        self._file.is_there = self._file.is_there or is_kept
        if self._wants_push and self._pusher is None:
            self._wants_push = False
            if not is_kept:
                self._file.revision += 1
            self._pusher = self._start(lambda: self._push(is_kept))

    def stop(self, wait: Callable[[int], object], timeout_ns: int) -> bool:
        """Kill the children, so that none of them writes after this process.

        ``wait(until_ns)``: waits for the end of a child, or until then. Returns whether all have
        ended: one that hangs in the kernel cannot be killed.
        """
        self._start_ns = 0
        self._next_ns = self._next_push_ns = _NEVER_NS
        self._wants_push = False
        for pid in self._seen:
            os.kill(pid, signal.SIGKILL)
        until_ns = monotonic_ns() + timeout_ns
        while self._seen:
            for ended in filter(None, map(reap_child, tuple(self._seen))):
                if os.WIFEXITED(ended.status):  # before it was killed
                    self.ended(ended)
                else:
                    self._sampler.end_own_child(self._seen.pop(ended.pid), ended.cpu_ns)
            if self._seen and monotonic_ns() >= until_ns:
                return False
            if self._seen:
                wait(until_ns)
        return True

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._log.write("warning", "checkpoint.failed", reason=reason)
        self._has_warned = True

    # -- children -------------------------------------------------------------------------

    def _start(self, work: Callable[[], int]) -> int | None:
        """Fork a child that does something; return its pid."""
        reading = writing = -1
        try:
            if self._measurement.is_elsewhere:
                reading, writing = os.pipe()
            pid = os.fork()
        except OSError as error:
            self._warn(f"no process can be started: {error.strerror}")
            return None
        if not pid:
            self._work(work, writing)
        self._seen[pid] = seen_pid = pid if reading < 0 else _read_pid(reading, writing)
        self._sampler.add_own_child(seen_pid)
        return pid

    def _work(self, work: Callable[[], int], pid_pipe: int) -> NoReturn:
        code = _FAILED
        try:
            gc.disable()  # a collection would copy the pages that are shared with the parent
            if pid_pipe >= 0:
                os.write(pid_pipe, b"%d" % self._measurement.seen_pid())
                os.close(pid_pipe)
            detach_streams(0, 1)
            code = work()
        except BaseException as error:
            if not self._has_warned:
                self._log.write("warning", "checkpoint.failed", reason=repr(error))
        finally:
            os._exit(code)

    def _write(self) -> int:
        try:
            self._file.write(self._record())
        except WriteError as error:
            return error.number
        self._log.write("debug", "checkpoint.written", revision=self._file.revision)
        return _WRITTEN

    def _push(self, is_kept: bool) -> int:
        stored = self._file.in_spool
        if not is_kept:
            stored = stored._replace(memory_fd=in_memory(encode(self._record())))
        if self._config.command and not self._log.is_debug:
            detach_streams(2)  # readers of the command's standard error must not wait for a push
        become_checkpoint_pusher(self._config, stored)

    def _record(self) -> dict[str, Any]:
        self._sampler.conclude()
        return run_record(
            self._config,
            self._file.push_id,
            self._measurement.payload(),
            None,
            revision=self._file.revision,
            is_running=True,
        )


def gap_ns(age_ns: int, interval_ns: int, longest_ns: int) -> int:
    """Return the time from a checkpoint to the next one: half of the run's age, up to a snapshot.

    Snapshots are taken on a grid from the start: between two of them there is nothing new.
    """
    half_ns = max(_SHORTEST_NS, age_ns // 2)
    return min(longest_ns, -(-half_ns // interval_ns) * interval_ns)


def _after(now_ns: int, due_ns: int, interval_ns: int) -> int:
    """Return the next time after now on the grid that a due time is on."""
    return due_ns + ((now_ns - due_ns) // interval_ns + 1) * interval_ns


def _read_pid(reading: int, writing: int) -> int:
    """Read the pid that a child has in the proc mount, which may be of another pid namespace."""
    os.close(writing)
    with open(reading, "rb") as file:
        return int(file.read() or b"0")
