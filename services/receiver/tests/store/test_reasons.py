"""Errors of PostgreSQL as callers and the log see them."""

import asyncio

import structlog
from rig.postgres import Postgres

from runmeter.receiver.errors import StoreUnavailable
from runmeter.receiver.store import connections
from runmeter.receiver.store.database import parse_database

REASONS = {
    "08006": "it cannot be reached",
    "08P01": "its connection pooler refuses",
    "22012": "a statement failed",
    "25006": "it is read-only",
    "25P02": "a statement failed",
    "26000": "a statement failed",  # to these two asyncpg adds a paragraph about PgBouncer
    "42P05": "a statement failed",
    "28000": "it refuses the receiver's login",
    "42501": "the receiver's role lacks a right",
    "53100": "its disk is full",
    "53200": "it is out of connections, memory or disk space",
    "53300": "it has too many connections",
    "55P03": "a table is locked",
    "57014": "a statement took too long",
    "57P01": "it is shutting down, or ends connections",
    "58030": "its disk cannot be read or written",
    "XX001": "it is damaged",
}
RAISE = "DO $$ BEGIN RAISE 'said' USING ERRCODE = '{}', DETAIL = 'a row', HINT = 'x'; END $$"


def test_reasons(postgres: Postgres) -> None:
    """Each kind of error has a reason; the log has one line, without details and advice."""
    database = parse_database(postgres.create_database())
    found = {}

    async def fail() -> None:
        await connections.migrate_database(database)
        async with connections.open_store(database):
            for state in REASONS:
                try:
                    async with connections.using(connections.READING, "trying") as connection:
                        await connection.execute_script(RAISE.format(state))
                except StoreUnavailable as error:
                    found[state] = error.reason

    with structlog.testing.capture_logs() as logs:
        asyncio.run(fail())
    assert found == REASONS
    failures = [line for line in logs if line["event"] == "database.failed"]
    assert [line["reason"] for line in failures] == list(REASONS.values())
    assert {line["error"].partition(": ")[2] for line in failures} == {"said"}
