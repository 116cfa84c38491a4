"""Count the runs of each repository, or of each job of one.

One statement that reads the index of scopes, and the last run of each group: its cost grows with
the number of runs that a page counts, not with their size. (PostgreSQL may
rather read the table when most of it is counted: it keeps large payloads apart.)
"""

from typing import Any

from runmeter.receiver.model import GroupFilter, RunGroup, Scope, reads_as
from runmeter.receiver.store.connections import READING, using
from runmeter.receiver.store.statements import marked


async def list_groups(wanted: GroupFilter, now_ms: int) -> list[RunGroup]:
    """Return up to ``limit + 1`` groups, sorted by their names as the database sorts text.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    async with using(READING, "counting runs") as connection:
        statement, values = statement_of(wanted)
        rows = await connection.execute_query_dict(marked(connection, statement), values)
    return [
        RunGroup(
            names=(row["one"], row["two"]),
            run_count=row["run_count"],
            last_id=row["id"],
            last_received_at_ms=row["received_at_ms"],
            last_state=reads_as(row["state"], row["silent_after_ms"], now_ms),
        )
        for row in rows
    ]


def statement_of(wanted: GroupFilter) -> tuple[str, list[Any]]:
    """Return the statement, ``{}`` in place of each value, and the values."""
    depth = len(wanted.within)
    one, two = Scope._fields[depth : depth + 2]
    after = wanted.after or ()
    conditions = [f"{name} = {{}}" for name in Scope._fields[:depth]]
    if after:
        conditions.append(f"({one}, {two}) > ({{}}, {{}})")
    values = [*wanted.within, *after]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = (
        "SELECT one, two, run_count, run.id, received_at_ms, state, silent_after_ms FROM "
        f"(SELECT {one} AS one, {two} AS two, COUNT(*) AS run_count, MAX(id) AS last_id "
        f"FROM run {where} GROUP BY {one}, {two} ORDER BY {one}, {two} "
        f"LIMIT {wanted.limit + 1:d}) AS found JOIN run ON run.id = last_id ORDER BY one, two"
    )
    return statement, values
