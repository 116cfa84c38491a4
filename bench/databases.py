"""Databases to be measured: a SQLite file, and a PostgreSQL started for the purpose."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from rig.postgres import Postgres as Postgres
from rig.postgres import server_programs


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for databases and logs, on the disk of temporary files."""
    with tempfile.TemporaryDirectory(prefix="runmeter-bench-") as name:
        yield Path(name)


@contextmanager
def postgres() -> Iterator[Postgres | None]:
    """Run a PostgreSQL with its defaults; None where its programs are missing."""
    programs = server_programs()
    if programs is None:
        yield None
        return
    server = Postgres(programs)
    try:
        server.start()
        yield server
    finally:
        server.close()
