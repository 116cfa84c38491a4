"""Composition and signals: what happens in which order, from start to push."""

import json
import os
import signal
import sys
from time import monotonic_ns
from typing import Any

from runmeter.collector import spool
from runmeter.collector.command import Command, CommandError, reap_orphans, replace, spawn
from runmeter.collector.config import Config
from runmeter.collector.errors import MeasureError, SpoolError
from runmeter.collector.measurement import Measurement
from runmeter.collector.output import PATIENCE_MS, Log, table, write_line
from runmeter.collector.record import run_record
from runmeter.collector.subreaper import become_subreaper

_NS = 1_000_000_000
_ENDING = (signal.SIGINT, signal.SIGTERM)
_PASSED_ON = (*_ENDING, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_SHORTEST_NS = 1_000  # a timer of 0 never comes
_SI_KERNEL = 0x80  # siginfo si_code: sent by the kernel, here by the terminal to all processes


class Signals:
    """The signals of this process: blocked from the start, taken where it waits.

    Blocked signals are not lost while something else is done, reach even pid 1 of a container
    and a process started with SIGINT ignored, and stay blocked into the pusher.
    """

    def __init__(self) -> None:
        self._awaited: set[signal.Signals] = {*_ENDING, signal.SIGCHLD, signal.SIGALRM}
        self.inherited = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        # inherited as ignored, it would never come, and children would end unseen
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.ending_count = 0

    def pass_on(self) -> None:
        """Take, too, what is meant for a wrapped command."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
        self._awaited.update(_PASSED_ON)

    def wait(self, until_ns: int) -> "signal.struct_siginfo | None":
        """Wait for a signal until a time of the monotonic clock; None when it has come.

        By a timer of our own: ``sigtimedwait`` of CPython 3.11 makes up a signal when it was
        interrupted, as by SIGSTOP and SIGCONT, and its time has passed.
        """
        while (left_ns := until_ns - monotonic_ns()) > 0:
            signal.setitimer(signal.ITIMER_REAL, max(left_ns, _SHORTEST_NS) / _NS)
            taken = signal.sigwaitinfo(self._awaited)
            if taken.si_signo != signal.SIGALRM:
                self.ending_count += taken.si_signo in _ENDING
                return taken
        return None

    def stop_timer(self) -> None:
        """Leave no alarm behind: timer and pending signal would outlive an exec."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.SIGALRM in signal.sigpending():
            signal.sigwaitinfo({signal.SIGALRM})


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
    _loop(measurement, signals, command)
    signals.stop_timer()
    measurement.finish()
    if command is not None:
        exit_code = command.reap()
    return _end(config, log, signals, measurement, exit_code)


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
    if config.scope.repository:
        fields.update(config.scope._asdict())
    return fields


def _loop(measurement: Measurement, signals: Signals, command: Command | None) -> None:
    """Take snapshots until the command, or a signal, ends the run."""
    while True:
        taken = signals.wait(measurement.next_ns)
        if taken is None:
            measurement.tick()
        elif taken.si_signo == signal.SIGCHLD:
            reap_orphans(command)
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
    exit_code: int | None,
) -> int:
    """Print, keep and push the run; return the exit code if nothing is to be pushed."""
    payload = measurement.payload()
    path = ""
    if config.endpoint is not None:  # first of all: nothing can be lost from then on
        path = _keep(config, log, run_record(config, measurement.push_id, payload, exit_code))
    _print(config, log, payload)
    limitation = measurement.limitation()
    if limitation:
        log.write("info", "run.limited", reason=limitation)
    _write_summary_file(config, log, payload)
    if config.endpoint is None:
        return exit_code or 0
    try:
        if path:
            os.execv(sys.executable, _pusher(config, signals, path, exit_code))
    except OSError as error:
        reason = f"{sys.executable!r} cannot be run: {error.strerror}"
        log.write("error", "run.kept", reason=reason, path=path)
    return exit_code if exit_code is not None else 0 if config.exit_zero else 3


def _print(config: Config, log: Log, payload: dict[str, Any]) -> None:
    """Write the table to a terminal; without an endpoint, the payload anywhere else."""
    output = 2 if config.command else 1
    if os.isatty(output):
        write_line(output, table(payload))
    else:
        if os.isatty(2):
            write_line(2, table(payload))
        if config.endpoint is None:
            is_text = config.log_format == "text"
            text = table(payload) if is_text else json.dumps(payload, separators=(",", ":"))
            write_line(output, text, patience_ms=-1 if output == 1 else PATIENCE_MS)
    log.write(
        "info",
        "run.measured",
        duration_seconds=payload["duration_seconds"],
        sample_count=payload["sample_count"],
        container_count=len(payload["containers"]),
    )


def _write_summary_file(config: Config, log: Log, payload: dict[str, Any]) -> None:
    if not config.summary_file:
        return
    try:
        with open(config.summary_file, "w", encoding="ascii") as file:
            json.dump(payload, file, indent=2)
            file.write("\n")
    except OSError as error:
        reason = f"--summary-file={config.summary_file!r}: {error.strerror}"
        log.write("warning", "summary_file.failed", reason=reason)


def _keep(config: Config, log: Log, record: dict[str, Any]) -> str:
    """Write the run to the spool, or to memory if that cannot be; return its path.

    An empty path: neither can be, and the job goes on to its end all the same.
    """
    content = spool.encode(record)
    try:
        return spool.write(config.spool_dir, record["push_id"], content)
    except SpoolError as error:
        log.write("warning", "spool.failed", reason=f"{error}; pushing from memory")
    try:
        return f"{spool.MEMORY}{_in_memory(content)}"
    except OSError as error:  # as by a limit on the size of files
        log.write("error", "run.lost", reason=f"memory cannot take it: {error.strerror}")
        return ""


def _pusher(config: Config, signals: Signals, path: str, exit_code: int | None) -> list[str]:
    """Return the command line of the pusher; the token passes through a descriptor."""
    assert config.endpoint is not None
    arguments = [sys.executable, "-I", "-m", "runmeter.collector.push"]
    arguments += [f"--file={path}", f"--endpoint={config.endpoint.url}"]
    arguments += [f"--log-format={config.log_format}", f"--log-level={config.log_level}"]
    arguments += [f"--deadline-ns={monotonic_ns() + config.shutdown_timeout_ns}"]
    arguments += [f"--signals={signals.ending_count}"]
    arguments += [f"--token-fd={_in_memory(config.push_token.encode())}"]
    for name in ("tls_ca", "tls_cert", "tls_key"):
        if getattr(config, name):
            arguments.append(f"--{name.replace('_', '-')}={getattr(config, name)}")
    if exit_code is not None or config.exit_zero:
        arguments.append(f"--exit-code={exit_code or 0}")
    return arguments


def _in_memory(content: bytes) -> int:
    """Return an inheritable descriptor of a file that exists in memory only."""
    descriptor = os.memfd_create("runmeter", 0)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
