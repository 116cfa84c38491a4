"""The statements of the write path: a few per batch, however many runs it holds.

The ORM inserts row by row where it has to tell the ids, and asks before it inserts. Here the
unique index decides, in one statement, which runs are new; only the others are looked up.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tortoise.backends.base.client import BaseDBAsyncClient

from runmeter.receiver.model import PushKey
from runmeter.receiver.records import CONTAINER_COLUMNS, RunRecord, key_of

_KEY = "push_id, organization, repository, workflow, job"


class StoredPush(NamedTuple):
    """What of a stored run decides about a further push of it."""

    id: int
    state: int
    revision: int
    digest: bytes
    updated_at_ms: int


async def insert_runs(
    connection: BaseDBAsyncClient, rows: Sequence[Mapping[str, Any]]
) -> dict[PushKey, int]:
    """Insert runs, all with the same columns, but those that are stored; return the ids by key."""
    columns = tuple(rows[0])
    insert = f"INSERT INTO run ({', '.join(columns)})"
    rest = f"ON CONFLICT DO NOTHING RETURNING {_KEY}, id"
    if _is_postgres(connection):
        # one text for any number of rows: it is prepared once
        arrays = ", ".join(
            f"${number}::{_postgres_type(name)}[]" for number, name in enumerate(columns, 1)
        )
        statement = f"{insert} SELECT * FROM unnest({arrays}) {rest}"
        values = [[row[name] for row in rows] for name in columns]
    else:
        marks = f"({', '.join('?' * len(columns))})"
        statement = f"{insert} VALUES {', '.join([marks] * len(rows))} {rest}"
        values = [value for row in rows for value in row.values()]
    found = await connection.execute_query_dict(statement, values)
    return {key_of(row): row["id"] for row in found}


async def find_pushes(
    connection: BaseDBAsyncClient, keys: Sequence[PushKey]
) -> dict[PushKey, StoredPush]:
    """Return what is stored under keys; nobody else can change it before the transaction ends."""
    select = f"SELECT {_KEY}, id, state, revision, digest, updated_at_ms FROM run WHERE push_id"
    push_ids: list[Any] = list({key.push_id for key in keys})
    if _is_postgres(connection):
        statement, values = f"{select} = ANY($1) ORDER BY id FOR UPDATE", [push_ids]
    else:
        # the transaction holds the lock of the whole file
        statement, values = f"{select} IN ({', '.join('?' * len(push_ids))})", push_ids
    found = await connection.execute_query_dict(statement, values)
    return {
        key_of(row): StoredPush(
            row["id"], row["state"], row["revision"], bytes(row["digest"]), row["updated_at_ms"]
        )
        for row in found
    }


async def insert_containers(connection: BaseDBAsyncClient, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows of `records.container_row`."""
    marks = (f"${number}" for number in range(1, len(CONTAINER_COLUMNS) + 1))
    listed = ", ".join(marks) if _is_postgres(connection) else ", ".join("?" * len(rows[0]))
    await connection.execute_many(
        f"INSERT INTO run_container ({', '.join(CONTAINER_COLUMNS)}) VALUES ({listed})",
        [list(row) for row in rows],
    )


def _is_postgres(connection: BaseDBAsyncClient) -> bool:
    return connection.capabilities.dialect == "postgres"


def _postgres_type(name: str) -> str:
    # without its length: a cast would cut what is too long instead of refusing it
    field = RunRecord._meta.fields_map[name]
    return str(field.get_for_dialect("postgres", "SQL_TYPE")).partition("(")[0]
