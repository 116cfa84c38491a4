"""Errors of databases as texts for users."""

import os
import re
import sqlite3
import ssl
import sys
from collections.abc import Iterator
from typing import Any

import structlog
from tortoise.exceptions import BaseORMException

from runmeter.receiver import events
from runmeter.receiver.errors import StoreUnavailable
from runmeter.receiver.store.database import Database

_TABLES_MISSING = "its tables are missing"
_REASONS = {
    sqlite3.SQLITE_READONLY_DBMOVED: "its file was moved, removed or replaced",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_BUSY: "it is locked by another process",
    sqlite3.SQLITE_LOCKED: "it is locked by another process",
    sqlite3.SQLITE_IOERR: "its disk cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database, or damaged",
}
_UNREACHABLE = "it cannot be reached"
_TOO_LONG = "a statement took too long"
# of PostgreSQL, by SQLSTATE or its class
_STATES = {
    "08": _UNREACHABLE,
    "08P01": "its connection pooler refuses",  # the code of everything that PgBouncer says
    "25006": "it is read-only",
    "25P03": _TOO_LONG,
    "28": "it refuses the receiver's login",
    "3D": "it does not exist",
    "42501": "the receiver's role lacks a right",
    "42P01": _TABLES_MISSING,
    "53": "it is out of connections, memory or disk space",
    "53100": "its disk is full",
    "53300": "it has too many connections",
    "55P03": "a table is locked",
    "57": "it is shutting down, or ends connections",
    "57014": _TOO_LONG,
    "58": "its disk cannot be read or written",
    "XX001": "it is damaged",
    "XX002": "it is damaged",
}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_NAMING = (
    "sslrootcert or PGSSLROOTCERT names the file of its CA, sslcert and sslkey or PGSSLCERT and "
    "PGSSLKEY those of a client"
)
_NO_TLS = "rejected SSL upgrade"  # asyncpg's ConnectionError, which has no type of its own


def database_errors() -> tuple[type[Exception], ...]:
    """Return what databases raise."""
    return (BaseORMException, sqlite3.Error, *_postgres_errors(), *_unreachable())


def _asyncpg() -> Any:
    """Return asyncpg if PostgreSQL is used; SQLite does not need the time of its import."""
    return sys.modules.get("asyncpg")


def _postgres_errors() -> tuple[type[Exception], ...]:
    return (_asyncpg().PostgresError,) if _asyncpg() else ()


def _unreachable() -> tuple[type[Exception], ...]:
    if not _asyncpg():
        return (OSError,)
    # the second: of a connection that was cut at an awkward moment
    return (OSError, _asyncpg().InternalClientError, _asyncpg().InterfaceError)


def reason_of(error: BaseException) -> str | None:
    """Describe what is wrong with the database; None: only a statement failed."""
    for found in _causes(error):
        if isinstance(found, sqlite3.Error):
            code = getattr(found, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_ERROR and str(found).startswith("no such table"):
                return _TABLES_MISSING
            return None if code is None else _REASONS.get(code, _REASONS.get(code & 0xFF))
        if isinstance(found, _postgres_errors()):
            state = str(getattr(found, "sqlstate", ""))
            return _STATES.get(state, _STATES.get(state[:2]))
        if isinstance(found, TimeoutError):
            return "it does not answer in time"
        if isinstance(found, _unreachable()):
            return _UNREACHABLE
    return None


def text_of(error: BaseException) -> str:
    """Return the kind and the first line of an error; further lines are hints and rows."""
    return f"{type(error).__name__}: {_said(error)}"


def _said(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def is_transient(error: BaseException) -> bool:
    """Return whether two transactions conflicted, so that a retry may succeed."""
    asyncpg = _asyncpg()
    return bool(asyncpg) and isinstance(error, asyncpg.TransactionRollbackError)


def unavailable(error: BaseException, doing: str) -> StoreUnavailable:
    """Log a failed statement; return the error for the caller, which has only the reason."""
    reason = reason_of(error) or "a statement failed"
    structlog.get_logger().error(
        events.DATABASE_FAILED, doing=doing, reason=reason, error=text_of(error)
    )
    return StoreUnavailable(reason)


def explain(error: BaseException, database: Database) -> str:
    """Describe what is wrong, and what to do."""
    for found in _causes(error):
        reason = _specific_reason(found, database)
        if reason:
            return reason
    reason = reason_of(error) or _said(error)
    return f"{reason}; {database.advice()}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes; errors of the ORM have the cause as their argument."""
    found: BaseException | None = error
    while found is not None:
        yield found
        inner = found.args[0] if found.args else None
        found = inner if isinstance(inner, BaseException) else found.__cause__


def _specific_reason(error: BaseException, database: Database) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        what = error.verify_message.rstrip(".")
        return f"its certificate is not trusted: {what}; {_NAMING}"
    if isinstance(error, OSError) and (name := _unreadable(error, database)):
        return f"the file that {name} names cannot be read"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {error.reason or 'the connection was closed'}; {_NAMING}"
    if isinstance(error, ConnectionError) and _NO_TLS in str(error):
        asked = f"sslmode={database.parameters.get('sslmode', '…')}"
        return f"the server does not speak TLS, which {asked} asks for"
    if not (asyncpg := _asyncpg()):
        return None
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return _missing_right(_said(error))
    if isinstance(error, asyncpg.ProtocolViolationError):
        return f"its connection pooler refuses: {_said(error)}"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return f"{_said(error)}; {_NAMING}"
    return None


def _unreadable(error: OSError, database: Database) -> str | None:
    """Return what names a file of certificates that cannot be read."""
    if database.kind != "postgres":
        return None
    for name in _FILES:
        path = database.parameters.get(name)
        if path and not os.access(path, os.R_OK):
            return name
    # a socket may be missing, too
    if isinstance(error, FileNotFoundError) and database.is_remote:
        return "PGSSLROOTCERT, PGSSLCERT, PGSSLKEY or PGSSLCRL"
    return None


def _missing_right(said: str) -> str:
    schema = re.fullmatch(r"permission denied for schema (.+)", said)
    if schema is None:
        return f"the role lacks a right: {said}; make it the owner of the tables"
    return (
        f"the role may not create tables in schema {schema[1]}: make it the owner of the database, "
        f"or GRANT CREATE ON SCHEMA {schema[1]}"
    )
