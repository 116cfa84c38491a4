"""Give the runs of a repository its new name, a few per transaction.

Ids and times stay. A run that is stored under both names, with the same push_id, is merged by the
rules for pushes: the later push stays, under the id that the new name has.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.transactions import in_transaction

from runmeter.receiver.errors import NamesConflict, PushConflict
from runmeter.receiver.model import Push, Rename, Scope, is_same_run, stored_push
from runmeter.receiver.store.connections import READING, WRITING, using
from runmeter.receiver.store.pushes import apply
from runmeter.receiver.store.records import RunRecord
from runmeter.receiver.store.statements import (
    delete_runs,
    find_pushes,
    lock_some,
    marked,
    update_names,
)

_COMPARED = 64  # pairs of runs at a time
_FROM = "FROM run WHERE organization = {} AND repository = {}"
_BOTH = (
    "FROM run AS old JOIN run AS new ON new.push_id = old.push_id AND new.organization = {} "
    "AND new.repository = {} AND new.workflow = old.workflow AND new.job = old.job "
    "WHERE old.organization = {} AND old.repository = {}"
)


class Counted(NamedTuple):
    """Runs to rename; of those, runs that are also stored under the new name."""

    run_count: int
    merged_count: int


async def count(rename: Rename) -> Counted:
    """Count the runs to rename.

    Raises:
        NamesConflict: some cannot be merged.
        StoreUnavailable: the database cannot be read.
    """
    counted = Counted(0, 0)
    conflicts: list[tuple[int, int]] = []
    async with using(READING, "counting runs") as connection:
        for old, new in rename.organizations():
            values = [new, rename.target, old, rename.source]
            (runs,) = await _rows(connection, f"SELECT COUNT(*) AS n {_FROM}", values[2:])
            (both,) = await _rows(connection, f"SELECT COUNT(*) AS n {_BOTH}", values)
            counted = Counted(counted.run_count + runs["n"], counted.merged_count + both["n"])
            equal = await _rows(
                connection,
                f"SELECT old.id AS old_id, new.id AS new_id {_BOTH} "
                "AND new.state = old.state AND new.revision = old.revision ORDER BY old.id",
                values,
            )
            pairs = [(row["old_id"], row["new_id"]) for row in equal]
            for start in range(0, len(pairs), _COMPARED):
                conflicts += await _differing(connection, rename, pairs[start : start + _COMPARED])
    if conflicts:
        raise NamesConflict(rename.source, rename.target, conflicts[0], len(conflicts))
    return counted


async def rename_some(rename: Rename) -> int:
    """Rename up to 500 runs in one transaction; return how many, 0: none is left.

    Never cancel it.

    Raises:
        NamesConflict: one cannot be merged; nothing was changed.
        StoreUnavailable: the database cannot be written.
    """
    async with using(WRITING, "renaming runs"), in_transaction(WRITING) as connection:
        for old, _ in rename.organizations():
            # in the order of the index: sorted otherwise, each time all of them would be read
            ids = await lock_some(
                connection,
                marked(connection, f"{_FROM} ORDER BY workflow, job, id"),
                values=[old, rename.source],
            )
            if ids:
                await _rename(connection, rename, ids)
                return len(ids)
    return 0


async def _rename(connection: BaseDBAsyncClient, rename: Rename, ids: Sequence[int]) -> None:
    pushes = await _pushes(connection, rename, ids)
    present = await find_pushes(connection, [push.key for push in pushes.values()])
    merged = {row_id: push for row_id, push in pushes.items() if push.key in present}
    await update_names(
        connection,
        [
            (push.scope.organization, push.scope.repository, push.payload, row_id)
            for row_id, push in pushes.items()
            if row_id not in merged
        ],
    )
    if merged:
        answers = await apply(connection, list(merged.values()))
        for (row_id, push), answer in zip(merged.items(), answers, strict=True):
            if isinstance(answer, PushConflict):
                ids_of_both = (row_id, present[push.key].id)
                raise NamesConflict(rename.source, rename.target, ids_of_both, 1)
        await delete_runs(connection, list(merged))


async def _pushes(
    connection: BaseDBAsyncClient, rename: Rename, ids: Sequence[int]
) -> dict[int, Push]:
    """Return stored runs by id, under their new name."""
    rows = (
        await RunRecord.filter(id__in=ids)
        .using_db(connection)
        .values("id", *Scope._fields, "payload", "received_at_ms", "updated_at_ms")
    )
    return {
        row["id"]: rename.apply(
            stored_push(
                Scope(*(row[name] for name in Scope._fields)),
                bytes(row["payload"]),
                row["received_at_ms"],
                row["updated_at_ms"],
            )
        )
        for row in rows
    }


async def _differing(
    connection: BaseDBAsyncClient, rename: Rename, pairs: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the pairs of runs that have different content; what was deleted has none."""
    pushes = await _pushes(connection, rename, [row_id for pair in pairs for row_id in pair])
    return [
        (old, new)
        for old, new in pairs
        if {old, new} <= pushes.keys() and not is_same_run(pushes[new].payload, pushes[old].run)
    ]


async def _rows(
    connection: BaseDBAsyncClient, statement: str, values: Sequence[Any]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = await connection.execute_query_dict(
        marked(connection, statement), list(values)
    )
    return rows
