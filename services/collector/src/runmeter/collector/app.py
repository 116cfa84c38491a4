"""Composition and signals: what happens in which order, from start to push."""

import json
import os
import signal
import sys
from collections.abc import Iterable
from time import monotonic_ns, process_time, time_ns
from typing import Any

from runmeter.collector import spool
from runmeter.collector.clock import PROCESS_CLOCK, clock_source, read_process_clock
from runmeter.collector.command import Command, CommandError, reap_orphans, replace, spawn
from runmeter.collector.config import Config
from runmeter.collector.containers import Containers, Group, is_real
from runmeter.collector.counters import CGROUP_ROOT, hierarchies
from runmeter.collector.errors import MeasureError, SpoolError
from runmeter.collector.exact import ExactCounters
from runmeter.collector.output import Log, sample_fields, sample_text, table, write_line
from runmeter.collector.record import new_push_id, run_record, times
from runmeter.collector.sampler import Sample, Sampler, Schedule
from runmeter.collector.subreaper import become_subreaper
from runmeter.collector.summary import Limit, Summary
from runmeter.procfs import Mount, ProcFS, ProcfsError

_NS = 1_000_000_000
_ENDING = (signal.SIGINT, signal.SIGTERM)
_PASSED_ON = (*_ENDING, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_SI_KERNEL = 0x80  # siginfo si_code: sent by the kernel, here by the terminal to all processes


class Signals:
    """The signals of this process: blocked from the start, taken where it waits.

    Blocked signals are not lost while something else is done, reach even pid 1 of a container
    and a process started with SIGINT ignored, and stay blocked into the pusher.
    """

    def __init__(self) -> None:
        self.inherited = signal.pthread_sigmask(signal.SIG_BLOCK, (*_ENDING, signal.SIGCHLD))
        # inherited as ignored, it would never come, and children would end unseen
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._awaited: set[signal.Signals] = {*_ENDING, signal.SIGCHLD}
        self.ending_count = 0

    def pass_on(self) -> None:
        """Take, too, what is meant for a wrapped command."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
        self._awaited.update(_PASSED_ON)

    def wait(self, until_ns: int) -> "signal.struct_siginfo | None":
        """Wait for a signal until a time of the monotonic clock; None when it has come."""
        left_ns = until_ns - monotonic_ns()
        if left_ns <= 0:
            return None
        taken = signal.sigtimedwait(self._awaited, left_ns / _NS)
        if taken is not None and taken.si_signo in _ENDING:
            self.ending_count += 1
        return taken


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
    log.write("info", "run.started", **_start_fields(config, measurement.push_id))
    _loop(measurement, signals, command)
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


def _start_fields(config: Config, push_id: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "push_id": push_id,
        "interval_seconds": config.interval_ns / _NS,
        "measures": "command" if config.command else "every process in sight",
        "push_endpoint": config.endpoint.url if config.endpoint else "none",
    }
    if config.scope.repository:
        fields.update(config.scope._asdict())
    return fields


class Measurement:
    """One run while it is measured: sampler, schedule and what is printed of samples.

    Raises:
        MeasureError: the proc mount cannot be read.
    """

    def __init__(self, config: Config, log: Log) -> None:
        self._config = config
        self._log = log
        self.push_id = new_push_id()
        self._proc = _proc(config.proc_path)
        self._containers = Containers(config.process_map, self._mounts)
        self._summary = Summary(config.interval_ns, config.top, self._lists)
        own_pid = _own_pid(config.proc_path)
        self._own_pid = own_pid
        self.clock_source = clock_source(config.proc_path)
        has_clock = self.clock_source == PROCESS_CLOCK
        self._exact = _exact_counters(self._proc) if has_clock else None
        self._sampler = Sampler(
            self._proc,
            self._containers,
            self._summary,
            own_pid=own_pid,
            # around a command all orphans below the collector are the command's
            reaper_pid=0 if config.command and own_pid == 1 else 1,
            clock=read_process_clock if has_clock else None,
            exact=self._exact,
        )
        self._before: Sample | None = None
        self._failed_count = 0
        start_ns = monotonic_ns()
        self._start_unix_ms = time_ns() // 1_000_000
        self._schedule = Schedule(start_ns, config.interval_ns)
        try:
            self._show(self._sampler.start(start_ns))
        except ProcfsError as error:
            raise MeasureError(f"{config.proc_path!r} cannot be measured: {error}") from error
        if not self._sampler.table.processes:
            raise MeasureError(f"{config.proc_path!r} cannot be measured: it shows no process")

    @property
    def next_ns(self) -> int:
        """Return when the next snapshot is due, on the monotonic clock."""
        return self._schedule.next_ns

    def follow_command(self) -> None:
        """Measure what is started from now on, and all below it, as one container."""
        self._sampler.table.command_parent_pid = self._own_pid

    def tick(self) -> None:
        """Take the snapshot that is due."""
        now_ns = monotonic_ns()
        try:
            self._show(self._sampler.tick(now_ns))
        except ProcfsError as error:
            self._failed_count += 1
            self._log.write("warning", "sample.failed", reason=str(error))
        self._schedule.ticked(monotonic_ns())

    def finish(self) -> None:
        """Take the last reading."""
        try:
            self._show(self._sampler.finish(monotonic_ns()))
        except ProcfsError as error:
            self._failed_count += 1
            self._log.write("warning", "sample.failed", reason=str(error))

    def _show(self, sample: Sample) -> None:
        before, self._before = self._before, sample
        if not self._log.is_debug:
            return
        config = self._config
        names = self._containers.names(self._summary.groups)
        processes = self._sampler.table.processes.values()
        fields = sample_fields(sample, before, names, config.limits, processes, config.top)
        if self._log.format == "text":
            fields = {"sample": sample_text(fields)}
        self._log.write("debug", "sample.taken", **fields)

    def _lists(self, group: Group) -> bool:
        return not self._config.command or self._config.all_containers or is_real(group)

    def _limit(self, group: Group) -> Limit | None:
        return self._config.limits.get(self._containers.base_name(group))

    def _mounts(self, pid: int) -> Iterable[Mount] | None:
        try:
            return self._proc.proc_mountinfo(pid)
        except ProcfsError:
            return None

    def payload(self) -> dict[str, Any]:
        """Return the payload of the finished run."""
        names = self._containers.names(self._summary.groups)
        measured = self._summary.payload(names, self._limit)
        return {
            **times(self._start_unix_ms, measured["duration_seconds"]),
            **measured,
            "host": self._host(),
            "coverage": self._coverage(),
        }

    def _host(self) -> dict[str, Any]:
        host: dict[str, Any] = {"kernel": os.uname().release, "clock_source": self.clock_source}
        try:
            host["cpu_count"] = self._proc.stat().cpu_count
        except ProcfsError:
            pass
        if self._summary.mem_total_bytes is not None:
            host["memory_total_bytes"] = self._summary.mem_total_bytes
        version = _cgroup_version(self._proc, self._own_pid)
        if version is not None:
            host["cgroup_version"] = version
        return host

    def _coverage(self) -> dict[str, Any]:
        table = self._sampler.table
        coverage: dict[str, Any] = {
            "interval_seconds": self._config.interval_ns / _NS,
            "missed_samples": self._schedule.missed_count + self._failed_count,
            "vanished": table.vanished_count,
            "denied": table.denied_count + (self._exact.denied_count if self._exact else 0),
            "self_cpu_seconds": round(process_time(), 6),
        }
        try:
            peak_kb = self._proc.proc_status(self._own_pid).vm_hwm_kb
        except ProcfsError:
            peak_kb = None
        if peak_kb is not None:
            coverage["self_peak_rss_bytes"] = peak_kb * 1024
        return coverage


def _proc(mount: str) -> ProcFS:
    return ProcFS(mount, os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK"))


def _exact_counters(proc: ProcFS) -> ExactCounters | None:
    try:
        cpu_count = proc.stat().cpu_count
    except ProcfsError:
        return None
    own = hierarchies(CGROUP_ROOT)
    return ExactCounters(proc, own, proc.ticks_nanoseconds(1), cpu_count)


def _own_pid(mount: str) -> int:
    """Return this process's pid as the mount shows it; 0 if it does not show it."""
    try:
        return int(os.readlink(f"{mount}/self"))
    except (OSError, ValueError):
        return 0


def _cgroup_version(proc: ProcFS, pid: int) -> int | None:
    try:
        groups = proc.proc_cgroup(pid)
    except ProcfsError:
        return None
    has_v1 = any({"memory", "cpu", "cpuacct"} & set(group.controllers) for group in groups)
    return 1 if has_v1 else 2


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
        elif taken.si_code != _SI_KERNEL:  # the terminal has sent it to the command as well
            command.send(taken.si_signo)


def _end(
    config: Config,
    log: Log,
    signals: Signals,
    measurement: Measurement,
    exit_code: int | None,
) -> int:
    """Print, keep and push the run; return the exit code if nothing is to be pushed."""
    payload = measurement.payload()
    _print(config, log, payload)
    _write_summary_file(config, log, payload)
    if config.endpoint is not None:
        record = run_record(config, measurement.push_id, payload, exit_code)
        push(config, log, signals, record, exit_code)
        return exit_code if exit_code is not None else 0 if config.exit_zero else 3
    return exit_code or 0


def _print(config: Config, log: Log, payload: dict[str, Any]) -> None:
    """Write the table to a terminal; without an endpoint, the payload anywhere else."""
    output = 2 if config.command else 1
    if os.isatty(output):
        write_line(output, table(payload))
    else:
        if os.isatty(2):
            write_line(2, table(payload))
        if config.endpoint is None and config.log_format == "text":
            write_line(output, table(payload))
        elif config.endpoint is None:
            write_line(output, json.dumps(payload, separators=(",", ":")))
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


def push(
    config: Config,
    log: Log,
    signals: Signals,
    record: dict[str, Any],
    exit_code: int | None,
) -> None:
    """Write the run to the spool and become the pusher; returns only if that is impossible."""
    assert config.endpoint is not None
    content = spool.encode(record)
    arguments = [sys.executable, "-I", "-m", "runmeter.collector.push"]
    try:
        path = spool.write(config.spool_dir, record["push_id"], content)
    except SpoolError as error:
        log.write("warning", "spool.failed", reason=f"{error}; pushing from memory")
        descriptor = _in_memory(content)
        path = f"/proc/self/fd/{descriptor}"
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
    try:
        os.execv(sys.executable, arguments)
    except OSError as error:
        reason = f"{sys.executable!r} cannot be run: {error.strerror}"
        log.write("error", "run.kept", reason=reason, path=path)


def _in_memory(content: bytes) -> int:
    """Return an inheritable descriptor of a file that exists in memory only."""
    descriptor = os.memfd_create("runmeter", 0)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
