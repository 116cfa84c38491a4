"""CPU time of one scan, side by side with other programs: ``python -m bench.cost``."""

import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench.meter import Costs, Meter, side_by_side
from bench.report import Claim, Result, show
from bench.world import (
    PYTHON,
    SOURCES,
    World,
    cgroup,
    collector,
    compiled,
    missing,
    missing_cgroups,
    world,
)

STEP_SECONDS = 0.2
SCANS = 128
TURN = 6
WARM_SECONDS = 2.5
INTERVAL_SECONDS = 2.0
EXPORTER = "prometheus-process-exporter"
TITLE = "CPU time of a scan"
METHOD = (
    "All programs run in a pid namespace of their own with that many idle processes, sleep "
    f"{STEP_SECONDS:g} s or more between scans (cold caches), and are measured by their CPU clock "
    f"from outside: the collector as installed over {SCANS} scans, the others in turns meanwhile. "
    "Milliseconds of CPU per scan, median of the turns; in brackets the "
    "collector's as a part of it. psutil: "
    "`process_iter(['pid','cpu_times','memory_info','name'])`. C: open, read and close every "
    "`/proc/<pid>/stat`, no parsing."
)
_CONFIG = "process_names:\n  - name: '{{.Comm}}'\n    cmdline: ['.+']\n"
_LOAD = """
all: $(shell seq 1 20000)
%: ; @echo "int f$@(int a) {{ return a * $@; }}" | cc -O2 -c -x c -o /dev/null -
"""


def measure(folder: Path, count: int, steps: int, container_count: int, load: bool) -> Costs:
    """Return the costs of all programs with ``count`` idle processes."""
    idle, reader = compiled("idle", folder), compiled("stat_reader", folder)
    with ExitStack() as stack:
        groups = [stack.enter_context(cgroup()) for _ in range(container_count)]
        found = stack.enter_context(world(idle, count, groups))
        step = max(STEP_SECONDS, count / 4000)  # psutil has to have time to rest, too
        if load:
            makefile = folder / "Makefile"
            makefile.write_text(_LOAD.replace("{{", "{").replace("}}", "}"))
            found.start(["make", "--silent", "-j4", f"--file={makefile}", "all"])
        ours = Meter(found.start(collector(f"--interval={round(STEP_SECONDS * 1000)}ms")).pid, 0.2)
        others = {
            "psutil": Meter(
                found.start([PYTHON, SOURCES / "psutil_reader.py", str(step)]).pid, step
            ),
            "C": Meter(found.start([reader, str(round(step * 1e6))]).pid, step),
        }
        if shutil.which(EXPORTER):
            others["exporter"] = stack.enter_context(exporter(found, folder, step))
        time.sleep(WARM_SECONDS)
        return side_by_side(ours, others, steps, TURN)


@contextmanager
def exporter(found: World, folder: Path, step: float) -> Iterator[Meter]:
    """Start Debian's exporter, asked once per step, without its most expensive figures."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = folder / "exporter.yaml"
    config.write_text(_CONFIG)
    flags = [f"-web.listen-address={address}", f"-config.path={config}"]
    flags += ["-gather-smaps=false", "-threads=false", "-children=false"]
    program = shutil.which(EXPORTER)
    assert program is not None
    running = found.start([program, *flags])
    yield Meter(running.pid, step, _scrape(f"http://{address}/metrics"))


def _scrape(url: str) -> Callable[[], None]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def scrape() -> None:
        with opener.open(url, timeout=20) as answer:
            answer.read()

    return scrape


def run(quick: bool = False) -> Result:
    """Measure all worlds; return the table and the targets."""
    if reason := missing():
        return Result(TITLE, f"Skipped: {reason}.")
    steps = 64 if quick else SCANS
    worlds = [("100", 100, 0, False), ("500", 500, 0, False), ("2000", 2000, 0, False)]
    if not missing_cgroups():
        worlds.append(("500 in 4 containers", 500, 4, False))
    worlds.append(("500, `make -j4` beside", 500, 0, True))
    costs: dict[str, Costs] = {}
    with tempfile.TemporaryDirectory() as name:
        for text, count, containers, load in worlds:
            costs[text] = measure(Path(name), count, steps, containers, load)
    notes = [] if shutil.which(EXPORTER) else [f"Without {EXPORTER}: it is not installed."]
    if missing_cgroups():
        notes.append(f"Without containers: {missing_cgroups()}.")
    return Result(
        TITLE,
        METHOD,
        ("processes", "collector", "psutil", "exporter", "C"),
        tuple(_row(text, found) for text, found in costs.items()),
        _claims(costs),
        tuple(notes),
    )


def _row(text: str, found: Costs) -> tuple[str, ...]:
    cells = [text, f"{found.ours_ms:.2f}"]
    for name in ("psutil", "exporter", "C"):
        if name in found.others_ms:
            cells.append(f"{median(found.others_ms[name]):.2f} ({found.ratio(name):.3f})")
        else:
            cells.append("-")
    return tuple(cells)


def _claims(costs: dict[str, Costs]) -> tuple[Claim, ...]:
    claims = []
    for count, part in (("500", 20), ("2000", 25)):
        found = costs[count]
        ratio = found.ratio("psutil")
        claims.append(
            Claim(f"{count} processes: 1/{part} of psutil", ratio, 1 / part, f"1/{1 / ratio:.1f}")
        )
        ratio = found.ratio("C")
        claims.append(Claim(f"{count} processes: 0.35 of C", ratio, 0.35, f"{ratio:.2f}"))
    share = costs["500"].ours_ms / (INTERVAL_SECONDS * 1000)
    text = "500 processes, every 2 s: 0.15 % of one core"
    return (*claims, Claim(text, share, 0.0015, f"{share:.3%}"))


if __name__ == "__main__":
    show(run("--quick" in sys.argv))
