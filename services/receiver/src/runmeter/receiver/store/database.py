"""The database that ``--db`` names."""

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

from runmeter.receiver.errors import DatabaseUnusable
from runmeter.service.values import is_host_name

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_NAME_MAX_BYTES = 255  # of every usual file system
_SCHEME = re.compile(r"(sqlite|postgres|postgresql)://", re.IGNORECASE)
# a mistyped URL, and libpq's host=… password=…, would be file names too, and be shown in errors
_PLAIN_PATH = re.compile(r"\.{0,2}/(?!/)|(?!\s)[^\"'\ufeff:@=\\]*(?<!\s)\Z")


class Database(NamedTuple):
    """A database: ``location`` is a SQLite path or a PostgreSQL URL, ``label`` has no password."""

    kind: Literal["sqlite", "postgres"]
    location: str
    label: str

    def require(self, serving: bool) -> None:
        """Check that a SQLite file exists, and can be written.

        Who only reads need not write it while another program has it open.

        Raises:
            DatabaseUnusable: it does not, or cannot.
        """
        if self.kind != "sqlite":
            return
        if not Path(self.location).exists():
            raise DatabaseUnusable(self.label, "there is no such file; name another in --db")
        if serving or not os.path.exists(f"{os.path.realpath(self.location)}-shm"):
            self.require_writable()

    def require_writable(self) -> None:
        """Check that this user may write the files of a SQLite database, before it is opened.

        SQLite opens a file that it cannot write, and leaves a ``-shm`` beside it that blocks
        everyone later, because it gets the same mode.

        Raises:
            DatabaseUnusable: it names the file that cannot be written.
        """
        base = os.path.realpath(self.location)
        for path in (base, f"{base}-wal", f"{base}-shm") if self.kind == "sqlite" else ():
            if os.path.exists(path) and not os.access(path, os.W_OK, effective_ids=True):
                raise DatabaseUnusable(self.label, f"this user may not write {path}")

    @property
    def ssl_mode(self) -> str:
        """The ``sslmode`` of a PostgreSQL URL; empty if none is given."""
        return parse_qs(urlsplit(self.location).query).get("sslmode", [""])[-1]

    def advice(self) -> str:
        """Return what to check when the database cannot be used."""
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
        ValueError: the message says what is allowed and does not quote the text, which may
            have a password.
    """
    found = _SCHEME.match(text)
    if found is not None:
        is_file = found[1].lower() == "sqlite"
        return _sqlite(text[found.end() :]) if is_file else _postgres(text)
    if text.startswith(":memory:") or _PLAIN_PATH.match(text):
        return _sqlite(text)
    raise ValueError(
        "must be a path (./ in front of one with : @ = \\ or quotes, or with a space at an end), "
        "sqlite://path or postgres://user@host/name"
    )


def _sqlite(path: str) -> Database:
    if not path or path.startswith(":memory:"):
        raise ValueError("must name a file; a database in memory is not supported")
    if "\0" in path:
        raise ValueError("must not contain NUL")
    if any(len(os.fsencode(part)) > _NAME_MAX_BYTES for part in Path(path).parts):
        raise ValueError(f"must not contain a name of more than {_NAME_MAX_BYTES} bytes")
    return Database("sqlite", path, path)


def _postgres(url: str) -> Database:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ValueError(
            "must be a valid URL: postgres://user@host:port/name, with %2F for / in a password, "
            "%23 for #, %3F for ? and %40 for @"
        ) from error
    if not is_host_name(parts.hostname or ""):
        raise ValueError("must have a valid name of a host: postgres://user@host:port/name")
    if not parts.path.strip("/"):
        raise ValueError("must name a database: postgres://user@host:port/name")
    if "@" in parts.path + parts.query + parts.fragment:  # what stands before it is a password
        raise ValueError("must have %40 for @, %2F for /, %23 for # and %3F for ? in a password")
    _check_options(options)
    return Database("postgres", url, f"postgres://{parts.hostname or ''}{port}{parts.path}")


def _check_options(options: dict[str, list[str]]) -> None:
    unknown = options.keys() - {"sslmode"}
    if unknown:
        raise ValueError(
            "may have ?sslmode=… only; certificates are named by PGSSLROOTCERT, PGSSLCERT and "
            "PGSSLKEY"
        )
    if not {*options.get("sslmode", ())} <= {*SSL_MODES}:
        raise ValueError(f"must have an sslmode of {', '.join(SSL_MODES)}")
