"""How the cost of a scan grows with the number of processes: ``python -m bench.growth``."""

import sys
import tempfile
import time
from pathlib import Path

from bench.meter import Meter, side_by_side
from bench.report import Result, show
from bench.world import collector, compiled, missing, world

TITLE = "Growth of the cost of a scan"
STEP_SECONDS = 0.2
SCANS = 64  # all work that is spread over scans comes round once in so many
COUNTS = (100, 250, 500, 1000, 2000, 4000)
METHOD = (
    f"CPU of the collector over {SCANS} scans, {STEP_SECONDS:g} s apart, and of the C program "
    "that reads every `stat`, in turns, in a pid namespace with that many idle processes. Fitted "
    "by least squares of relative errors: fixed cost, and cost per process."
)


def measure(folder: Path, count: int, scans: int) -> tuple[float, float]:
    """Return milliseconds per scan of the collector and of C."""
    with world(compiled("idle", folder), count) as found:
        ours = Meter(found.start(collector("--interval=200ms")).pid, STEP_SECONDS)
        reader = compiled("stat_reader", folder)
        other = Meter(found.start([reader, str(round(STEP_SECONDS * 1e6))]).pid, STEP_SECONDS)
        time.sleep(2.0)
        costs = side_by_side(ours, {"C": other}, scans, 8)
        return costs.ours_ms, costs.ours_ms / costs.ratio("C")


def fit(points: list[tuple[int, float]]) -> tuple[float, float]:
    """Return a and b of the line a + b·n with the least squares of relative errors."""
    weights = [1 / (y * y) for _, y in points]
    total = sum(weights)
    mean_n = sum(w * n for w, (n, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    slope = sum(
        w * (n - mean_n) * (y - mean_y) for w, (n, y) in zip(weights, points, strict=True)
    ) / sum(w * (n - mean_n) ** 2 for w, (n, _) in zip(weights, points, strict=True))
    return mean_y - slope * mean_n, slope


def run(quick: bool = False) -> Result:
    """Measure all sizes and fit a line."""
    if reason := missing():
        return Result(TITLE, f"Skipped: {reason}.")
    with tempfile.TemporaryDirectory() as name:
        counts = COUNTS[::2] if quick else COUNTS
        found = [(count, *measure(Path(name), count, SCANS)) for count in counts]
    fixed, slope = fit([(count, ours) for count, ours, _ in found])
    c_fixed, c_slope = fit([(count, theirs) for count, _, theirs in found])
    rows = tuple(
        (str(n), f"{ours:.2f}", f"{fixed + slope * n:.2f}", f"{theirs:.2f}", f"{ours / theirs:.2f}")
        for n, ours, theirs in found
    )
    notes = (
        f"Collector: {fixed:.2f} ms + {1000 * slope:.2f} µs per process. "
        f"C: {c_fixed:.2f} ms + {1000 * c_slope:.2f} µs per process.",
    )
    return Result(
        TITLE, METHOD, ("processes", "collector", "fitted", "C", "ratio"), rows, (), notes
    )


if __name__ == "__main__":
    show(run("--quick" in sys.argv))
