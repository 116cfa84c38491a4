"""Standard input and output, read and written without blocking the event loop."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from runmeter.receiver.ending import Stop
from runmeter.receiver.errors import Interrupted

LINES_MAX = 64
GROUP_MAX_BYTES = 4 * 2**20
READ_BYTES = 2**18
LINE_MAX_BYTES = 96 * 2**20  # the largest message that --max-message-bytes allows, in base64

_T = TypeVar("_T")


class Lines:
    """Reads a descriptor by lines."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._ended = False

    def read(self) -> list[bytes]:
        """Return the next lines without their newlines, up to 64 or 4 MiB; none at the end.

        Blocks. The last line may lack its newline; a line over 96 MiB comes in pieces.
        """
        parts = self._rest.split(b"\n")
        size_bytes = len(self._rest)
        while len(parts) <= LINES_MAX and not self._ended:
            if len(parts) > 1 and size_bytes > GROUP_MAX_BYTES:
                break
            if len(parts[-1]) > LINE_MAX_BYTES:
                parts.append(b"")
                break
            first, *others = self._read_some().split(b"\n")
            size_bytes += len(first) + sum(map(len, others))
            parts[-1] += first
            parts += others
        taken = parts if self._ended and len(parts) <= LINES_MAX and parts[-1] else parts[:-1]
        taken = taken[:LINES_MAX]
        self._rest = b"\n".join(parts[len(taken) :])
        return taken

    def _read_some(self) -> bytes:
        read = os.read(self._descriptor, READ_BYTES)
        self._ended = not read
        return read


def write_all(descriptor: int, content: bytes) -> None:
    """Write everything; blocks."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


async def in_thread(work: Callable[[], _T]) -> _T:
    """Run a blocking call in a thread that the program does not wait for when it ends.

    The interpreter waits for threads of an executor when it ends; a read of a pipe may never end.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(cast("_T", result))
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await future


async def wait_or_stop(stop: Stop, wanted: Awaitable[_T]) -> _T:
    """Wait for something, or until a signal.

    Raises:
        Interrupted: the signal came first; what was waited for is cancelled.
    """
    task = asyncio.ensure_future(wanted)
    first: set[asyncio.Future[Any]] = {task, stop}
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    if stop.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
        raise Interrupted(stop.result())
    return task.result()
