"""Why a database cannot be used at the start, and what to do: one sentence."""

import re
import ssl
from collections.abc import Iterator

import asyncpg  # type: ignore[import-untyped]

from runmeter.receiver.databases import Database
from runmeter.receiver.store.reasons import reason_of

_NO_TLS = "rejected SSL upgrade"  # asyncpg's ConnectionError, which has no type of its own


def explain(error: BaseException, database: Database) -> str:
    """Say what is wrong, and what mends it."""
    for found in _causes(error):
        told = _told(found, database)
        if told:
            return told
    reason = reason_of(error) or str(error).rstrip(".")
    return f"{reason}; {database.advice()}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Go from an error to what it was made from; the ORM's have it as their argument."""
    found: BaseException | None = error
    while found is not None:
        yield found
        inner = found.args[0] if found.args else None
        found = inner if isinstance(inner, BaseException) else found.__cause__


def _told(error: BaseException, database: Database) -> str | None:
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return _missing_right(str(error))
    if isinstance(error, ssl.SSLCertVerificationError):
        what = error.verify_message.rstrip(".")
        return f"its certificate is not trusted: {what}; PGSSLROOTCERT names the file of its CA"
    if isinstance(error, ConnectionError) and _NO_TLS in str(error):
        asked = f"sslmode={database.ssl_mode or '…'}"
        return f"the server does not speak TLS, which {asked} asks for"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return f"{str(error).splitlines()[0]}; PGSSLROOTCERT, PGSSLCERT and PGSSLKEY name files"
    return None


def _missing_right(said: str) -> str:
    schema = re.fullmatch(r"permission denied for schema (.+)", said)
    if schema is None:
        return f"the role may not do what is needed: {said}; make it the owner of the tables"
    return (
        f"the role may not create tables in schema {schema[1]}: make it the owner of the database, "
        f"or GRANT CREATE ON SCHEMA {schema[1]}"
    )
