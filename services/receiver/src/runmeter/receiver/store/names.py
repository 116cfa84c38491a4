"""Find stored names that differ from others in upper and lower case only."""

from runmeter.receiver.model import Scope
from runmeter.receiver.store.connections import READING, using
from runmeter.receiver.store.statements import marked


async def find_names(wanted: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the stored names that are equal to these if case is ignored.

    ``wanted`` are the first names of a scope. The cost grows with the number of organizations, of
    repositories in those that match, and so on, not with the number of runs.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    found: list[tuple[str, ...]] = [()]
    async with using(READING, "comparing names") as connection:
        for name in wanted:
            longer = []
            for outer in found:
                statement = marked(connection, names_within(len(outer)))
                rows = await connection.execute_query_dict(statement, [*outer, *outer])
                stored = [row["name"] for row in rows if row["name"] is not None]
                longer += [(*outer, one) for one in stored if one.casefold() == name.casefold()]
            found = longer
    return found


def names_within(depth: int) -> str:
    """Return a statement for the different names at a depth of scopes, ``{}`` for each value.

    It takes one step in the index of scopes for each name, where DISTINCT reads every run.

    Source: PostgreSQL wiki, Loose indexscan.
    """
    name = Scope._fields[depth]
    conditions = [f"{outer} = {{}}" for outer in Scope._fields[:depth]]
    first = " AND ".join(conditions) or "TRUE"
    following = " AND ".join([*conditions, f"{name} > found.name"])
    return (
        f"WITH RECURSIVE found(name) AS (SELECT MIN({name}) FROM run WHERE {first} UNION ALL "
        f"SELECT (SELECT MIN({name}) FROM run WHERE {following}) FROM found "
        "WHERE found.name IS NOT NULL) SELECT name FROM found"
    )
