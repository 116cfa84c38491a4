"""Checkpoints in the test's own process: what is logged when they fail."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest

from runmeter.collector.config.settings import load
from runmeter.collector.log import Log
from runmeter.collector.run.checkpoints import Checkpoints
from runmeter.collector.run.command import reap_child
from runmeter.collector.run.measurement import Measurement
from runmeter.collector.run.record import run_record
from runmeter.collector.run.run_file import RunFile
from runmeter.collector.run.signals import Signals
from runmeter.collector.spool.folder import StoredRun

WAIT_NS = 30_000_000_000
ENVIRONMENT = {
    "GITHUB_REPOSITORY": "my-org/my-repo",
    "GITHUB_WORKFLOW": "ci.yml",
    "GITHUB_JOB": "build",
    "COLLECTOR_PUSH_TOKEN": "t0ken",
}


class SlowLog(Log):
    """A log whose lines in a child are the last thing it does: it gets no further."""

    def __init__(self, descriptor: int) -> None:
        super().__init__("json", "info", descriptor)
        self._pid = os.getpid()

    def write(self, level: str, event: str, **fields: Any) -> None:
        """Write one event."""
        super().write(level, event, **fields)
        if os.getpid() != self._pid:
            time.sleep(WAIT_NS / 1e9)
            os._exit(1)


class Failing:
    """A run whose file cannot be written: its temporary file would have the name of a folder."""

    def __init__(self, folder: Path) -> None:
        flags = [f"--spool-dir={folder}/spool", "--push-endpoint=grpc://127.0.0.1:1"]
        self.config = load([*flags, "--checkpoint-interval=100ms"], ENVIRONMENT)
        self._log = folder / "log"
        self._descriptor = os.open(self._log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        log = SlowLog(self._descriptor)
        self.measurement = Measurement(self.config, log)
        self.file = RunFile(self.config, log, self.measurement.push_id)
        (folder / "spool" / f"{self.file.push_id}.json.tmp").mkdir(parents=True)
        self.checkpoints = Checkpoints(self.config, log, self.measurement, self.file)

    def end(self, signals: Signals) -> StoredRun | None:
        """Keep the run as it is; return where it is stored."""
        self.measurement.finish()
        payload = self.measurement.payload()
        record = run_record(self.config, self.file.push_id, payload, None, revision=9)
        return self.file.keep(record, signals.wait_for_child)

    def close(self) -> None:
        """Close what the end of a collector closes."""
        assert self.file.lock_fd is not None
        for descriptor in (self._descriptor, self.file.lock_fd):
            os.close(descriptor)

    def events(self) -> list[str]:
        """Return the events logged."""
        return [json.loads(line)["event"] for line in self._log.read_text().splitlines()]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Failing]:
    """Return a run whose file cannot be written."""
    run = Failing(tmp_path)
    yield run
    run.close()


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Return the signals of this process, as the collector has them."""
    handled = signal.getsignal(signal.SIGCHLD)
    signals = Signals()
    yield signals
    signals.settle()
    signal.signal(signal.SIGCHLD, handled)
    signal.pthread_sigmask(signal.SIG_SETMASK, signals.inherited)


@pytest.mark.parametrize("is_cut_short", [True, False])
def test_a_spool_that_fails_is_told_of_once(
    run: Failing, signals: Signals, is_cut_short: bool
) -> None:
    """One warning, also if the end comes while a checkpoint that has failed is still ending."""
    others = _children()
    run.checkpoints.start(monotonic_ns())
    [child] = _children() - others
    if is_cut_short:
        _await_last_words(child, run)
    else:
        until_ns = monotonic_ns() + WAIT_NS
        while (ended := reap_child(child)) is None:
            assert monotonic_ns() < until_ns
            signals.wait_for_child(until_ns)
        run.checkpoints.ended(ended)
        assert run.events() == ["spool.failed"]
    assert run.checkpoints.stop(signals.wait_for_child, WAIT_NS)
    stored = run.end(signals)
    assert stored is not None
    assert stored.memory_fd is not None
    os.close(stored.memory_fd)
    assert run.events() == ["spool.failed"]


def _children() -> set[int]:
    pid = os.getpid()
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _await_last_words(child: int, run: Failing) -> None:
    """Wait until a child has ended, or has said what it had to say."""
    look = os.WEXITED | os.WNOWAIT | os.WNOHANG
    while not run.events() and os.waitid(os.P_PID, child, look) is None:
        threading.Event().wait(0.001)
