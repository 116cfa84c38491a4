"""Read all runs, page by page in the order of their ids, as they are stored."""

from typing import Any

from runmeter.receiver.model import ArchivedRun
from runmeter.receiver.store.connections import READING, using

PAGE_RUNS = 64
_COLUMNS = ", ".join(ArchivedRun._fields)


async def newest_id() -> int:
    """Return the greatest id, 0 if nothing is stored.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    (row,) = await _read("SELECT COALESCE(MAX(id), 0) AS id FROM run")
    return int(row["id"])


async def read_page(after_id: int, last_id: int) -> list[ArchivedRun]:
    """Return the next runs after an id and up to one, at most 64; none: that was all.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    rows = await _read(
        f"SELECT {_COLUMNS} FROM run WHERE id > {after_id:d} AND id <= {last_id:d} "
        f"ORDER BY id LIMIT {PAGE_RUNS}"
    )
    return [ArchivedRun(**row)._replace(payload=bytes(row["payload"])) for row in rows]


async def _read(statement: str) -> list[dict[str, Any]]:
    async with using(READING, "reading runs") as connection:
        rows: list[dict[str, Any]] = await connection.execute_query_dict(statement)
        return rows
