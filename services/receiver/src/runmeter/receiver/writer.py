"""The one task that writes: group commit.

Handlers hand a push over and await its receipt. The task takes whatever waits and commits it as
one transaction. It is never cancelled, because a cancellation inside a transaction wedges
Tortoise's connection; a handler whose client has gone leaves, its push goes on.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import structlog
from tortoise.exceptions import IntegrityError
from tortoise.transactions import in_transaction

from runmeter.receiver import events
from runmeter.receiver.errors import Busy, CallError, PushConflict, ShuttingDown
from runmeter.receiver.model import (
    Push,
    PushKey,
    Receipt,
    Verdict,
    push_rank,
    weigh,
)
from runmeter.receiver.records import (
    ContainerRecord,
    RunRecord,
    container_record,
    key_of,
    run_columns,
)
from runmeter.receiver.store import DATABASE_ERRORS, WRITING, reason_of, reopen, unavailable

BATCH_MAX = 64
BATCH_MAX_BYTES = 4 * 2**20  # transactions stay short
WAITING_MAX = 1024
WAITING_MAX_BYTES = 32 * 2**20
_ALONE_TRIES = 3

_Answer = Receipt | Exception


class WatchesCommits(Protocol):
    """What is told of every transaction."""

    def committed(self, push_count: int, seconds: float) -> None:
        """So many pushes were committed in so long."""
        ...


class _Waiting(NamedTuple):
    push: Push
    answer: asyncio.Future[Receipt]


class _Stored(NamedTuple):
    id: int
    state: int
    revision: int
    digest: bytes
    updated_at_ms: int


class _RowChanged(Exception):
    """Another receiver changed a row between our read and our write of it."""


class Writer:
    """Owns every transaction; `run` is its task."""

    def __init__(
        self,
        waiting_max: int = WAITING_MAX,
        waiting_max_bytes: int = WAITING_MAX_BYTES,
        observer: WatchesCommits | None = None,
    ) -> None:
        self._observer = observer
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._waiting_max = waiting_max
        self._waiting_max_bytes = waiting_max_bytes
        self._wake = asyncio.Event()
        self._closed = False

    @property
    def waiting_count(self) -> int:
        """Pushes that wait to be written."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Size of what waits."""
        return self._waiting_bytes

    async def write(self, push: Push) -> Receipt:
        """Store a push and return when it is durable.

        Cancelling the caller does not cancel the write.

        Raises:
            Busy: too many pushes wait already.
            ShuttingDown: the writer takes no more.
            PushConflict: an equal push with other content is stored.
            StoreUnavailable: the database cannot be written.
        """
        if self._closed:
            raise ShuttingDown
        size_bytes = self._waiting_bytes + len(push.payload)
        if len(self._waiting) >= self._waiting_max or size_bytes > self._waiting_max_bytes:
            raise Busy
        self._waiting_bytes = size_bytes
        waiting = _Waiting(push, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        return await asyncio.shield(waiting.answer)

    def close(self) -> None:
        """Take no more; `run` ends when what waits is written."""
        self._closed = True
        self._wake.set()

    def abandon(self) -> None:
        """Take no more and refuse what waits; `run` ends after the transaction it is in."""
        self.close()
        refused = [self._next() for _ in range(len(self._waiting))]
        _answer(refused, [ShuttingDown()] * len(refused))

    async def run(self) -> None:
        """Commit what waits, group by group, until closed and nothing waits."""
        try:
            while self._waiting or not self._closed:
                if not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                batch = self._take()
                started_seconds = time.monotonic()
                answers = await _settle_surely([waiting.push for waiting in batch])
                _answer(batch, answers)
                if self._observer and any(isinstance(answer, Receipt) for answer in answers):
                    self._observer.committed(len(batch), time.monotonic() - started_seconds)
        finally:
            # here: a connection opened anew is known in this task only, and an open one
            # would keep the interpreter from ending
            await reopen(WRITING)

    def _take(self) -> list[_Waiting]:
        batch = [self._next()]
        size_bytes = len(batch[0].push.payload)
        while self._waiting and len(batch) < BATCH_MAX and size_bytes < BATCH_MAX_BYTES:
            batch.append(self._next())
            size_bytes += len(batch[-1].push.payload)
        return batch

    def _next(self) -> _Waiting:
        waiting = self._waiting.popleft()
        self._waiting_bytes -= len(waiting.push.payload)
        return waiting


def _answer(batch: Sequence[_Waiting], answers: Sequence[_Answer]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if isinstance(answer, Receipt):
            waiting.answer.set_result(answer)
        else:
            waiting.answer.set_exception(answer)


async def _settle_surely(pushes: Sequence[Push]) -> Sequence[_Answer]:
    """Answer every push, whatever happens: the task lives as long as the program."""
    try:
        return await _settle(pushes)
    except Exception as error:
        structlog.get_logger().exception(events.WRITER_FAILED, push_count=len(pushes))
        return [error] * len(pushes)


async def _settle(pushes: Sequence[Push]) -> list[_Answer]:
    """Commit pushes together, or one by one if that fails; one answer each."""
    try:
        return await _commit(pushes)
    except Exception as error:
        await reopen(WRITING)
        if isinstance(error, DATABASE_ERRORS) and reason_of(error):
            refusal = unavailable(error, "storing runs")
            return [refusal] * len(pushes)
        structlog.get_logger().warning(
            events.BATCH_FAILED, push_count=len(pushes), error=f"{type(error).__name__}: {error}"
        )
    return [await _settle_alone(push) for push in pushes]


async def _settle_alone(push: Push) -> _Answer:
    for attempt in range(1, _ALONE_TRIES + 1):
        try:
            return (await _commit([push]))[0]
        except Exception as error:
            await reopen(WRITING)
            raced = isinstance(error, (IntegrityError, _RowChanged))
            if raced and attempt < _ALONE_TRIES:
                continue
            if isinstance(error, (*DATABASE_ERRORS, _RowChanged)):
                return unavailable(error, "storing a run")
            return error
    raise AssertionError("every attempt returns or continues")


async def _commit(pushes: Sequence[Push]) -> list[_Answer]:
    async with in_transaction(WRITING):
        return await _apply(pushes)


async def _apply(pushes: Sequence[Push]) -> list[_Answer]:
    stored = await _find(pushes)
    changed: dict[int, Push] = {}
    fresh: set[int] = set()
    answers: list[_Answer] = []
    for push in pushes:
        key = PushKey(push.run.scope, push.run.push_id)
        found = stored.get(key)
        if found is None:
            found = stored[key] = await _insert(push)
            fresh.add(found.id)
            changed[found.id] = push
            answers.append(Receipt(found.id, duplicate=False))
            continue
        answer = _compare(found, push)
        if isinstance(answer, Receipt) and not answer.duplicate:
            stored[key] = await _replace(found, push)
            changed[found.id] = push
        answers.append(answer)
    await _write_containers(changed, fresh)
    return answers


def _compare(found: _Stored, push: Push) -> Receipt | CallError:
    verdict = weigh(
        push_rank(found.state, found.revision),
        found.digest,
        push_rank(push.run.state, push.run.revision),
        push.digest,
    )
    if verdict is Verdict.CONFLICTS:
        return PushConflict(found.revision)
    return Receipt(found.id, duplicate=verdict is Verdict.REPEATS)


async def _find(pushes: Sequence[Push]) -> dict[PushKey, _Stored]:
    rows = await RunRecord.filter(push_id__in={push.run.push_id for push in pushes}).values_list(
        "organization",
        "repository",
        "workflow",
        "job",
        "push_id",
        "id",
        "state",
        "revision",
        "digest",
        "updated_at_ms",
    )
    return {key_of(row): _Stored(row[5], row[6], row[7], bytes(row[8]), row[9]) for row in rows}


async def _insert(push: Push) -> _Stored:
    columns = run_columns(push)
    row = await RunRecord.create(received_at_ms=push.arrived_at_ms, **columns)
    return _Stored(row.id, push.run.state, push.run.revision, push.digest, columns["updated_at_ms"])


async def _replace(found: _Stored, push: Push) -> _Stored:
    # the clock may have been set back: times of a run never go back
    push = push._replace(arrived_at_ms=max(push.arrived_at_ms, found.updated_at_ms))
    columns = run_columns(push)
    expected = {"id": found.id, "state": found.state, "revision": found.revision}
    if not await RunRecord.filter(**expected).update(**columns):
        raise _RowChanged
    return _Stored(
        found.id, push.run.state, push.run.revision, push.digest, columns["updated_at_ms"]
    )


async def _write_containers(changed: dict[int, Push], fresh: set[int]) -> None:
    replaced = [row_id for row_id in changed if row_id not in fresh]
    if replaced:
        await ContainerRecord.filter(run_id__in=replaced).delete()
    rows = [
        container_record(row_id, container)
        for row_id, push in changed.items()
        for container in push.run.payload.containers
    ]
    if rows:
        await ContainerRecord.bulk_create(rows)
