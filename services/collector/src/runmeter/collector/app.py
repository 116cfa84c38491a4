"""One measured run from start to end: measure, keep, print, push."""

import os
import signal
import sys
from time import monotonic_ns
from typing import Any

from runmeter.collector.config.settings import Config
from runmeter.collector.display.run import print_run, write_summary_file
from runmeter.collector.errors import MeasureError
from runmeter.collector.log import Log, write_line
from runmeter.collector.model import KEPT, PUSHER_CODES
from runmeter.collector.run.checkpoints import Checkpoints
from runmeter.collector.run.command import (
    Command,
    CommandError,
    become_subreaper,
    reap_children,
    replace,
    spawn,
)
from runmeter.collector.run.handover import become_pusher
from runmeter.collector.run.measurement import Measurement
from runmeter.collector.run.record import run_record
from runmeter.collector.run.run_file import RunFile
from runmeter.collector.run.signals import ENDING, Signals
from runmeter.collector.spool.folder import StoredRun

_NS = 1_000_000_000
_KILLED_NS = _NS // 10  # for a child that is killed to end
_HANGING_NS = 2 * _NS  # for one that hangs; for the pusher, beyond its own deadline
_SI_KERNEL = 0x80  # siginfo si_code: sent by the kernel, here by the terminal to all processes


def run(config: Config, signals: Signals) -> int:
    """Measure one run and push it; return the exit code if there is nothing to push."""
    log = Log(config.log_format, config.log_level)
    for warning in config.warnings:
        log.write("warning", "config.warned", reason=warning)
    try:
        measurement = Measurement(config, log)
    except MeasureError as error:
        if not config.command:
            write_line(2, f"collector: {error}")
            return 2
        log.write("warning", "run.skipped", reason=f"{error}; the command runs unmeasured")
        return _run_unmeasured(config, signals)
    command = None
    if config.command:
        signals.pass_on()
        measurement.follow_command(become_subreaper())
        try:
            command = spawn(config.command, config.command_environment, signals.inherited)
        except CommandError as error:
            write_line(2, f"collector: {error}")
            return error.exit_code
    log.write("info", "run.started", **_start_fields(config, measurement))
    return _Run(config, log, signals, measurement, command).run()


def _run_unmeasured(config: Config, signals: Signals) -> int:
    try:
        replace(config.command, config.command_environment, signals.inherited)
    except CommandError as error:
        write_line(2, f"collector: {error}")
        return error.exit_code


def _start_fields(config: Config, measurement: Measurement) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "push_id": measurement.push_id,
        "interval_seconds": config.interval_ns / _NS,
        "clock_source": measurement.clock_source,
        "measures": "command" if config.command else "every visible process",
        "push_endpoint": config.endpoint.url if config.endpoint else "none",
    }
    if config.is_kept:
        fields["spool_dir"] = config.spool_dir or "none"
    if config.scope.repository:
        fields.update(config.scope._asdict())
    return fields


class _Run:
    """A run that has started."""

    def __init__(
        self,
        config: Config,
        log: Log,
        signals: Signals,
        measurement: Measurement,
        command: Command | None,
    ) -> None:
        self._config = config
        self._log = log
        self._signals = signals
        self._measurement = measurement
        self._command = command
        self._file = RunFile(config, log, measurement.push_id)

    def run(self) -> int:
        """Measure to the end, then push; an error of the collector does not fail the command."""
        failure = None
        try:
            self._measure()
        except Exception as error:  # a defect, or no memory left
            failure = error
        exit_code = self._wait_for_command() if self._command is not None else None
        fixed_code = 0 if exit_code is None and self._config.exit_zero else exit_code
        try:
            if failure is not None:
                raise failure
            return self._end(exit_code, fixed_code)
        except Exception as error:
            if fixed_code is None:
                raise
            self._log.write("error", "run.failed", reason=repr(error))
            return fixed_code

    def _measure(self) -> None:
        """Measure to the end; from then on only this process writes the run."""
        signals = self._signals
        checkpoints = Checkpoints(self._config, self._log, self._measurement, self._file)
        checkpoints.start(monotonic_ns())
        self._take_snapshots(checkpoints)
        checkpoints.stop(signals.wait_for_child, _KILLED_NS)
        self._measurement.finish(self._command)
        if not checkpoints.stop(signals.wait_for_child, _HANGING_NS):
            reason = "a checkpoint process hangs; it was left running"
            self._log.write("warning", "checkpoint.failed", reason=reason)
        signals.settle()

    def _take_snapshots(self, checkpoints: Checkpoints) -> None:
        """Take snapshots and make checkpoints until the command or a signal ends the run."""
        measurement, command = self._measurement, self._command
        while True:
            taken = self._signals.wait(min(measurement.next_ns, checkpoints.next_ns))
            if taken is None:
                if monotonic_ns() >= measurement.next_ns:
                    measurement.tick()
                checkpoints.make_due(monotonic_ns())
            elif taken.si_signo == signal.SIGCHLD:
                for ended in reap_children(command):
                    checkpoints.ended(ended)
                if command is not None and command.has_ended():
                    return
            elif command is None:
                return
            else:
                _pass_on(taken, command)

    def _wait_for_command(self) -> int:
        """Return the command's exit code; it has ended, unless the measuring failed."""
        assert self._command is not None
        while not self._command.has_ended():
            taken = self._signals.wait(monotonic_ns() + _NS)
            if taken is None or taken.si_signo == signal.SIGCHLD:
                reap_children(self._command)
            else:
                _pass_on(taken, self._command)
        return self._command.reap()

    def _end(self, exit_code: int | None, fixed_code: int | None) -> int:
        """Keep, print and push the run; return the exit code, unless the pusher will."""
        config, measurement = self._config, self._measurement
        payload = measurement.payload()
        stored = None
        if config.is_kept:  # first, so that nothing can be lost afterwards
            revision = self._file.revision + 1
            push_id = measurement.push_id
            record = run_record(config, push_id, payload, exit_code, revision=revision)
            stored = self._file.keep(record, self._signals.wait_for_child)
            self._signals.settle()
        print_run(config, self._log, payload)
        limitation = measurement.limitation()
        if limitation:
            self._log.write("info", "run.limited", reason=limitation)
        write_summary_file(config, self._log, payload)
        if not config.is_kept:
            if config.unpushed:
                self._file.log_lost(config.unpushed)
            return fixed_code or 0
        if stored is not None and config.unpushed:
            self._file.log_unpushed(stored, config.unpushed)
        elif stored is not None and fixed_code is not None:
            self._push_in_child(stored)
        elif stored is not None:
            self._become_pusher(stored)
        return KEPT if fixed_code is None else fixed_code

    def _become_pusher(self, stored: StoredRun) -> None:
        """Replace this process by the pusher; return if that is not possible."""
        try:
            become_pusher(self._config, stored, self._signals, lock_fd=self._file.lock_fd)
        except OSError as error:
            reason = f"{sys.executable!r} cannot be run: {error.strerror}"
            self._file.log_unpushed(stored, reason)

    def _push_in_child(self, stored: StoredRun) -> None:
        """Run the pusher in a child and wait for it; the job's exit code does not change."""
        until_ns = monotonic_ns() + self._config.shutdown_timeout_ns + _HANGING_NS
        try:
            pid = os.fork()
        except OSError as error:
            self._file.log_unpushed(stored, f"no process can be started: {error.strerror}")
            return
        if not pid:
            try:
                self._become_pusher(stored)
            finally:
                os._exit(KEPT)
        pusher = Command(pid)
        for last_ns in (until_ns, until_ns + _HANGING_NS):
            while not pusher.has_ended():
                taken = self._signals.wait(last_ns)
                if taken is None:
                    break
                if taken.si_signo in ENDING:
                    _pass_on(taken, pusher)
            else:
                code = pusher.reap()
                if code not in PUSHER_CODES:
                    reason = f"the pusher has ended with exit code {code}"
                    self._file.log_unpushed(stored, reason)
                return
            pusher.send(signal.SIGKILL)
        self._file.log_unpushed(stored, "the pusher hangs; it was left running")


def _pass_on(taken: "signal.struct_siginfo", child: Command) -> None:
    """Send a signal to a child, unless the terminal has sent it to the child as well.

    The terminal sends a hangup to the leader of the session only.
    """
    from_terminal = taken.si_code == _SI_KERNEL and taken.si_signo != signal.SIGHUP
    if not (from_terminal and child.shares_terminal_signals()):
        child.send(taken.si_signo)
