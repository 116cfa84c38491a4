"""Memory of the collector as it is installed: ``python -m bench.footprint``."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.report import Claim, Result, show
from bench.world import (
    PYTHON,
    SOURCES,
    Cgroup,
    cgroup,
    collector,
    compiled,
    missing,
    missing_cgroups,
    world,
)

TITLE = "Memory of the collector"
METHOD = (
    "The collector installed into an environment of its own (not editable, with compiled "
    "modules), beside idle processes in cgroups that look like containers. *Program*: the real "
    "one, sampling every 100 ms, RSS and PSS (`smaps_rollup`) at the end. *Simulated*: its "
    "sampler with a made-up clock on the same real `/proc`, so that long runs take seconds; "
    "with 40 containers the series outgrow their budget and become buckets. MiB."
)
STEP_SECONDS = 0.1
MIB = 1024 * 1024


def installed(folder: Path) -> Path:
    """Install the collector into a folder; return where its programs are."""
    target = folder / "venv"
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(target)}
    environment.pop("VIRTUAL_ENV", None)
    uv = Path(PYTHON).with_name("uv")
    flags = ["--quiet", "--locked", "--no-editable", "--no-default-groups", "--compile-bytecode"]
    subprocess.run(
        [uv, "sync", *flags, "--package", "runmeter-collector", "--python", PYTHON],
        cwd=SOURCES.parent,
        env=environment,
        check=True,
    )
    return target / "bin"


def program(
    folder: Path, count: int, samples: int, groups: Sequence[Cgroup]
) -> tuple[float, float, float]:
    """Return RSS, PSS and highest RSS of the real program, bytes."""
    with world(compiled("idle", folder), count, groups) as found:
        argv = collector("--interval=100ms", program=folder / "venv" / "bin" / "collector")
        pid = found.start(argv).pid
        time.sleep(samples * STEP_SECONDS + 0.5)
        status = _sizes(Path(f"/proc/{pid}/status"))
        return status["VmRSS"], _sizes(Path(f"/proc/{pid}/smaps_rollup"))["Pss"], status["VmHWM"]


def simulated(
    folder: Path, count: int, samples: int, groups: Sequence[Cgroup]
) -> list[dict[str, Any]]:
    """Return what the simulated run said of itself, a line per tenth."""
    with world(compiled("idle", folder), count, groups) as found:
        output = folder / "simulated.jsonl"
        python = str(folder / "venv" / "bin" / "python")
        argv = [python, "-I", str(SOURCES / "simulated.py"), str(samples)]
        running = found.start(argv, output)
        running.starter.wait(300)
        lines = [json.loads(line) for line in output.read_text().splitlines()]
    if not lines or not lines[-1]["method"]:
        raise RuntimeError(f"the simulated run has failed: {output.read_text()}")
    return lines


def _sizes(path: Path) -> dict[str, int]:
    """Return the sizes a file of ``Name: number kB`` lines gives, bytes."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value.split()[0]) * 1024
    return found


def run(quick: bool = False) -> Result:
    """Measure program and simulated runs."""
    if reason := missing() or missing_cgroups():
        return Result(TITLE, f"Skipped: {reason}.")
    samples = 100 if quick else 300
    long_samples = 1000 if quick else 10_000
    rows: list[tuple[str, ...]] = []
    claims: list[Claim] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        installed(folder)
        groups = [stack.enter_context(cgroup()) for _ in range(40)]
        for count in (500, 2000):
            rss, pss, peak = program(folder, count, samples, groups[:4])
            rows.append(_row("program", count, 4, samples, rss, pss, peak, "-"))
        for count, containers in ((500, 4), (500, 40)):
            lines = simulated(folder, count, long_samples, groups[:containers])
            last = lines[-1]
            rss, peak = last["rss_bytes"], last["peak_bytes"]
            shown = last["method"]
            rows.append(_row("simulated", count, containers, long_samples, rss, None, peak, shown))
            if containers == 4:
                text = f"500 processes, 4 containers, {long_samples} samples: 15 MiB"
                claims.append(Claim(text, rss, 15 * MIB, f"{rss / MIB:.1f} MiB"))
    header = ("run", "processes", "containers", "samples", "RSS", "PSS", "peak RSS", "percentiles")
    return Result(TITLE, METHOD, header, tuple(rows), tuple(claims))


def _row(
    kind: str,
    count: int,
    containers: int,
    samples: int,
    rss: float,
    pss: float | None,
    peak: float,
    method: str,
) -> tuple[str, ...]:
    shown = "-" if pss is None else f"{pss / MIB:.1f}"
    sizes = (f"{rss / MIB:.1f}", shown, f"{peak / MIB:.1f}")
    return (kind, str(count), str(containers), str(samples), *sizes, method)


if __name__ == "__main__":
    show(run("--quick" in sys.argv))
