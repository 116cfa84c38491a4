"""What is missing of thousands of processes that end at once: ``python -m bench.storms``."""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench.accuracy import ENTER, LONGEST_SECONDS, beside, container
from bench.report import Claim, Result, show
from bench.world import cgroup, collector, missing_cgroups, quiet_environment

TITLE = "CPU time of fork storms"
PROCESSES = 3000
REPEATS = 5
INTERVAL = "--interval=2s"
METHOD = (
    f"{PROCESSES} processes started by one parent that waits for each, with one or eight of them "
    f"at a time; {REPEATS} runs. Missing: what the kernel's counter of the cgroup has more than "
    "each source, divided by the number of processes; negative: less. `getrusage`: what the "
    "parent itself is shown (RUSAGE_SELF and RUSAGE_CHILDREN) as it ends; no reader of ended "
    "processes can be shown more. The parent's start outside the cgroup and its exit make a "
    "difference of less than 1 µs. Cells: median (lowest to highest)."
)
_STORM = """
import os, resource, sys
argv, at_once, count, report = sys.argv[4:], int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
running = 0
for _ in range(count):
    os.posix_spawn(argv[0], argv, os.environ)
    running += 1
    if running == at_once:
        os.wait()
        running -= 1
for _ in range(running):
    os.wait()
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
with open(report, "w") as file:
    file.write(str(sum(each.ru_utime + each.ru_stime for each in used)))
os._exit(0)
"""


class Storm(NamedTuple):
    """A program that is started again and again; ``at_once``: how many of it run."""

    name: str
    argv: tuple[str, ...]
    at_once: int


STORMS = (
    Storm("`sh -c :`", ("/bin/sh", "-c", ":"), 1),
    Storm("`sh -c :`, 8 at a time", ("/bin/sh", "-c", ":"), 8),
    Storm("`/bin/true`", ("/bin/true",), 1),
    Storm("`/bin/true`, 8 at a time", ("/bin/true",), 8),
)


class Found(NamedTuple):
    """CPU seconds of one storm by source; ``later_kernel``: when the counters were read."""

    kernel: float
    later_kernel: float
    rusage: float
    ledger: float
    counters: float

    def missing_us(self, source: str) -> float:
        """Return what a source lacks for each process, in microseconds."""
        truth = self.later_kernel if source == "counters" else self.kernel
        return (truth - float(getattr(self, source))) * 1e6 / PROCESSES


def measure(storm: Storm, folder: Path) -> Found:
    """Run a storm once under all observers."""
    names = ("ledger", "counters", "rusage", "log")
    ledger_file, counters_file, rusage_file, log = (folder / name for name in names)
    parent = [sys.executable, "-S", "-c", _STORM, str(storm.at_once), str(PROCESSES)]
    parent += [str(rusage_file), *storm.argv]
    with cgroup() as group:
        with beside(INTERVAL, counters_file, log):
            entries = [str(entry) for entry in group.entries]
            inner = ["sh", "-c", ENTER, "sh", *entries, "--", *parent]
            subprocess.run(
                collector(INTERVAL, f"--summary-file={ledger_file}", "--", *inner),
                env=quiet_environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=LONGEST_SECONDS,
                check=True,
            )
            kernel = group.usage_ns() / 1e9
        later_kernel = group.usage_ns() / 1e9
    ledger, counters = (json.loads(path.read_text()) for path in (ledger_file, counters_file))
    return Found(
        kernel,
        later_kernel,
        float(rusage_file.read_text()),
        container(ledger, "command")["cpu_seconds"],
        container(counters, group.name)["cpu_seconds"],
    )


def run(quick: bool = False) -> Result:
    """Measure every storm."""
    if reason := missing_cgroups():
        return Result(TITLE, f"Skipped: {reason}.")
    found: dict[Storm, list[Found]] = {}
    with tempfile.TemporaryDirectory() as name:
        for storm in STORMS:
            found[storm] = [measure(storm, Path(name)) for _ in range(1 if quick else REPEATS)]
            print(storm.name, *found[storm], sep="\n  ", file=sys.stderr, flush=True)
    sources = ("rusage", "ledger", "counters")
    header = ("storm", "CPU s", "`getrusage`", "ledger", "counters", "ledger, error")
    rows = []
    for storm, runs in found.items():
        missing = [_spread([each.missing_us(s) for each in runs]) + " µs" for s in sources]
        seconds = _spread([each.kernel for each in runs])
        error = _spread([100 * (each.ledger / each.kernel - 1) for each in runs])
        rows.append((storm.name, seconds, *missing, f"{error} %"))
    return Result(TITLE, METHOD, header, tuple(rows), (_claim(found),))


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _claim(found: dict[Storm, list[Found]]) -> Claim:
    """The ledger shows what the kernel shows the parent."""
    pairs = [(each.rusage, each.ledger) for runs in found.values() for each in runs]
    worst = max(abs(ledger / rusage - 1) for rusage, ledger in pairs)
    text = "ledger against `getrusage` of the storm's parent: at most 0.1 %"
    return Claim(text, worst, 0.001, f"worst {worst:.3%}")


if __name__ == "__main__":
    show(run("--quick" in sys.argv))
