"""Memory of a receiver that 256 clients push to for a minute."""

import sys
import threading
import time
from contextlib import ExitStack
from statistics import median

from bench.databases import folder, postgres
from bench.receivers import Load, Receiver, receiver
from bench.report import Claim, Result, show

CONCURRENCY = 256
SECONDS = 60.0
WARM_SECONDS = 10.0
LIMIT = 1.05


def run(quick: bool = False) -> Result:
    """Measure each database by itself."""
    seconds = 15.0 if quick else SECONDS
    with ExitStack() as held:
        place = held.enter_context(folder())
        urls = {"SQLite": str(place / "runs.db")}
        database = held.enter_context(postgres())
        if database is not None:
            urls["PostgreSQL"] = database.create_database()
        rows, claims = [], []
        for name, url in urls.items():
            with receiver(place, url) as server:
                load, first, last, most = _watched(server, seconds)
            growth = last / first
            figures = (f"{first:.1f}", f"{last:.1f}", f"{most:.1f}", f"{load.pushed_count}")
            rows.append((name, *figures, f"{sum(load.failures.values())}"))
            text = f"{name}: last third at most {LIMIT} of the first"
            claims.append(Claim(text, growth, LIMIT, f"{growth:.3f}"))
    return Result(
        "Memory under load",
        f"Resident memory of the receiver while {CONCURRENCY} pushes are always under way for "
        f"{seconds:.0f} s, read every quarter of a second after {WARM_SECONDS:.0f} s; medians of "
        "the first and the last third, MiB.",
        ("", "first third", "last third", "peak", "runs stored", "refused"),
        tuple(rows),
        tuple(claims),
    )


def _watched(server: Receiver, seconds: float) -> tuple[Load, float, float, float]:
    loads: list[Load] = []
    client = threading.Thread(
        target=lambda: loads.append(server.load(CONCURRENCY, 10**9, WARM_SECONDS + seconds))
    )
    client.start()
    time.sleep(WARM_SECONDS)
    read: list[float] = []
    while client.is_alive():
        read.append(server.rss_mib())
        client.join(0.25)
    if not loads:
        raise RuntimeError("the client failed; see above")
    third = len(read) // 3
    return loads[0], median(read[:third]), median(read[-third:]), max(read)


if __name__ == "__main__":
    show(run("--quick" in sys.argv))
