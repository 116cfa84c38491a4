"""Databases of receivers under test, looked at past the receiver."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from rig.postgres import Postgres


class Place:
    """A database: ``url`` is what ``--db`` takes."""

    url: str

    def rows(self, sql: str) -> list[tuple[str, ...]]:
        """Run SQL over a connection of its own; return the rows as text."""
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

    def check_whole(self) -> None:
        orphans = "SELECT count(*) FROM run_container c LEFT JOIN run r ON r.id = c.run_id"
        assert self.number(f"{orphans} WHERE r.id IS NULL") == 0
