"""The database: open it, bring it up to date, read runs from it.

Two connections, so that a query does not wait for the writer's transaction. Whatever a database
raises becomes StoreUnavailable here and in `writer`, and the connection is opened anew after it:
a COMMIT that failed may leave its transaction open.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import structlog
from tortoise import Tortoise
from tortoise.backends.base.config_generator import expand_db_url
from tortoise.connection import get_connection, get_connections
from tortoise.exceptions import BaseORMException
from tortoise.expressions import Q
from tortoise.migrations.executor import MigrationExecutor, MigrationTarget
from tortoise.transactions import in_transaction

from runmeter.receiver import events
from runmeter.receiver.databases import Database
from runmeter.receiver.errors import DatabaseUnusable, StoreUnavailable
from runmeter.receiver.model import ListedRun, RunFilter, RunState, StoredRun, reads_as
from runmeter.receiver.records import RunRecord
from runmeter.receiver.store.migrating import advisory_lock, folder_lock

DATABASE_ERRORS = (
    BaseORMException,
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that was cut at an awkward moment
    OSError,
)
WRITING = "default"
READING = "reading"
CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 4.0  # with CONNECT_SECONDS within the ten that callers wait
READERS_MAX = 5  # connections of a pool

_APPS = {
    "runs": {
        "models": ["runmeter.receiver.records"],
        "migrations": "runmeter.receiver.migrations",
        "default_connection": WRITING,
    }
}
# for `tortoise -c runmeter.receiver.store.DEVELOPMENT makemigrations`: opens no database
DEVELOPMENT = {"connections": {WRITING: "sqlite://:memory:"}, "apps": _APPS, "use_tz": True}
_REASONS = {
    sqlite3.SQLITE_READONLY_DBMOVED: "its file was moved, removed or replaced",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_BUSY: "it is locked by another process",
    sqlite3.SQLITE_LOCKED: "it is locked by another process",
    sqlite3.SQLITE_IOERR: "its disk cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database, or damaged",
}
# of PostgreSQL, by SQLSTATE or its class
_STATES = {
    "08": "it cannot be reached",
    "25": "it is read-only",
    "28": "it does not let the receiver in",
    "3D": "it does not exist",
    "42P01": "its tables are missing",
    "53": "it has no room for more",
    "53100": "its disk is full",
    "57": "it is shutting down, or took too long",
    "58": "its disk cannot be read or written",
}
_UNREACHABLE = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


def reason_of(error: BaseException) -> str | None:
    """Say in plain words what is wrong with the whole database; None: only a statement failed."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, sqlite3.Error):
            code = getattr(found, "sqlite_errorcode", None)
            return None if code is None else _REASONS.get(code, _REASONS.get(code & 0xFF))
        if isinstance(found, asyncpg.PostgresError):
            state = str(found.sqlstate)
            return _STATES.get(state, _STATES.get(state[:2]))
        # the ORM's own error of a connection is an OSError that hides the cause
        if isinstance(found, _UNREACHABLE) and not isinstance(found, BaseORMException):
            return "it cannot be reached"
        inner = found.args[0] if found.args else None
        found = inner if isinstance(inner, BaseException) else found.__cause__
    return "it cannot be reached" if isinstance(error, _UNREACHABLE) else None


def is_transient(error: BaseException) -> bool:
    """Tell whether two transactions met, and the same one may pass when tried again."""
    return isinstance(error, asyncpg.TransactionRollbackError)


def unavailable(error: BaseException, doing: str) -> StoreUnavailable:
    """Return what the caller is told about a failed statement; the rest goes to the log."""
    reason = reason_of(error) or "a statement failed"
    structlog.get_logger().error(
        events.DATABASE_FAILED, doing=doing, reason=reason, error=f"{type(error).__name__}: {error}"
    )
    return StoreUnavailable(reason)


async def reopen(alias: str) -> None:
    """Drop a connection after a failure; the next statement opens a fresh one."""
    client = get_connection(alias)
    get_connections().discard(alias)
    with contextlib.suppress(*DATABASE_ERRORS, ValueError):
        await client.close()


def _orm_config(database: Database, patient: bool = False) -> dict[str, Any]:
    """Return what Tortoise opens; `patient`: statements may take as long as they do."""
    configure = _postgres if database.kind == "postgres" else _sqlite
    writing, reading = configure(database.location, patient)
    return {"connections": {WRITING: writing, READING: reading}, "apps": _APPS, "use_tz": True}


def _sqlite(path: str, patient: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    credentials = {
        "file_path": path,
        "page_size": 8192,  # before journal_mode, or it has no effect
        "busy_timeout": 5000,
        "journal_mode": "WAL",
        "synchronous": "FULL",  # an acknowledged run survives power loss
        "journal_size_limit": 8 * 2**20,
        # where nothing but the database's folder can be written, as in a read-only container,
        # statements that need a temporary file fail as "disk I/O error"
        "temp_store": "MEMORY",
    }
    engine = "runmeter.receiver.store.sqlite"
    return (
        {"engine": engine, "credentials": credentials},
        {"engine": engine, "credentials": {**credentials, "query_only": "ON"}},
    )


def _postgres(url: str, patient: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    bounds: dict[str, Any] = {"timeout": CONNECT_SECONDS}  # to connect
    if not patient:
        server = f"{STATEMENT_SECONDS * 1000:.0f}"
        # the server's bound ends the work, ours the wait where the server hangs
        bounds["command_timeout"] = STATEMENT_SECONDS + 1
        bounds["server_settings"] = {
            "statement_timeout": server,
            "idle_in_transaction_session_timeout": server,
            "application_name": "runmeter-receiver",
        }
    credentials = {**bounds, **expand_db_url(url)["credentials"]}
    engine = "runmeter.receiver.store.asyncpg_client"
    return (
        {"engine": engine, "credentials": {**credentials, "minsize": 0, "maxsize": 1}},
        {"engine": engine, "credentials": {"minsize": 0, "maxsize": READERS_MAX, **credentials}},
    )


async def migrate_database(database: Database) -> list[str]:
    """Bring the schema to the newest version; return the names of the migrations applied.

    Waits while another process does.

    Raises:
        DatabaseUnusable: it cannot be opened or written.
    """
    applied: list[str] = []

    def progress(event: str, app: str, name: str) -> None:
        if event == "apply_done":
            applied.append(name)

    with _explained(database):
        async with contextlib.AsyncExitStack() as stack:
            if database.kind == "sqlite":
                await stack.enter_async_context(folder_lock(database.location))
            stack.push_async_callback(Tortoise.close_connections)
            await _reach(database, _orm_config(database, patient=True))
            if database.kind == "postgres":
                await stack.enter_async_context(advisory_lock(get_connection(READING)))
            newest = [MigrationTarget(app, "__latest__") for app in _APPS]
            # only makes the table of notes: reading it while it is missing fails a transaction
            await MigrationExecutor(get_connection(WRITING), _APPS).migrate([])
            # steps and the notes of them together: who is killed between them leaves neither
            async with in_transaction(WRITING) as connection:
                executor = MigrationExecutor(connection, _APPS)
                await executor.migrate(newest, direction="forward", progress=progress)
    return applied


@contextlib.asynccontextmanager
async def open_store(database: Database, serving: bool = True) -> AsyncIterator[None]:
    """Hold the database open; every use of it happens inside, in this task or its children.

    Who does not serve need not be able to write at once, or at all.

    Raises:
        DatabaseUnusable: it cannot be opened or written, or its schema is not up to date.
    """
    try:
        with _explained(database):
            await _reach(database, _orm_config(database, patient=not serving))
            await _check_usable(database, serving)
        yield
    finally:
        await Tortoise.close_connections()


async def _reach(database: Database, config: dict[str, Any]) -> None:
    """Connect and read: Tortoise's migrations swallow the error of a database that is none."""
    await Tortoise.init(config=config, _enable_global_fallback=True)
    catalog = "sqlite_master" if database.kind == "sqlite" else "pg_class"
    await get_connection(WRITING).execute_query(f"SELECT 1 FROM {catalog} LIMIT 1")


async def _check_usable(database: Database, serving: bool) -> None:
    executor = MigrationExecutor(get_connection(WRITING), _APPS)
    if await executor.plan():
        raise DatabaseUnusable(
            database.label,
            "its tables are missing or older than this receiver; run `receiver migrate` on it "
            "first, or serve with --migrate",
        )
    if serving and database.kind == "sqlite":
        await get_connection(WRITING).execute_script("BEGIN IMMEDIATE; ROLLBACK")
    await get_connection(READING).execute_query("SELECT 1")


@contextlib.contextmanager
def _explained(database: Database) -> Any:
    try:
        yield
    except DATABASE_ERRORS as error:
        reason = reason_of(error) or str(error).rstrip(".")
        raise DatabaseUnusable(database.label, f"{reason}; {database.advice()}") from error


async def find_runs(wanted: RunFilter, now_ms: int) -> list[ListedRun]:
    """Return up to ``limit + 1`` runs, newest first, without their payloads.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    conditions = [Q(**wanted.scope._asdict()), _state_condition(wanted.states, now_ms)]
    bounds = {
        "id__lt": wanted.before_id,
        "received_at_ms__gte": wanted.since_ms,
        "received_at_ms__lt": wanted.until_ms,
        "run_id": wanted.run_id,
    }
    given = {name: value for name, value in bounds.items() if value is not None}
    query = RunRecord.filter(*conditions, **given).order_by("-id").limit(wanted.limit + 1)
    rows = await _read(
        query.using_db(get_connection(READING)).values_list(
            "id",
            "revision",
            "state",
            "received_at_ms",
            "updated_at_ms",
            "payload_size_bytes",
            "silent_after_ms",
        )
    )
    return [ListedRun(row[0], row[1], reads_as(row[2], row[6], now_ms), *row[3:6]) for row in rows]


async def read_runs(ids: Iterable[int], now_ms: int) -> dict[int, StoredRun]:
    """Return stored runs by id; those that are gone are left out.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    query = RunRecord.filter(id__in=list(ids)).using_db(get_connection(READING))
    rows = await _read(
        query.values_list(
            "id", "state", "silent_after_ms", "received_at_ms", "updated_at_ms", "payload"
        )
    )
    return {
        row[0]: StoredRun(row[0], reads_as(row[1], row[2], now_ms), row[3], row[4], bytes(row[5]))
        for row in rows
    }


async def _read(query: Any) -> Sequence[Any]:
    try:
        rows: Sequence[Any] = await query
    except DATABASE_ERRORS as error:
        await reopen(READING)
        raise unavailable(error, "reading runs") from error
    return rows


def _state_condition(states: frozenset[RunState], now_ms: int) -> Q:
    """Match the states that runs read as: RUNNING for too long in silence is INTERRUPTED."""
    silent = Q(state=int(RunState.RUNNING), silent_after_ms__lt=now_ms)
    heard = Q(silent_after_ms__isnull=True) | Q(silent_after_ms__gte=now_ms)
    either = []
    if RunState.RUNNING in states:
        either.append(Q(Q(state=int(RunState.RUNNING)), heard))
    if RunState.INTERRUPTED in states:
        either += (Q(state=int(RunState.INTERRUPTED)), silent)
    if RunState.COMPLETED in states:
        either.append(Q(state=int(RunState.COMPLETED)))
    return Q(*either, join_type="OR")
