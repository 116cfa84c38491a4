"""Read runs: ids first, then their columns."""

from collections.abc import Iterable, Sequence
from typing import Any

from tortoise.expressions import Q
from tortoise.queryset import QuerySet

from runmeter.receiver.model import ListedRun, RunFilter, RunState, StoredRun, reads_as
from runmeter.receiver.store.connections import READING, using
from runmeter.receiver.store.records import RunRecord


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
        query,
        "id",
        "revision",
        "state",
        "received_at_ms",
        "updated_at_ms",
        "payload_size_bytes",
        "silent_after_ms",
    )
    return [ListedRun(row[0], row[1], reads_as(row[2], row[6], now_ms), *row[3:6]) for row in rows]


async def read_runs(ids: Iterable[int], now_ms: int) -> dict[int, StoredRun]:
    """Return stored runs by id; deleted ones are left out.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    query = RunRecord.filter(id__in=list(ids))
    rows = await _read(
        query, "id", "state", "silent_after_ms", "received_at_ms", "updated_at_ms", "payload"
    )
    return {
        row[0]: StoredRun(row[0], reads_as(row[1], row[2], now_ms), row[3], row[4], bytes(row[5]))
        for row in rows
    }


async def _read(query: QuerySet[RunRecord], *columns: str) -> Sequence[Any]:
    async with using(READING, "reading runs") as connection:
        rows: Sequence[Any] = await query.using_db(connection).values_list(*columns)
        return rows


def _state_condition(states: frozenset[RunState], now_ms: int) -> Q:
    """Match current states: RUNNING for too long without a push is INTERRUPTED."""
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
