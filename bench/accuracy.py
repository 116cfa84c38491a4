"""CPU time of containers against the kernel's own counter: ``python -m bench.accuracy``."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.naive import KernelCounter, Naive
from bench.report import Claim, Result, show
from bench.workloads import Workload, workloads
from bench.world import CGROUPS, cgroup, collector, missing_cgroups, quiet_environment

TITLE = "CPU time of containers against the kernel's counter"
SECONDS = 6
INTERVALS = (0.5, 1.0, 2.0, 5.0)
QUICK_INTERVALS = (1.0,)
LONGEST_SECONDS = 60.0
METHOD = (
    f"Workloads of about {SECONDS} s in a cgroup of their own, measured at once by the kernel "
    "(`cpuacct.usage`, the truth), by Δ(utime+stime) of the processes in sight (what most tools "
    "do), by the ledger (the collector around the command, which uses no counters) and by a "
    "second collector beside it that may read the cgroup's counters. Cells: error of each at the "
    "intervals {intervals}. Peaks: highest CPU use in one interval, against the kernel's counter "
    "read every 20 ms and added up over the collector's own intervals."
)
ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'


class Errors(NamedTuple):
    """Relative errors of one run; 0.01 is 1 % too much."""

    kernel_seconds: float
    naive: float
    ledger: float
    counters: float
    ledger_peak: float
    counters_peak: float
    source: str  # what the collector beside it says its figures come from


def measure(workload: Workload, interval: float, folder: Path) -> Errors:
    """Run a workload once under all observers."""
    flag = f"--interval={round(interval * 1000)}ms"
    ledger_file, counters_file = folder / "ledger.json", folder / "counters.json"
    with cgroup() as group:
        with beside(flag, counters_file, folder / "log"):
            naive = Naive(group.entries[1], interval)
            kernel = KernelCounter(CGROUPS / "cpuacct" / group.path / "cpuacct.usage")
            naive.start()
            kernel.start()
            entries = [str(entry) for entry in group.entries]
            inner = ["sh", "-c", ENTER, "sh", *entries, "--", *workload.argv]
            subprocess.run(
                collector(flag, f"--summary-file={ledger_file}", "--", *inner),
                env=quiet_environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=LONGEST_SECONDS,
                check=False,  # some workloads end by a signal
            )
            naive_seconds = naive.stop()
            kernel.stop()
            truth = group.usage_ns() / 1e9
        later_truth = group.usage_ns() / 1e9  # something may have run on after the command
    ledger, counters = (json.loads(p.read_text()) for p in (ledger_file, counters_file))
    command = container(ledger, "command")
    counted = container(counters, group.name)
    return Errors(
        truth,
        naive_seconds / truth - 1,
        command["cpu_seconds"] / truth - 1,
        counted["cpu_seconds"] / later_truth - 1,
        command["cpu_cores"]["peak"] / _kernel_peak(kernel, ledger, interval) - 1,
        counted["cpu_cores"]["peak"] / _kernel_peak(kernel, counters, interval) - 1,
        counted["cpu_source"],
    )


def container(payload: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the container of that name in a summary."""
    found: dict[str, Any] = next(c for c in payload["containers"] if c["name"] == name)
    return found


def _kernel_peak(kernel: KernelCounter, payload: dict[str, Any], interval: float) -> float:
    start = datetime.fromisoformat(payload["start_time"]).timestamp()
    return kernel.peak_cores(start, interval, start + payload["duration_seconds"])


@contextmanager
def beside(flag: str, summary: Path, log: Path) -> Iterator[None]:
    """Run a collector of everything in sight; its summary is there when this ends."""
    with open(log, "w") as file:
        process = subprocess.Popen(
            collector(flag, f"--summary-file={summary}"),
            env=quiet_environment(),
            stdout=subprocess.DEVNULL,
            stderr=file,
        )
        try:
            deadline = time.monotonic() + LONGEST_SECONDS
            while "run.started" not in log.read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the collector has not started: {log.read_text()}")
                time.sleep(0.02)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LONGEST_SECONDS)


def run(quick: bool = False) -> Result:
    """Measure every workload at every interval."""
    if reason := missing_cgroups():
        return Result(TITLE, f"Skipped: {reason}.")
    intervals = QUICK_INTERVALS if quick else INTERVALS
    shown = ", ".join(f"{interval:g} s" for interval in intervals)
    found: dict[Workload, list[Errors]] = {}
    with tempfile.TemporaryDirectory() as name:
        for workload in workloads(Path(name), SECONDS):
            found[workload] = [measure(workload, each, Path(name)) for each in intervals]
            print(workload.name, *found[workload], sep="\n  ", file=sys.stderr, flush=True)
    columns = ("naive", "ledger", "counters", "ledger_peak", "counters_peak")
    return Result(
        TITLE,
        METHOD.format(intervals=shown),
        ("workload", "CPU s", *(column.replace("_peak", ", peak") for column in columns)),
        tuple(_row(workload, errors, columns) for workload, errors in found.items()),
        _claims(found),
        _notes(found),
    )


def _row(workload: Workload, errors: list[Errors], columns: tuple[str, ...]) -> tuple[str, ...]:
    seconds = " / ".join(f"{each.kernel_seconds:.1f}" for each in errors)
    cells = [
        " / ".join(_percent(getattr(each, column)) for each in errors) + " %" for column in columns
    ]
    return (workload.name, seconds, *cells)


def _percent(error: float) -> str:
    return f"{100 * error:+.0f}" if abs(error) > 0.1 else f"{100 * error:+.2f}"


def _claims(found: dict[Workload, list[Errors]]) -> tuple[Claim, ...]:
    waited = {w: errors for w, errors in found.items() if w.waits}
    return (
        _claim("ledger, children waited for: error at most 0.5 %", waited, _ledger, 0.005),
        _claim("cgroup counters: error at most 0.05 %", found, _counters, 0.0005),
    )


def _ledger(errors: Errors) -> float:
    return abs(errors.ledger)


def _counters(errors: Errors) -> float:
    return abs(errors.counters)


def _claim(
    text: str,
    found: dict[Workload, list[Errors]],
    error: Callable[[Errors], float],
    limit: float,
) -> Claim:
    all_errors = [(error(each), w.name) for w, errors in found.items() for each in errors]
    worst, name = max(all_errors)
    above = sum(value > limit for value, _ in all_errors)
    shown = f"worst {worst:.3%} ({name}); {above} of {len(all_errors)} runs above"
    return Claim(text, worst, limit, shown)


def _notes(found: dict[Workload, list[Errors]]) -> tuple[str, ...]:
    other = sum(each.source != "cgroup" for errors in found.values() for each in errors)
    return (f"Runs in which the counters could not be used throughout: {other}.",)


if __name__ == "__main__":
    show(run("--quick" in sys.argv))
