"""The database that ``--db`` names."""

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from runmeter.receiver.errors import DatabaseUnusable
from runmeter.service.values import is_host_name

APPLICATION = "runmeter-receiver"
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_ANY: tuple[str, ...] = ()
# the parameters of libpq that asyncpg takes, with their values
_PARAMETERS = {
    **dict.fromkeys(("host", "port", "user", "password", "dbname", "passfile"), _ANY),
    **dict.fromkeys(("application_name", "options", "connect_timeout"), _ANY),
    **dict.fromkeys(("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword"), _ANY),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "target_session_attrs": (
        *("any", "primary", "standby"),
        *("prefer-standby", "read-write", "read-only"),
    ),
}
_NAME_MAX_BYTES = 255  # of every usual file system
_SCHEME = re.compile(r"(sqlite|postgres|postgresql)://", re.IGNORECASE)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::([^:]*))?")
_SECONDS = re.compile(r"[1-9]\d{0,3}", re.ASCII)
# a mistyped URL, and libpq's host=… password=…, would be file names too, and be shown in errors
_PLAIN_PATH = re.compile(r"\.{0,2}/(?!/)|(?!\s)[^\"'\ufeff:@=\\]*(?<!\s)\Z")


class Database(NamedTuple):
    """A database: ``location`` is a SQLite path or a PostgreSQL URL, ``label`` has no password."""

    kind: Literal["sqlite", "postgres"]
    location: str
    label: str

    def require(self, serving: bool) -> None:
        """Check that a SQLite file exists, and can be written.

        Without ``serving`` it need not be writable while another program has it open.

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

        SQLite opens a file that it cannot write, and leaves a ``-shm`` of the same mode beside it,
        which blocks the next start.

        Raises:
            DatabaseUnusable: it names the file that cannot be written.
        """
        base = os.path.realpath(self.location)
        for path in (base, f"{base}-wal", f"{base}-shm") if self.kind == "sqlite" else ():
            if os.path.exists(path) and not os.access(path, os.W_OK, effective_ids=True):
                raise DatabaseUnusable(self.label, f"this user may not write {path}")

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of a PostgreSQL URL, by their names in libpq."""
        return _parameters(urlsplit(self.location).query)

    @property
    def is_remote(self) -> bool:
        """Whether a PostgreSQL URL names a host that is no folder of a Unix socket."""
        host = self.parameters.get("host") or unquote(urlsplit(self.location).netloc)
        return bool(host) and not host.rpartition("@")[2].startswith("/")

    @property
    def dsn(self) -> str:
        """A PostgreSQL URL as asyncpg reads it."""
        given = {"application_name": APPLICATION, **self.parameters}
        given.pop("connect_timeout", None)  # asyncpg has it as an argument
        parts = urlsplit(self.location)
        path = "" if "dbname" in given else parts.path  # a path / would be an empty name
        return urlunsplit(parts._replace(path=path, query=urlencode(given, quote_via=quote)))

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
        parameters = _parameters(parts.query)
    except ValueError as error:
        raise ValueError(
            "must be a valid URL: postgres://user@host:port/name, with %2F for / in a password, "
            "%23 for #, %3F for ? and %40 for @"
        ) from error
    login, _, hosts = parts.netloc.rpartition("@")
    if parts.fragment or "@" in login + parts.path + parts.query:
        raise ValueError(
            "must have %40 for @, %2F for /, %23 for # and %3F for ? in a user, password or name"
        )
    if _BAD_PERCENT.search(url):
        raise ValueError("must have %25 for %, and no %00")
    _check_parameters(parameters)
    user, _, password = login.partition(":")
    name = parts.path.removeprefix("/")
    places = {"host": hosts, "port": hosts, "user": user, "password": password, "dbname": name}
    if any(place and key in parameters for key, place in places.items()):
        raise ValueError("must not have host, port, user, password or dbname after the ? as well")
    _check_hosts(hosts, parameters)
    if not name.strip("/") and "dbname" not in parameters:
        raise ValueError("must name a database: postgres://user@host:port/name")
    shown = hosts or parameters.get("host", "")
    return Database("postgres", url, f"postgres://{shown}/{name or parameters['dbname']}")


def _parameters(query: str) -> dict[str, str]:
    """Parse the query of a URL as libpq does, for which + is no space."""
    found = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(query))
    # as JDBC has it, which libpq takes, too
    return dict(("sslmode", "require") if pair == ("ssl", "true") else pair for pair in found)


def _check_parameters(parameters: dict[str, str]) -> None:
    if not parameters.keys() <= _PARAMETERS.keys():
        raise ValueError(f"may have these parameters only: {', '.join(_PARAMETERS)}")
    for name, value in parameters.items():
        if not value:
            raise ValueError(f"must have a value of {name}")
        if _PARAMETERS[name] and value not in _PARAMETERS[name]:
            raise ValueError(f"must have one of {', '.join(_PARAMETERS[name])} as {name}")
    if not _SECONDS.fullmatch(parameters.get("connect_timeout", "1")):
        raise ValueError("must have whole seconds from 1 to 9999 as connect_timeout")


def _check_hosts(hosts: str, parameters: dict[str, str]) -> None:
    """Check hosts before the ?, with ports, or those after it."""
    listed = hosts.split(",") if hosts else []
    found = [_HOST.fullmatch(one) for one in listed]
    names = [unquote(one[1] or "") for one in found if one and not one[1].startswith("[")]
    ports = [one[2] for one in found if one and one[2]]
    if "host" in parameters:
        names = parameters["host"].split(",")
    ports += parameters["port"].split(",") if "port" in parameters else []
    is_valid = None not in found and all(map(_is_host, names))
    if not is_valid:
        raise ValueError("must have a valid name of a host: postgres://user@host:port/name")
    if not all(port.isascii() and port.isdigit() and 0 < int(port) < 2**16 for port in ports):
        raise ValueError("must have a valid port: postgres://user@host:port/name")


def _is_host(name: str) -> bool:
    is_folder = name.startswith("/")  # of a Unix socket
    return is_folder or bool(name and ":" not in name and is_host_name(name))
