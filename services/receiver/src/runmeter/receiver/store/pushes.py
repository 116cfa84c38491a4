"""One transaction of pushes: new runs are inserted, known ones compared and perhaps replaced."""

from collections.abc import Sequence

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.transactions import in_transaction

from runmeter.receiver.errors import CallError, PushConflict
from runmeter.receiver.model import (
    Push,
    PushKey,
    Receipt,
    Verdict,
    compare_pushes,
    is_same_run,
    push_rank,
)
from runmeter.receiver.store.connections import WRITING
from runmeter.receiver.store.records import ContainerRecord, RunRecord, container_row, run_columns
from runmeter.receiver.store.statements import (
    StoredPush,
    find_pushes,
    insert_containers,
    insert_runs,
)

Answer = Receipt | Exception


class RowChanged(Exception):
    """A run that prevented an insert was deleted meanwhile."""


async def commit(pushes: Sequence[Push]) -> list[Answer]:
    """Store pushes in one transaction; one answer each, in their order.

    Raises:
        RowChanged: the same may pass when tried again.
        Exception: of the database; nothing is stored, or that is unknown.
    """
    async with in_transaction(WRITING) as connection:
        return await apply(connection, pushes)


async def apply(connection: BaseDBAsyncClient, pushes: Sequence[Push]) -> list[Answer]:
    """Do as ``commit`` does, within a transaction."""
    firsts: dict[PushKey, Push] = {}
    for push in pushes:
        firsts.setdefault(push.key, push)
    fresh = await insert_runs(connection, [run_columns(push) for push in firsts.values()])
    stored = {key: _stored(row_id, firsts[key]) for key, row_id in fresh.items()}
    known = [key for key in firsts if key not in fresh]
    if known:
        stored |= await find_pushes(connection, known)
    changed = {row_id: firsts[key] for key, row_id in fresh.items()}
    unanswered = set(fresh)
    answers: list[Answer] = []
    for push in pushes:
        if push.key not in stored:
            raise RowChanged
        if push.key in unanswered:
            unanswered.remove(push.key)
            answers.append(Receipt(fresh[push.key], duplicate=False))
            continue
        answer = _compare(stored[push.key], push)
        if isinstance(answer, Receipt) and not answer.duplicate:
            stored[push.key] = await _replace(connection, stored[push.key], push)
            changed[answer.id] = push
        answers.append(answer)
    await _write_containers(connection, changed, set(fresh.values()))
    return answers


def _compare(found: StoredPush, push: Push) -> Receipt | CallError:
    verdict = compare_pushes(
        push_rank(found.state, found.revision),
        push_rank(push.run.state, push.run.revision),
        lambda: found.payload == push.payload or is_same_run(found.payload, push.run),
    )
    if verdict is Verdict.CONFLICTS:
        return PushConflict(found.revision)
    return Receipt(
        found.id,
        duplicate=verdict is Verdict.REPEATS,
        replaced=verdict is Verdict.REPLACES,
    )


def _stored(row_id: int, push: Push) -> StoredPush:
    return StoredPush(row_id, push.run.state, push.run.revision, push.payload, push.arrived_at_ms)


async def _replace(connection: BaseDBAsyncClient, found: StoredPush, push: Push) -> StoredPush:
    # the clock may have been set back: times of a run never go back
    push = push._replace(arrived_at_ms=max(push.arrived_at_ms, found.updated_at_ms))
    columns = run_columns(push)
    del columns["received_at_ms"]
    if not await RunRecord.filter(id=found.id).using_db(connection).update(**columns):
        raise RowChanged
    return _stored(found.id, push)


async def _write_containers(
    connection: BaseDBAsyncClient, changed: dict[int, Push], fresh: set[int]
) -> None:
    replaced = [row_id for row_id in changed if row_id not in fresh]
    if replaced:
        await ContainerRecord.filter(run_id__in=replaced).using_db(connection).delete()
    rows = [
        container_row(row_id, container)
        for row_id, push in changed.items()
        for container in push.run.payload.containers
    ]
    if rows:
        await insert_containers(connection, rows)
