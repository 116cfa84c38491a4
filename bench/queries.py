"""Queries and pushes as the table grows: 10⁴, 10⁵, 10⁶ runs, on SQLite and PostgreSQL."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from bench.databases import Postgres, folder, postgres
from bench.load import SPREAD
from bench.receivers import READ_TOKEN, ROOT, Receiver, receiver
from bench.report import Claim, Result, at_least, show
from bench.runs import SCOPE, example_run
from runmeter.receiver.model import Push
from runmeter.receiver.store.records import CONTAINER_COLUMNS, container_row, run_columns
from runmeter.receiver.wire import reading
from runmeter.v1 import ingest_service_pb2

SIZES = (10**4, 10**5, 10**6)
RUNS_OF_SCOPE = 2000
PAGES = {"newest 50": 50, "page of 1000": 1000}
ROUNDS = 3
LOAD_SECONDS = 4.0
FILL_SECONDS = 1800.0  # for one statement; a slow disk takes minutes for a million runs


def run(quick: bool = False) -> Result:
    """Fill, then measure the sizes in turns, one database after the other."""
    sizes = SIZES[:2] if quick else SIZES
    rows: list[tuple[str, ...]] = []
    claims: list[Claim] = []
    with ExitStack() as held:
        place = held.enter_context(folder())
        found = {"SQLite": _measured(lambda size: _sqlite(place / f"{size}.db", size), sizes)}
        database = held.enter_context(postgres())
        if database is not None:
            found["PostgreSQL"] = _measured(lambda size: _postgres(database, size), sizes)
    for name, figures in found.items():
        for what, values in figures.items():
            digits = 0 if what == "pushes/s" or what.startswith("bytes") else 2
            rows.append((f"{name}, {what}", *(f"{value:.{digits}f}" for value in values)))
        claims += _claims(name, figures, sizes)
    return Result(
        "Growing tables",
        f"A job with {RUNS_OF_SCOPE} runs, spread evenly over the whole table among other jobs; "
        "its newest 50 and its newest 1000 runs by `ListRuns`, from a client process with one "
        "connection, milliseconds, medians of 100 and 20 calls, the sizes in turns, all pages in "
        f"memory. Then pushes at concurrency 32, {LOAD_SECONDS:.0f} s in turns, median of "
        f"{ROUNDS}. Bytes are those of all files, indexes and containers included.",
        ("", *(f"{size:,} runs".replace(",", " ") for size in sizes)),
        tuple(rows),
        tuple(claims),
    )


def _claims(name: str, figures: dict[str, list[float]], sizes: Sequence[int]) -> list[Claim]:
    text = f"from {sizes[0]} to {sizes[-1]} runs"
    claims = []
    for what in PAGES:
        growth = figures[f"{what}, ms"][-1] / figures[f"{what}, ms"][0]
        claims.append(Claim(f"{name}, {what}: ≤ 2 times {text}", growth, 2.0, f"{growth:.2f}"))
    share = figures["pushes/s"][-1] / figures["pushes/s"][0]
    claims.append(at_least(f"{name}, pushes: at least 0.8 {text}", share, 0.8))
    return claims


def _measured(
    fill: Callable[[int], tuple[str, float]], sizes: Sequence[int]
) -> dict[str, list[float]]:
    """Fill a database of each size, then ask and push in turns; one figure per size."""
    filled = [fill(size) for size in sizes]
    with ExitStack() as held:
        place = held.enter_context(folder())
        servers = [held.enter_context(receiver(place, url)) for url, _ in filled]
        figures = {f"{what}, ms": _asked(servers, limit) for what, limit in PAGES.items()}
        rates: list[list[float]] = [[] for _ in servers]
        for server in servers:
            server.load(32, 10**6, 1.0)  # warm
        for _ in range(ROUNDS):
            for server, known in zip(servers, rates, strict=True):
                load = server.load(32, 10**6, LOAD_SECONDS)
                if load.failures:
                    raise RuntimeError(f"pushes failed: {load.failures}")
                known.append(load.rate)
        figures["pushes/s"] = [median(known) for known in rates]
    figures["bytes per run"] = [size_bytes for _, size_bytes in filled]
    return figures


def _asked(servers: Sequence[Receiver], limit: int) -> list[float]:
    client = [sys.executable, "-m", "bench.asking", *(server.address for server in servers)]
    count = 20 if limit > 100 else 100
    done = subprocess.run(
        [*client, f"--token={READ_TOKEN}", f"--limit={limit}", f"--count={count}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return [float(value) for value in json.loads(done.stdout)]


def _sqlite(path: Path, size: int) -> tuple[str, float]:
    with receiver(path.parent, str(path)):
        pass  # it has made the tables
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")  # of this connection only
    series = f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {size}) "
    spread = f"printf('%08x', (i * {SPREAD}) % 4294967296)"
    for statement in _statements(f"{series} SELECT i FROM n)", spread, lambda raw: f"x'{raw}'"):
        connection.execute(_sized(statement, size))
    connection.execute("ANALYZE")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return str(path), path.stat().st_size / size


def _postgres(server: Postgres, size: int) -> tuple[str, float]:
    url = server.create_database()
    with folder() as place, receiver(place, url):
        pass
    spread = f"lpad(to_hex((i * {SPREAD}) % 4294967296), 8, '0')"
    series = f"generate_series(1::bigint, {size}) AS n(i)"
    for statement in _statements(series, spread, lambda raw: rf"'\x{raw}'::bytea"):
        server.execute(_sized(statement, size), url, FILL_SECONDS)
    for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
        server.execute(statement, url, FILL_SECONDS)
    total = "pg_total_relation_size('run') + pg_total_relation_size('run_container')"
    return url, float(server.execute(f"SELECT {total}", url)[0][0]) / size


def _sized(statement: str, size: int) -> str:
    return statement.replace("$JOBS", str(max(1, size // RUNS_OF_SCOPE)))


def _statements(series: str, spread: str, as_bytes: Callable[[str], str]) -> list[str]:
    """Return what fills the tables: the example run again and again, with its containers."""
    request = ingest_service_pb2.PushRunRequest.FromString(example_run(str(uuid4())))
    scope = reading.scope_from_wire(request.run.scope, "run.scope")
    run, payload = request.run, reading.stored_form(request.run, scope)

    def literal(value: Any) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, bytes):
            return as_bytes(value.hex())
        return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)

    columns = run_columns(Push(scope, run, payload, 1_790_000_700_000))
    values = {name: literal(value) for name, value in columns.items()}
    values["push_id"] = f"{spread} || '-0000-4000-8000-000000000000'"
    values["job"] = f"CASE i % $JOBS WHEN 0 THEN '{SCOPE['job']}' ELSE 'job-' || i % $JOBS END"
    containers = ", ".join(
        f"({', '.join(literal(value) for value in container_row(0, container)[1:])})"
        for container in run.payload.containers
    )
    inner = ", ".join(f"c.column{number}" for number in range(1, len(CONTAINER_COLUMNS)))
    return [
        f"INSERT INTO run ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {series}",
        f"INSERT INTO run_container ({', '.join(CONTAINER_COLUMNS)}) SELECT run.id, {inner} "
        f"FROM run CROSS JOIN (VALUES {containers}) AS c ORDER BY run.id",
    ]


if __name__ == "__main__":
    show(run("--quick" in sys.argv))
