"""What ``--db`` may name."""

from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from runmeter.receiver.errors import DatabaseUnusable


class Database(NamedTuple):
    """A database: `location` is a SQLite path or a PostgreSQL URL, `label` has no password."""

    kind: Literal["sqlite", "postgres"]
    location: str
    label: str

    def require(self) -> None:
        """Check that a SQLite file is there: opening one makes it.

        Raises:
            DatabaseUnusable: it is not.
        """
        if self.kind == "sqlite" and not Path(self.location).exists():
            raise DatabaseUnusable(self.label, "there is no such file; name another in --db")

    def advice(self) -> str:
        """Say what to look at when the database cannot be used."""
        if self.kind == "postgres":
            return "check that the server runs and that --db names host, user and database"
        path = Path(self.location)
        if path.is_dir():
            return "it is a folder; name a file in --db"
        if not path.parent.is_dir():
            return f"there is no folder {path.parent}; make it or name another path in --db"
        if path.exists():
            return (
                "--db must name a SQLite file, and this user must be able to write it and to "
                "create files beside it"
            )
        return f"this user must be able to create files in the folder {path.parent}"


def parse_database(text: str) -> Database:
    """Parse a path, ``sqlite://path`` or ``postgres://user:password@host:port/name``.

    Raises:
        ValueError: the text says what is allowed instead.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _sqlite(text)
    if scheme == "sqlite":
        return _sqlite(rest)
    if scheme in ("postgres", "postgresql"):
        return _postgres(text)
    raise ValueError("must be a path, sqlite://path or postgres://user@host/name")


def _sqlite(path: str) -> Database:
    if not path or path.startswith(":memory:"):
        raise ValueError("must name a file: what is stored has to last")
    if "\0" in path:
        raise ValueError("must not hold NUL")
    return Database("sqlite", path, path)


def _postgres(url: str) -> Database:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise ValueError("must be a valid URL: postgres://user@host:port/name") from error
    if not parts.path.strip("/"):
        raise ValueError("must name a database: postgres://user@host:port/name")
    return Database("postgres", url, f"postgres://{parts.hostname or ''}{port}{parts.path}")
