"""The same figures pushed to Debian's Prometheus Pushgateway, and to the receiver."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.databases import folder
from bench.load_http import figures
from bench.receivers import START_SECONDS, Load, Server, receiver, run_load
from bench.report import Result, show

PROGRAM = "prometheus-pushgateway"
CONCURRENCY = 32
BURSTS = (500, 1000, 2000)
MOST_SECONDS = 30.0
VARIANTS = {"Pushgateway": (), "Pushgateway, unchecked": ("--push.disable-consistency-check",)}


class Pushgateway(Server):
    """A Pushgateway that serves."""

    def load(self, concurrency: int, count: int, most_seconds: float = 60.0) -> Load:
        """Push groups of metrics with a client process."""
        client = [sys.executable, "-m", "bench.load_http", self.address]
        bounds = [f"--count={count}", f"--most-seconds={most_seconds}"]
        return run_load([*client, f"--concurrency={concurrency}", *bounds])


def run(quick: bool = False) -> Result:
    """Push bursts to each, in turns."""
    bursts = BURSTS[:1] if quick else BURSTS
    with ExitStack() as held:
        place = held.enter_context(folder())
        servers: dict[str, Server] = {
            "receiver, SQLite": held.enter_context(receiver(place, str(place / "runs.db")))
        }
        if shutil.which(PROGRAM):
            for number, (name, flags) in enumerate(VARIANTS.items()):
                held_at = place / str(number)
                servers[name] = held.enter_context(pushgateway(held_at, flags))
        rows = _measured(servers, bursts)
    blank = ("not installed", *["-"] * (len(bursts) + 2))
    rows += [(name, *blank) for name in VARIANTS if name not in servers]
    return Result(
        "Beside a Pushgateway",
        f"Bursts at concurrency {CONCURRENCY}, the servers in turns: runs to the receiver, "
        "acknowledged when they are durable; to Debian's prometheus-pushgateway the same figures "
        f"in text form by HTTP, {len(figures())} metrics in a group per run. It answers before "
        "anything is on the disk (it writes all it holds every five minutes) and keeps every group "
        "in memory until it is deleted; it checks each push against all metrics it holds, "
        "unless it is started without the check (*unchecked*). It is made for the last state of a "
        f"few jobs, not for a record of runs. A burst ends after {MOST_SECONDS:.0f} s at the "
        "latest. The clients are processes of their own, gRPC and aiohttp.",
        (
            "pushes/s",
            *(f"burst of {count}" for count in bursts),
            "MiB before",
            "MiB after",
            "KiB per run",
        ),
        tuple(rows),
    )


def _measured(servers: dict[str, Server], bursts: tuple[int, ...]) -> list[tuple[str, ...]]:
    before = {}
    rates: dict[str, list[str]] = {name: [] for name in servers}
    pushed = dict.fromkeys(servers, 0)
    for name, server in servers.items():
        server.load(CONCURRENCY, 100)  # warm
        before[name] = server.rss_mib()
    for count in bursts:
        for name, server in servers.items():
            load = server.load(CONCURRENCY, count, MOST_SECONDS)
            if load.failures:
                raise RuntimeError(f"{name}: {load.failures}")
            rates[name].append(f"{load.rate:.0f}")
            pushed[name] += load.pushed_count
    rows = []
    for name, server in servers.items():
        after = server.rss_mib()
        each = 1024 * (after - before[name]) / pushed[name]
        memory = (f"{before[name]:.1f}", f"{after:.1f}", f"{each:.1f}")
        rows.append((name, *rates[name], *memory))
    return rows


@contextmanager
def pushgateway(place: Path, flags: tuple[str, ...]) -> Iterator[Pushgateway]:
    """Run a Pushgateway on a free port, its file of metrics in a folder of its own."""
    place.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    own = (f"--web.listen-address=127.0.0.1:{port}", f"--persistence.file={place / 'metrics'}")
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, *own, *flags],
            stdout=log,
            stderr=log,
        )
    try:
        _await(port)
        yield Pushgateway(process, f"127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def _await(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the Pushgateway did not start")


if __name__ == "__main__":
    show(run("--quick" in sys.argv))
