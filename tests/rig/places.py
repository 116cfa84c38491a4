"""Databases of receivers under test, looked at past the receiver."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from rig.postgres import Postgres


class Place:
    """A database: ``url`` is what ``--db`` takes."""

    url: str

    def rows(self, sql: str) -> list[tuple[str, ...]]:
        """Run SQL over a connection of its own; return the rows as text."""
        raise NotImplementedError

    def locked(self) -> AbstractContextManager[None]:
        """Let every write wait, until it is given up, for as long as the context is open."""
        raise NotImplementedError

    def check_whole(self) -> None:
        """Check that the database is not damaged, as far as it can tell."""
        raise NotImplementedError

    def number(self, sql: str) -> int:
        """Return the one number that SQL answers."""
        ((found,),) = self.rows(sql)
        return int(found)

    def push_ids(self) -> Counter[str]:
        """Return how many rows there are of each push_id."""
        return Counter(push_id for (push_id,) in self.rows("SELECT push_id FROM run"))


class SqlitePlace(Place):
    """A SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = str(path)

    def rows(self, sql: str) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(self.path)) as database:
            return [tuple(map(str, row)) for row in database.execute(sql)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            yield
            database.execute("ROLLBACK")

    def check_whole(self) -> None:
        assert self.rows("PRAGMA integrity_check") == [("ok",)]
        assert self.rows("PRAGMA foreign_key_check") == []


class PostgresPlace(Place):
    """A database of a PostgreSQL server."""

    def __init__(self, server: Postgres, url: str) -> None:
        self.server = server
        self.url = url

    def rows(self, sql: str) -> list[tuple[str, ...]]:
        return self.server.execute(sql, self.url)

    @contextmanager
    def locked(self) -> Iterator[None]:
        asleep = (
            "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        )
        with ThreadPoolExecutor(1) as pool:
            lock = pool.submit(self.rows, "LOCK TABLE run; SELECT pg_sleep(600)")
            while not self.number(f"SELECT count(*) {asleep}"):
                assert not lock.done()
            try:
                yield
            finally:
                self.rows(f"SELECT pg_terminate_backend(pid) {asleep}")
                assert lock.exception() is not None

    def check_whole(self) -> None:
        orphans = "SELECT count(*) FROM run_container c LEFT JOIN run r ON r.id = c.run_id"
        assert self.number(f"{orphans} WHERE r.id IS NULL") == 0
