"""The statements of the write path: a few per batch, however many runs it holds.

The ORM would need a query and one insert per row to return the
ids. Here the unique index decides, in
one statement, which runs are new; only the others are looked up.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.models import Model

from runmeter.receiver.model import PushKey
from runmeter.receiver.store.records import CONTAINER_COLUMNS, ContainerRecord, RunRecord, key_of

SOME_MAX = 500
SOME_MAX_BYTES = 4 * 2**20  # of payload: a run may have thousands of containers
_KEY = "push_id, organization, repository, workflow, job"


class StoredPush(NamedTuple):
    """The columns of a stored run to compare another push with."""

    id: int
    state: int
    revision: int
    payload: bytes
    updated_at_ms: int


async def insert_runs(
    connection: BaseDBAsyncClient, rows: Sequence[Mapping[str, Any]]
) -> dict[PushKey, int]:
    """Insert the runs that are not stored yet, all with the same columns; return ids by key."""
    columns = tuple(rows[0])
    rest = f"ON CONFLICT DO NOTHING RETURNING {_KEY}, id"
    if _is_postgres(connection):
        statement = f"{_insert_arrays(RunRecord, columns)} {rest}"
        values = [[row[name] for row in rows] for name in columns]
    else:
        marks = f"({_marks(columns)})"
        statement = f"{_insert(RunRecord, columns)} VALUES {', '.join([marks] * len(rows))} {rest}"
        values = [value for row in rows for value in row.values()]
    found = await connection.execute_query_dict(statement, values)
    return {key_of(row): row["id"] for row in found}


async def find_pushes(
    connection: BaseDBAsyncClient, keys: Sequence[PushKey]
) -> dict[PushKey, StoredPush]:
    """Return the stored runs with these keys, locked until the transaction ends."""
    select = f"SELECT {_KEY}, id, state, revision, payload, updated_at_ms FROM run WHERE push_id"
    push_ids: list[Any] = list({key.push_id for key in keys})
    if _is_postgres(connection):
        statement, values = f"{select} = ANY($1) ORDER BY id FOR UPDATE", [push_ids]
    else:
        # the transaction holds the lock of the whole file
        statement, values = f"{select} IN ({', '.join('?' * len(push_ids))})", push_ids
    found = await connection.execute_query_dict(statement, values)
    return {
        key_of(row): StoredPush(
            row["id"], row["state"], row["revision"], bytes(row["payload"]), row["updated_at_ms"]
        )
        for row in found
    }


async def lock_some(
    connection: BaseDBAsyncClient, where: str, lock: str = "", values: Sequence[Any] = ()
) -> list[int]:
    """Return the ids of up to 500 runs or 4 MiB of payload, locked until the transaction ends.

    ``where`` is the statement from FROM on. A single run is returned at any size.
    """
    # SQLite: the transaction has the lock of the whole file
    for_update = f"FOR UPDATE {lock}" if _is_postgres(connection) else ""
    rows = await connection.execute_query_dict(
        f"SELECT id, payload_size_bytes {where} LIMIT {SOME_MAX} {for_update}", list(values)
    )
    ids: list[int] = []
    size_bytes = 0
    for row in rows:
        size_bytes += row["payload_size_bytes"]
        if ids and size_bytes > SOME_MAX_BYTES:
            break
        ids.append(row["id"])
    return ids


async def delete_runs(connection: BaseDBAsyncClient, ids: Sequence[int]) -> None:
    """Delete runs with their containers."""
    if ids:
        # explicitly: a cascade looks them up run by run, and in SQLite needs a pragma
        await ContainerRecord.filter(run_id__in=ids).using_db(connection).delete()
        await RunRecord.filter(id__in=ids).using_db(connection).delete()


async def insert_containers(connection: BaseDBAsyncClient, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows of ``records.container_row``."""
    if _is_postgres(connection):
        statement = _insert_arrays(ContainerRecord, CONTAINER_COLUMNS)
        values = [list(column) for column in zip(*rows, strict=True)]
        await connection.execute_query(statement, values)
        return
    insert = _insert(ContainerRecord, CONTAINER_COLUMNS)
    statement = f"{insert} VALUES ({_marks(CONTAINER_COLUMNS)})"
    await connection.execute_many(statement, [list(row) for row in rows])


async def update_names(
    connection: BaseDBAsyncClient, rows: Sequence[tuple[str, str, bytes, int]]
) -> None:
    """Change organization, repository and payload of runs; the id is last."""
    if rows:
        statement = (
            "UPDATE run SET organization = {}, repository = {}, payload = {}, "
            "payload_size_bytes = {} WHERE id = {}"
        )
        await connection.execute_many(
            marked(connection, statement), [[*row[:3], len(row[2]), row[3]] for row in rows]
        )


def marked(connection: BaseDBAsyncClient, statement: str) -> str:
    """Return a statement with the placeholders of the database, in place of ``{}``."""
    mark = "${}" if _is_postgres(connection) else "?"
    marks = (mark.format(number) for number in range(1, statement.count("{}") + 1))
    return statement.format(*marks)


def _is_postgres(connection: BaseDBAsyncClient) -> bool:
    return connection.capabilities.dialect == "postgres"


def _insert(record: type[Model], columns: Sequence[str]) -> str:
    return f"INSERT INTO {record._meta.db_table} ({', '.join(columns)})"


def _marks(columns: Sequence[str]) -> str:
    return ", ".join("?" * len(columns))


@functools.cache
def _insert_arrays(record: type[Model], columns: tuple[str, ...]) -> str:
    """Return an insert of PostgreSQL, a parameter per column: one text for any number of rows.

    It is prepared once, and one message takes all rows.
    """
    arrays = ", ".join(
        f"${number}::{_postgres_type(record, name)}[]" for number, name in enumerate(columns, 1)
    )
    return f"{_insert(record, columns)} SELECT * FROM unnest({arrays})"


def _postgres_type(record: type[Model], name: str) -> str:
    # without its length: a cast would cut what is too long instead of refusing it
    field = record._meta.fields_map[name]
    return str(field.get_for_dialect("postgres", "SQL_TYPE")).partition("(")[0]
