"""Composition and signals: what happens in which order, from start to push."""

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
from runmeter.collector.spool import advice
from runmeter.collector.spool.folder import MEMORY

_NS = 1_000_000_000
_BRIEFLY_NS = _NS // 10  # to a child that is killed
_PATIENCE_NS = 2 * _NS  # to one that hangs; to the pusher, beyond its own deadline
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
        return _unmeasured(config, signals)
    command = None
    exit_code = None
    if config.command:
        signals.pass_on()
        become_subreaper()
        measurement.follow_command()
        try:
            command = spawn(config.command, config.command_environment, signals.inherited)
        except CommandError as error:
            write_line(2, f"collector: {error}")
            return error.exit_code
    log.write("info", "run.started", **_start_fields(config, measurement))
    file = RunFile(config, log, measurement.push_id)
    try:
        _measure(config, log, measurement, file, signals, command)
        failure = None
    except Exception as error:  # a defect, or no memory left
        failure = error
    if command is not None:
        exit_code = _wait_for(command, signals)
    fixed_code = 0 if exit_code is None and config.exit_zero else exit_code
    try:
        if failure is not None:
            raise failure
        return _end(config, log, signals, measurement, file, exit_code, fixed_code)
    except Exception as error:
        if fixed_code is None:
            raise
        log.write("error", "run.failed", reason=repr(error))
        return fixed_code


def _measure(
    config: Config,
    log: Log,
    measurement: Measurement,
    file: RunFile,
    signals: Signals,
    command: Command | None,
) -> None:
    """Measure until the end; then nobody but us writes the run."""
    checkpoints = Checkpoints(config, log, measurement, file)
    checkpoints.start(monotonic_ns())
    _loop(measurement, checkpoints, signals, command)
    checkpoints.stop(signals.wait_for_child, _BRIEFLY_NS)
    measurement.finish()
    if not checkpoints.stop(signals.wait_for_child, _PATIENCE_NS):
        log.write("warning", "checkpoint.failed", reason="one hangs, and is left")
    signals.stop_timer()


def _wait_for(command: Command, signals: Signals) -> int:
    """Return the command's exit code; it has ended, unless the measuring was cut short."""
    while not command.has_ended():
        taken = signals.wait(monotonic_ns() + _NS)
        if taken is None or taken.si_signo == signal.SIGCHLD:
            reap_children(command)
        elif not _is_delivered(taken, command):
            command.send(taken.si_signo)
    return command.reap()


def _unmeasured(config: Config, signals: Signals) -> int:
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
        "measures": "command" if config.command else "every process in sight",
        "push_endpoint": config.endpoint.url if config.endpoint else "none",
    }
    if config.is_kept:
        fields["spool_dir"] = config.spool_dir or "none"
    if config.scope.repository:
        fields.update(config.scope._asdict())
    return fields


def _loop(
    measurement: Measurement,
    checkpoints: Checkpoints,
    signals: Signals,
    command: Command | None,
) -> None:
    """Take snapshots and make checkpoints until the command, or a signal, ends the run."""
    while True:
        taken = signals.wait(min(measurement.next_ns, checkpoints.next_ns))
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
        elif not _is_delivered(taken, command):
            command.send(taken.si_signo)


def _is_delivered(taken: "signal.struct_siginfo", command: Command) -> bool:
    """Tell whether the terminal has sent a signal to the command as well.

    Of a hangup only the leader of the session is told.
    """
    from_terminal = taken.si_code == _SI_KERNEL and taken.si_signo != signal.SIGHUP
    return from_terminal and command.shares_terminal_signals()


def _end(
    config: Config,
    log: Log,
    signals: Signals,
    measurement: Measurement,
    file: RunFile,
    exit_code: int | None,
    fixed_code: int | None,
) -> int:
    """Keep, print and push the run; return the exit code, unless the pusher will."""
    payload = measurement.payload()
    path = ""
    if config.is_kept:  # first of all: nothing can be lost from then on
        revision = file.revision + 1
        path = file.keep(
            run_record(config, measurement.push_id, payload, exit_code, revision=revision),
            signals.wait_for_child,
        )
        signals.stop_timer()
    print_run(config, log, payload)
    limitation = measurement.limitation()
    if limitation:
        log.write("info", "run.limited", reason=limitation)
    write_summary_file(config, log, payload)
    if not config.is_kept:
        if config.unpushed:
            file.log_lost(config.unpushed)
        return fixed_code or 0
    if path and config.unpushed:
        _log_unpushed(config, log, file, path, config.unpushed)
    elif path and fixed_code is not None:
        _push_beside(config, log, signals, file, path)
    elif path:
        _become_pusher(config, log, signals, file, path)
    return KEPT if fixed_code is None else fixed_code


def _become_pusher(config: Config, log: Log, signals: Signals, file: RunFile, path: str) -> None:
    """Replace this process by the pusher; return if that cannot be."""
    try:
        become_pusher(config, path, lock_fd=file.lock_fd, received_count=signals.ending_count)
    except OSError as error:
        _log_unpushed(
            config, log, file, path, f"{sys.executable!r} cannot be run: {error.strerror}"
        )


def _push_beside(config: Config, log: Log, signals: Signals, file: RunFile, path: str) -> None:
    """Let a child become the pusher, and wait for it: whatever it does costs the job nothing."""
    until_ns = monotonic_ns() + config.shutdown_timeout_ns + _PATIENCE_NS
    try:
        pid = os.fork()
    except OSError as error:
        _log_unpushed(config, log, file, path, f"no process can be started: {error.strerror}")
        return
    if not pid:
        try:
            _become_pusher(config, log, signals, file, path)
        finally:
            os._exit(KEPT)
    pusher = Command(pid)
    for last_ns in (until_ns, until_ns + _PATIENCE_NS):
        while not pusher.has_ended():
            taken = signals.wait(last_ns)
            if taken is None:
                break
            if taken.si_signo in ENDING and not _is_delivered(taken, pusher):
                pusher.send(taken.si_signo)
        else:
            code = pusher.reap()
            if code not in PUSHER_CODES:
                _log_unpushed(
                    config, log, file, path, f"the pusher has ended with exit code {code}"
                )
            return
        pusher.send(signal.SIGKILL)
    _log_unpushed(config, log, file, path, "the pusher hangs, and is left")


def _log_unpushed(config: Config, log: Log, file: RunFile, path: str, reason: str) -> None:
    """Tell where a run is that no pusher has taken care of, if it is anywhere."""
    if path.startswith(MEMORY):
        file.log_lost(reason)
    elif os.path.exists(path):
        hint = advice.kept(config.spool_dir)
        log.write("error", "run.kept", reason=reason, path=path, hint=hint)
