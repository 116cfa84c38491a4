"""End the program: at a signal, at a second signal, or if a statement does not end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

import structlog

from runmeter.receiver import events
from runmeter.receiver.store.writer import Writer
from runmeter.service.signals import Signals

WRITER_END_SECONDS = 1.0
COMMAND_END_SECONDS = 3.0

_T = TypeVar("_T")
Stop = asyncio.Future[str]
"""Resolves to the name of the signal that ends the program."""


async def run_command(work: Callable[[Stop], Coroutine[Any, Any, int]]) -> int:
    """Do the work of a command until it ends or a signal comes; return the exit status.

    After a signal the work has some seconds to end: a statement may wait for a lock or a server.
    """
    with Signals(end_at_second, hangup=False) as signals:
        stop = signals.stop

        def give_up() -> NoReturn:
            number = signal.Signals[stop.result()]
            _end_at_once(f"{number.name} was received and a statement does not end", 128 + number)

        return await _end_or_give_up(work(stop), stop, COMMAND_END_SECONDS, give_up)


async def run_until(stop: Stop, work: Coroutine[Any, Any, _T]) -> _T:
    """Do some work; a signal ends the program at once, also while the work waits for a lock."""

    def give_up() -> NoReturn:
        _end_at_once(f"{stop.result()} before the migration was done", 0)

    return await _end_or_give_up(work, stop, 0.0, give_up)


async def _end_or_give_up(
    work: Coroutine[Any, Any, _T],
    stop: Stop,
    wait_seconds: float,
    give_up: Callable[[], NoReturn],
) -> _T:
    """Do some work to its end, or give up some seconds after a signal.

    The database rolls back what was not committed, as after a SIGKILL.
    """
    task = asyncio.create_task(work)
    either: set[asyncio.Future[Any]] = {task, stop}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not (await asyncio.wait({task}, timeout=wait_seconds))[0]:
        give_up()
    return await task


@asynccontextmanager
async def writing(writer: Writer) -> AsyncIterator[Writer]:
    """Run the writer's task; end it when the calls are over.

    If a transaction hangs, on a lock or a slow disk, the program ends without it: none of its
    pushes was acknowledged.
    """
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        writer.abandon()
        if not (await asyncio.wait({task}, timeout=WRITER_END_SECONDS))[0]:
            _end_at_once("a transaction does not end", 1)
        await task


def end_at_second(number: int) -> NoReturn:
    """End at a second signal."""
    _end_at_once("a second signal", 128 + number)


def _end_at_once(reason: str, status: int) -> NoReturn:
    """End immediately: all acknowledged pushes are committed."""
    structlog.get_logger().warning(events.SERVER_KILLED, reason=reason)
    sys.stderr.flush()
    os._exit(status)
