"""Checkpoints: the run so far goes to the spool, now and then to the receiver.

A forked child makes each of them: it has a copy of all that was measured, may sum it up and wait
for a slow disk, while the sampling goes on. One child writes at a time, one pushes.
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
from runmeter.collector.run.handover import become_live_pusher, memory_path
from runmeter.collector.run.measurement import Measurement
from runmeter.collector.run.record import run_record
from runmeter.collector.run.run_file import RunFile
from runmeter.collector.spool.format import encode

_NEVER_NS = 2**63 - 1
_WRITTEN, _FAILED = 0, 255  # exit codes of a child; others: the errno of a file not written


class Checkpoints:
    """The checkpoints of one run, and the children that make them."""

    def __init__(self, config: Config, log: Log, measurement: Measurement, file: RunFile) -> None:
        self._config = config
        self._log = log
        self._measurement = measurement
        self._file = file
        self._next_ns = self._next_push_ns = _NEVER_NS
        self._wants_push = False
        self._writer: int | None = None
        self._pusher: int | None = None
        self._seen: dict[int, int] = {}  # pid in the mount by pid
        self._has_warned = False

    @property
    def next_ns(self) -> int:
        """Return when the next one is due, on the monotonic clock; far away if none is."""
        return min(self._next_ns, self._next_push_ns)

    def start(self, now_ns: int) -> None:
        """Make the first one: the run begins when it is on disk."""
        if not self._config.is_kept:
            return
        self._file.lock()
        if self._config.checkpoint_push_ns and not self._config.unpushed:
            self._next_push_ns = now_ns + self._config.checkpoint_push_ns
        if self._config.checkpoint_interval_ns:
            self._next_ns = now_ns
            self.make_due(now_ns)

    def make_due(self, now_ns: int) -> None:
        """Make the one that is due, if one is."""
        if now_ns < self.next_ns:
            return
        if now_ns >= self._next_push_ns:
            self._wants_push = True
            self._next_push_ns = _after(now_ns, self._next_push_ns, self._config.checkpoint_push_ns)
        if now_ns >= self._next_ns:
            self._next_ns = _after(now_ns, self._next_ns, self._config.checkpoint_interval_ns)
        if self._writer is not None:
            self._fail("the one before is still being written")
        elif self._file.lock():
            self._file.revision += 1
            self._writer = self._start(self._write)
        else:
            self._written(is_kept=False)

    def ended(self, child: Ended) -> None:
        """Take note of a child's end; of others than ours nothing is known."""
        seen_pid = self._seen.pop(child.pid, None)
        if seen_pid is None:
            return
        self._measurement.end_child(seen_pid, child.cpu_ns)
        code = os.waitstatus_to_exitcode(child.status)
        if child.pid == self._pusher:
            self._pusher = None
            if code < 0:
                self._fail(f"its push was ended by signal {-code}")
        elif child.pid == self._writer:
            self._writer = None
            if code < 0:
                self._fail(f"its process was ended by signal {-code}")
            self._has_warned = self._has_warned or code == _FAILED
            if _WRITTEN < code < _FAILED:  # told here, as it may be killed with the run's end
                self._file.warn(WriteError(self._config.spool_dir, code))
            self._written(is_kept=code == _WRITTEN)

    def _written(self, is_kept: bool) -> None:
        """Push what is in the spool, or else from memory, if that is due."""
        self._file.is_there = self._file.is_there or is_kept
        if self._wants_push and self._pusher is None:
            self._wants_push = False
            if not is_kept:
                self._file.revision += 1
            self._pusher = self._start(lambda: self._push(is_kept))

    def stop(self, wait: Callable[[int], object], patience_ns: int) -> bool:
        """End the children that still live, so that none of them writes after us.

        ``wait(until_ns)``: waits for the end of a child, or until then. Returns whether all have
        ended: one that hangs in the kernel will not come back from there.
        """
        self._next_ns = self._next_push_ns = _NEVER_NS
        self._wants_push = False
        for pid in self._seen:
            os.kill(pid, signal.SIGKILL)
        until_ns = monotonic_ns() + patience_ns
        while self._seen:
            for ended in filter(None, map(reap_child, tuple(self._seen))):
                if os.WIFEXITED(ended.status):  # just before
                    self.ended(ended)
                else:
                    self._measurement.end_child(self._seen.pop(ended.pid), ended.cpu_ns)
            if self._seen and monotonic_ns() >= until_ns:
                return False
            if self._seen:
                wait(until_ns)
        return True

    def _fail(self, reason: str) -> None:
        if not self._has_warned:
            self._log.write("warning", "checkpoint.failed", reason=reason)
        self._has_warned = True

    # -- children -------------------------------------------------------------------------

    def _start(self, work: Callable[[], int]) -> int | None:
        """Let a child do something; return its pid."""
        reading = writing = -1
        try:
            if self._measurement.is_elsewhere:
                reading, writing = os.pipe()
            pid = os.fork()
        except OSError as error:
            self._fail(f"no process can be started: {error.strerror}")
            return None
        if not pid:
            self._work(work, writing)
        self._seen[pid] = seen_pid = pid if reading < 0 else _told(reading, writing)
        self._measurement.add_child(seen_pid)
        return pid

    def _work(self, work: Callable[[], int], telling: int) -> NoReturn:
        code = _FAILED
        try:
            gc.disable()  # a collection would copy the pages we share
            if telling >= 0:
                os.write(telling, b"%d" % self._measurement.seen_pid())
                os.close(telling)
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
        path = self._file.path if is_kept else memory_path(encode(self._record()))
        if self._config.command and not self._log.is_debug:
            detach_streams(2)  # whoever reads the command's errors shall not wait for a push
        become_live_pusher(self._config, path)
        return _FAILED

    def _record(self) -> dict[str, Any]:
        self._measurement.conclude()
        return run_record(
            self._config,
            self._file.push_id,
            self._measurement.payload(),
            None,
            revision=self._file.revision,
            is_running=True,
        )


def _after(now_ns: int, due_ns: int, interval_ns: int) -> int:
    """Return the next time after now on the grid that a due time is on."""
    return due_ns + ((now_ns - due_ns) // interval_ns + 1) * interval_ns


def _told(reading: int, writing: int) -> int:
    """Return the pid a child tells; it may be another one where the mount comes from."""
    os.close(writing)
    with open(reading, "rb") as file:
        return int(file.read() or b"0")
