"""The database: open it, bring it up to date. Reading and writing have modules of their own.

Two connections, so that a query does not wait for the writer's transaction. After an error they
give up what may be broken by themselves (``asyncpg_client``, ``sqlite.client``).
"""

import contextlib
import pkgutil
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import structlog
from tortoise import Tortoise
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.connection import get_connection
from tortoise.transactions import in_transaction

from runmeter.receiver import events
from runmeter.receiver.errors import DatabaseUnusable
from runmeter.receiver.store import migrations
from runmeter.receiver.store.database import Database
from runmeter.receiver.store.migrating import folder_lock, lock_migrations
from runmeter.receiver.store.reasons import database_errors, explain, unavailable
from runmeter.receiver.store.sqlite import files
from runmeter.receiver.store.sqlite.client import Client as SqliteClient

WRITING = "default"
READING = "reading"
CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 4.0  # with CONNECT_SECONDS within the ten that callers wait
READERS_MAX = 5  # connections at a time

_LOG_ALONE = (
    "the file is missing or empty, but its log, the file -wal beside it, is there: "
    "put the database back, or move the log away to start a new one"
)
# BEGIN alone succeeds on a database that cannot be written
_WRITES = "BEGIN IMMEDIATE; DELETE FROM run WHERE id IS NULL; ROLLBACK"
_APPLIED = "SELECT name FROM tortoise_migrations WHERE app = 'runs'"
_ENCODINGS = ("UTF8", "SQL_ASCII")  # the second takes bytes as they are
_APPS = {
    "runs": {
        "models": ["runmeter.receiver.store.records"],
        "migrations": "runmeter.receiver.store.migrations",
        "default_connection": WRITING,
    }
}
# opens no database: `tortoise -c runmeter.receiver.store.connections.DEVELOPMENT makemigrations`
DEVELOPMENT = {"connections": {WRITING: "sqlite://:memory:"}, "apps": _APPS, "use_tz": True}


@contextlib.asynccontextmanager
async def using(alias: str, doing: str) -> AsyncIterator[BaseDBAsyncClient]:
    """Hold a connection of this name for statements.

    Raises:
        StoreUnavailable: one has failed, which is logged.
    """
    try:
        yield get_connection(alias)
    except database_errors() as error:
        raise unavailable(error, doing) from error


def _orm_config(
    database: Database, unlimited: bool = False, makes_file: bool = False
) -> dict[str, Any]:
    """Return Tortoise's configuration; ``unlimited``: statements have no time limit."""
    if database.kind == "postgres":
        writing, reading = _postgres(database, unlimited)
    else:
        writing, reading = _sqlite(database.location, makes_file)
    return {"connections": {WRITING: writing, READING: reading}, "apps": _APPS, "use_tz": True}


def _sqlite(path: str, makes_file: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    credentials = {
        "file_path": path,
        "page_size": 8192,  # before journal_mode, or it has no effect
        "busy_timeout": 5000,
        "journal_mode": "WAL",
        "synchronous": "FULL",  # an acknowledged run survives power loss
        "journal_size_limit": 8 * 2**20,
        # in a read-only container only the database's folder can be written: statements that
        # need a temporary file would fail as "disk I/O error"
        "temp_store": "MEMORY",
    }
    engine = "runmeter.receiver.store.sqlite.client"
    return (
        {"engine": engine, "credentials": {**credentials, "makes_file": makes_file}},
        {"engine": engine, "credentials": {**credentials, "query_only": "ON"}},
    )


def _postgres(database: Database, unlimited: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    engine = "runmeter.receiver.store.asyncpg_client"
    make_pool = import_module(engine).Pool  # SQLite does not need the time of this import
    pool = make_pool(
        database.dsn,
        most=READERS_MAX + 1,
        connect_seconds=float(database.parameters.get("connect_timeout", CONNECT_SECONDS)),
        statement_seconds=None if unlimited else STATEMENT_SECONDS,
    )
    return (
        {"engine": engine, "credentials": {"pool": pool, "most": 1}},
        {"engine": engine, "credentials": {"pool": pool, "most": READERS_MAX}},
    )


async def migrate_database(database: Database) -> list[str]:
    """Bring the schema to the newest version; return the names of the migrations applied.

    Waits while another process does.

    Raises:
        DatabaseUnusable: it cannot be opened or written.
    """
    applied: list[str] = []
    database.require_writable()
    with _explained(database):
        async with contextlib.AsyncExitStack() as stack:
            if database.kind == "sqlite":
                await stack.enter_async_context(folder_lock(database.location))
                if files.has_log_alone(database.location):
                    raise DatabaseUnusable(database.label, _LOG_ALONE)
            stack.push_async_callback(_close, database)
            await _reach(database, _orm_config(database, unlimited=True, makes_file=True))
            await _check_encoding(database)
            if not await _is_current():
                applied = await _apply_migrations()
    if applied:
        structlog.get_logger().info(
            events.DATABASE_MIGRATED, database=database.kind, applied=applied
        )
    return applied


async def _is_current() -> bool:
    """Return whether all migrations are noted as applied; False if there are no notes."""
    names = {module.name for module in pkgutil.iter_modules(migrations.__path__)}
    try:
        rows = await get_connection(WRITING).execute_query_dict(_APPLIED)
    except database_errors():
        return False
    return names <= {row["name"] for row in rows}


async def _apply_migrations() -> list[str]:
    """Apply the migrations that are not noted as applied; return their names."""
    # most starts find nothing to apply, and this import is a tenth of one
    from tortoise.migrations.executor import MigrationExecutor, MigrationTarget

    applied: list[str] = []

    def progress(event: str, app: str, name: str) -> None:
        if event == "apply_done":
            applied.append(name)

    newest = [MigrationTarget(app, "__latest__") for app in _APPS]
    # steps and the notes of them together: if the process is killed between them neither is there
    async with in_transaction(WRITING) as connection:
        await lock_migrations(connection)
        executor = MigrationExecutor(connection, _APPS)
        # it reads the notes before it makes their table, which would fail the transaction
        await executor.recorder.ensure_schema(executor._schema_editor(atomic=False))
        await executor.migrate(newest, direction="forward", progress=progress)
    return applied


@contextlib.asynccontextmanager
async def open_store(database: Database, serving: bool = True) -> AsyncIterator[None]:
    """Hold the database open; it is used only inside, in this task or its children.

    Without ``serving`` it need not be writable. A SQLite file is never made.

    Raises:
        DatabaseUnusable: it cannot be opened or written, or its schema is not up to date.
    """
    database.require(serving)
    try:
        with _explained(database):
            await _reach(database, _orm_config(database, unlimited=not serving))
            await _check_usable(database, serving)
        yield
    finally:
        await _close(database)


async def _close(database: Database) -> None:
    """Close. A file that was moved away gets all of its log; one that replaced it gets none."""
    path = database.location
    if files.is_lost(path):
        client = get_connection(READING)
        assert isinstance(client, SqliteClient)
        await client.empty_log()
    if database.kind == "sqlite":
        # the last connection that closes removes the log: of two at once neither is the last
        await get_connection(WRITING).close()
    await Tortoise.close_connections()
    with contextlib.suppress(*database_errors()):
        files.prepare(path)
    files.forget(path)


async def _reach(database: Database, config: dict[str, Any]) -> None:
    """Connect and read: Tortoise's migrations hide the error of a file that is not a database."""
    await Tortoise.init(config=config, _enable_global_fallback=True)
    catalog = "sqlite_master" if database.kind == "sqlite" else "pg_class"
    await get_connection(WRITING).execute_query(f"SELECT 1 FROM {catalog} LIMIT 1")


async def _check_usable(database: Database, serving: bool) -> None:
    if not await _is_current():
        raise DatabaseUnusable(
            database.label,
            "its tables are missing or older than this receiver; run `receiver migrate` on it "
            "first, or serve with --migrate",
        )
    if serving:
        await _check_encoding(database)
    if serving and database.kind == "sqlite":
        await get_connection(WRITING).execute_script(_WRITES)
    await get_connection(READING).execute_query("SELECT 1")


async def _check_encoding(database: Database) -> None:
    """Refuse a database that cannot store every name: some runs would always fail."""
    if database.kind != "postgres":
        return
    (row,) = await get_connection(WRITING).execute_query_dict("SHOW server_encoding")
    if row["server_encoding"] not in _ENCODINGS:
        raise DatabaseUnusable(
            database.label,
            f"its encoding is {row['server_encoding']}, which cannot hold every name: make it with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        )


@contextlib.contextmanager
def _explained(database: Database) -> Any:
    try:
        yield
    except database_errors() as error:
        raise DatabaseUnusable(database.label, explain(error, database)) from error
