"""Durable pushes per second, beside a server that stores nothing and one that groups nothing."""

import sqlite3
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from uuid import uuid4

from bench.databases import folder, postgres
from bench.receivers import Load, Receiver, receiver
from bench.report import Claim, Result, at_least, show
from bench.runs import example_run
from runmeter.receiver.model import Push
from runmeter.receiver.store.records import CONTAINER_COLUMNS, container_row, run_columns
from runmeter.receiver.wire import reading
from runmeter.v1 import ingest_service_pb2

CONCURRENCIES = (1, 8, 32, 128)
ROUNDS = 7
SECONDS = 2.0
ROWS_PER_TRANSACTION = 100
_PRAGMAS = ("page_size = 8192", "journal_mode = WAL", "synchronous = FULL")


def run(quick: bool = False) -> Result:
    """Measure every variant in turns."""
    with ExitStack() as held:
        place = held.enter_context(folder())
        servers = {
            "no storage": held.enter_context(receiver(place, str(place / "no.db"), "nowhere")),
            "SQLite": held.enter_context(receiver(place, str(place / "group.db"))),
            "SQLite, one each": held.enter_context(
                receiver(place, str(place / "single.db"), "single")
            ),
        }
        database = held.enter_context(postgres())
        if database is not None:
            url = database.create_database()
            servers["PostgreSQL"] = held.enter_context(receiver(place, url))
            url = database.create_database()
            servers["PostgreSQL, one each"] = held.enter_context(receiver(place, url, "single"))
        rates, slowest = _measure(servers, 1 if quick else ROUNDS, 1.0 if quick else SECONDS)
        raw = _raw_rate(place / "raw.db", 1.0 if quick else SECONDS)
    rows = [
        (name, *(f"{rates[name, at]:.0f}" for at in CONCURRENCIES), f"{slowest[name]:.0f}")
        for name in servers
    ]
    rows.append(("sqlite3 alone, 100 rows a transaction", *["-"] * 3, f"{raw:.0f}", "-"))
    return Result(
        "Pushes per second",
        "One receiver and one client process, runs of "
        f"{len(example_run(str(uuid4()))) / 1024:.1f} KiB with four containers, each pushed once; "
        f"median of {ROUNDS} turns of {SECONDS:.0f} s. All are acknowledged after COMMIT: SQLite "
        "with `synchronous=FULL`, PostgreSQL with its defaults on the same disk. *No storage* is "
        "the same server with a writer that acknowledges at once; *one each* commits every push by "
        "itself. Client, receiver and database share the machine's cores.",
        ("pushes/s at concurrency", *map(str, CONCURRENCIES), "p99 at 32, ms"),
        tuple(rows),
        tuple(_claims(rates, list(servers))),
    )


def _measure(
    servers: dict[str, Receiver], rounds: int, seconds: float
) -> tuple[dict[tuple[str, int], float], dict[str, float]]:
    found: dict[tuple[str, int], list[Load]] = {}
    for server in servers.values():
        server.load(32, 10**6, 1.0)  # warm
    for _ in range(rounds):
        for at in CONCURRENCIES:
            for name, server in servers.items():
                load = server.load(at, 10**6, seconds)
                if load.failures:
                    raise RuntimeError(f"{name}: {load.failures}")
                found.setdefault((name, at), []).append(load)
    rates = {key: median(load.rate for load in loads) for key, loads in found.items()}
    return rates, {name: median(load.p99_ms for load in found[name, 32]) for name in servers}


def _claims(rates: dict[tuple[str, int], float], names: list[str]) -> list[Claim]:
    claims = []
    for name in ("SQLite", "PostgreSQL"):
        if name in names:
            single = f"{name}, one each"
            share = rates[name, 32] / rates["no storage", 32]
            claims.append(at_least(f"{name}, 32: 0.6 of no storage", share, 0.6))
            gain = rates[name, 32] / rates[single, 32]
            claims.append(at_least(f"{name}, 32: 1.5 of one transaction each", gain, 1.5))
            alone = rates[name, 1] / rates[single, 1]
            claims.append(at_least(f"{name}, 1: 0.9 of one transaction each", alone, 0.9))
    return claims


def _raw_rate(path: Path, seconds: float) -> float:
    """Return rows per second of sqlite3 alone, runs with their containers."""
    request = ingest_service_pb2.PushRunRequest.FromString(example_run(str(uuid4())))
    scope = reading.scope_from_wire(request.run.scope, "run.scope")
    run, payload = request.run, reading.stored_form(request.run, scope)
    columns = {**run_columns(Push(scope, run, payload, 1)), "digest": b""}  # of the first schema
    connection = sqlite3.connect(path)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    schema = Path(__file__).parent.parent / "services/receiver/tests/store/schema_0001.sql"
    connection.executescript(schema.read_text())
    insert = f"INSERT INTO run ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    marks = ", ".join("?" * len(CONTAINER_COLUMNS))
    inner = f"INSERT INTO run_container ({', '.join(CONTAINER_COLUMNS)}) VALUES ({marks})"
    start, count = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        with connection:
            for _ in range(ROWS_PER_TRANSACTION):
                columns["push_id"] = str(uuid4())
                row_id = connection.execute(insert, list(columns.values())).lastrowid or 0
                containers = run.payload.containers
                connection.executemany(inner, [container_row(row_id, c) for c in containers])
        count += ROWS_PER_TRANSACTION
    rate = count / (time.monotonic() - start)
    connection.close()
    return rate


if __name__ == "__main__":
    show(run("--quick" in sys.argv))
