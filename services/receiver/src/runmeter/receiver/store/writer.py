"""The one task that writes: group commit.

Handlers queue a push and await its receipt. The task takes all waiting pushes, up to a limit, and
commits them as one transaction. It is never cancelled, because a cancellation inside a transaction
blocks Tortoise's connection; if a client leaves, its handler ends and its push goes on.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog

from runmeter.receiver import events
from runmeter.receiver.errors import Busy, ShuttingDown, StoreUnavailable
from runmeter.receiver.model import Push, Receipt
from runmeter.receiver.store.pushes import Answer, RowChanged, commit
from runmeter.receiver.store.reasons import (
    database_errors,
    is_transient,
    reason_of,
    text_of,
    unavailable,
)

BATCH_MAX = 64
BATCH_MAX_BYTES = 4 * 2**20  # transactions stay short
WAITING_MAX = 1024
WAITING_MAX_BYTES = 32 * 2**20
_PAGES_BYTES = 2**16  # eight pages that one push changes in tables and indexes
_ALONE_TRIES = 3
_REST_SECONDS = 0.1
_REST_MAX_SECONDS = 2.0
_BATCHES_BEFORE_CHORE = 8  # batches of pushes before a chore has its turn


class _Waiting(NamedTuple):
    push: Push
    answer: asyncio.Future[Receipt]


class _Chore(NamedTuple):
    work: Callable[[], Awaitable[int]]
    answer: asyncio.Future[int]


class Writer:
    """Owns every transaction; ``run`` is its task."""

    def __init__(
        self,
        waiting_max: int = WAITING_MAX,
        waiting_max_bytes: int = WAITING_MAX_BYTES,
        batch_max: int = BATCH_MAX,
        on_commit: Callable[[int, float], None] | None = None,
    ) -> None:
        self._batch_max = batch_max
        self._on_commit = on_commit
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._waiting_max = waiting_max
        self._waiting_max_bytes = waiting_max_bytes
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._rest_seconds = 0.0
        self._refused_bytes = 0
        self._chores: deque[_Chore] = deque()
        self._batches_since_chore = 0

    @property
    def waiting_count(self) -> int:
        """Pushes waiting to be written."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Size of the waiting pushes."""
        return self._waiting_bytes

    @property
    def refused_bytes(self) -> int:
        """Room that pushes the database has refused would need; 0 after it has stored one again."""
        return self._refused_bytes

    async def write(self, push: Push) -> Receipt:
        """Store a push and return when it is durable.

        Cancelling the caller does not cancel the write.

        Raises:
            Busy: too many pushes wait already.
            ShuttingDown: the writer accepts no more.
            PushConflict: an equal push is stored with different content.
            StoreUnavailable: the database cannot be written.
        """
        if self._ending.is_set():
            raise ShuttingDown
        size_bytes = self._waiting_bytes + len(push.payload)
        many = len(self._waiting) >= self._waiting_max
        # a single one is taken at any size: there would never be room for it otherwise
        if many or (self._waiting and size_bytes > self._waiting_max_bytes):
            raise Busy
        self._waiting_bytes = size_bytes
        waiting = _Waiting(push, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        return await asyncio.shield(waiting.answer)

    async def between_pushes(self, work: Callable[[], Awaitable[int]]) -> int:
        """Do one other transaction in the task; return its result.

        Pushes go first: it is done when none waits, or after eight batches of them. Cancelling
        the caller does not cancel the work.

        Raises:
            ShuttingDown: the writer accepts no more.
        """
        if self._ending.is_set():
            raise ShuttingDown
        chore = _Chore(work, asyncio.get_running_loop().create_future())
        self._chores.append(chore)
        self._wake.set()
        return await asyncio.shield(chore.answer)

    def close(self) -> None:
        """Accept no more; ``run`` ends when all waiting pushes are written."""
        self._ending.set()
        self._wake.set()

    def abandon(self) -> None:
        """Accept no more, refuse the waiting pushes; ``run`` ends after its transaction."""
        self.close()
        refused = [self._next() for _ in range(len(self._waiting))]
        _answer(refused, [ShuttingDown()] * len(refused))
        while self._chores:
            _refuse(self._chores.popleft(), ShuttingDown())

    async def run(self) -> None:
        """Commit waiting pushes in batches until the writer is closed and no push waits."""
        while self._waiting or self._chores or not self._ending.is_set():
            if self._chores and (
                not self._waiting or self._batches_since_chore >= _BATCHES_BEFORE_CHORE
            ):
                self._batches_since_chore = 0
                await _do_or_refuse(self._chores.popleft())
                continue
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._batches_since_chore += 1
            batch = self._take()
            answers = await self._settle_or_fail_all([waiting.push for waiting in batch])
            _answer(batch, answers)
            failed = isinstance(answers[-1], StoreUnavailable)
            self._refused_bytes = sum(map(_room_bytes, batch)) if failed else 0
            await self._rest(failed)

    async def _settle_or_fail_all(self, pushes: Sequence[Push]) -> Sequence[Answer]:
        """Answer every push, also after an unexpected error: the task must not end."""
        try:
            return await self._settle(pushes)
        except Exception as error:
            structlog.get_logger().exception(events.WRITER_FAILED, push_count=len(pushes))
            return [error] * len(pushes)

    async def _settle(self, pushes: Sequence[Push]) -> list[Answer]:
        """Commit pushes together, or one by one if that fails; one answer each."""
        try:
            return await self._commit(pushes)
        except Exception as error:
            if isinstance(error, database_errors()) and reason_of(error):
                refusal = unavailable(error, "storing runs")
                return [refusal] * len(pushes)
            structlog.get_logger().warning(
                events.BATCH_FAILED,
                push_count=len(pushes),
                error=text_of(error),
            )
        return [await self._settle_alone(push) for push in pushes]

    async def _settle_alone(self, push: Push) -> Answer:
        for attempt in range(1, _ALONE_TRIES + 1):
            try:
                return (await self._commit([push]))[0]
            except Exception as error:
                raced = isinstance(error, RowChanged) or is_transient(error)
                if raced and attempt < _ALONE_TRIES:
                    continue
                if isinstance(error, (*database_errors(), RowChanged)):
                    return unavailable(error, "storing a run")
                return error
        raise AssertionError("every attempt returns or continues")

    async def _commit(self, pushes: Sequence[Push]) -> list[Answer]:
        """Do one transaction, as ``commit`` does, and report how long it took."""
        started_seconds = time.monotonic()
        answers = await commit(pushes)
        if self._on_commit and any(isinstance(answer, Receipt) for answer in answers):
            self._on_commit(len(pushes), time.monotonic() - started_seconds)
        return answers

    async def _rest(self, failed: bool) -> None:
        """After a failure pause, longer each time; new pushes wait meanwhile."""
        self._rest_seconds = min(2 * self._rest_seconds or _REST_SECONDS, _REST_MAX_SECONDS)
        if not failed:
            self._rest_seconds = 0.0
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), self._rest_seconds)

    def _take(self) -> list[_Waiting]:
        batch = [self._next()]
        size_bytes = len(batch[0].push.payload)
        while self._waiting and len(batch) < self._batch_max and size_bytes < BATCH_MAX_BYTES:
            batch.append(self._next())
            size_bytes += len(batch[-1].push.payload)
        return batch

    def _next(self) -> _Waiting:
        waiting = self._waiting.popleft()
        self._waiting_bytes -= len(waiting.push.payload)
        return waiting


def _room_bytes(waiting: _Waiting) -> int:
    """Return the room a push may need: its payload, as much for its containers, and pages."""
    return 2 * len(waiting.push.payload) + _PAGES_BYTES


def _answer(batch: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if isinstance(answer, Receipt):
            waiting.answer.set_result(answer)
        else:
            waiting.answer.set_exception(answer)


async def _do_or_refuse(chore: _Chore) -> None:
    try:
        done = await chore.work()
    except Exception as error:
        _refuse(chore, error)
    else:
        chore.answer.set_result(done)


def _refuse(chore: _Chore, error: Exception) -> None:
    chore.answer.set_exception(error)
    chore.answer.exception()  # retrieved, or asyncio warns if the caller has left
