"""Several processes on one listening socket: a parent that starts, replaces and ends them.

The parent writes the settings to a worker's standard input and leaves it open: where it is
closed the parent is gone, and the worker ends. A worker writes a line to its standard output when
it takes requests, and one when it has ended.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, Final, NamedTuple

import structlog

from runmeter.gateway import events
from runmeter.gateway.config import ConfigError, Settings

MODULE: Final = "runmeter.gateway.worker"
GRACE_SECONDS: Final = 5.0
"""Beyond the shutdown timeout, for a worker to end by itself."""
STEADY_SECONDS: Final = 10.0
"""A worker that lived so long is replaced at once; others after a pause that doubles."""
PAUSES_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_READY: Final = b"ready\n"
_ENDED: Final = b"ended"

_log = structlog.get_logger()


class Orphaned(Exception):
    """The parent has ended before it said what to do."""


class Assignment(NamedTuple):
    """What a worker needs to know."""

    settings: Settings
    version: str
    descriptor: int
    """Of the listening socket."""

    def write(self, to: asyncio.StreamWriter) -> None:
        """Hand it over; what is written may hold a key."""
        content = pickle.dumps(self)
        to.write(len(content).to_bytes(4, "big") + content)

    @classmethod
    def read(cls, source: BinaryIO) -> Assignment:
        """Take it, with files of certificates as they are by now if they will do.

        Raises:
            Orphaned: the parent is gone.
        """
        length = int.from_bytes(source.read(4), "big")
        content = source.read(length)
        if not content or len(content) < length:
            raise Orphaned
        # from the parent alone: nobody else has the other end
        found: Assignment = pickle.loads(content)
        with suppress(ConfigError):
            return found._replace(settings=found.settings.reread())
        return found


def tell_ready(to: BinaryIO) -> None:
    """Tell the parent that this worker takes requests."""
    _tell(to, _READY)


def tell_ended(to: BinaryIO, aborted_count: int) -> None:
    """Tell the parent how many connections had to be cut off."""
    _tell(to, b"%b %d\n" % (_ENDED, aborted_count))


def _tell(to: BinaryIO, line: bytes) -> None:
    with suppress(BrokenPipeError):  # the parent is gone, as standard input says, too
        to.write(line)


class CannotStart(Exception):
    """A worker ended before it took requests; what it wrote says why."""


class Workers:
    """Keeps a number of workers alive."""

    def __init__(
        self,
        count: int,
        assignment: Assignment,
        environ: Mapping[str, str],
        died: Callable[[int], None],
    ) -> None:
        self._count = count
        self._assignment = assignment
        self._environ = environ
        self._died = died
        self._is_stopping = False
        self._processes: set[asyncio.subprocess.Process] = set()
        self._slots: list[asyncio.Task[None]] = []
        self._aborted_count = 0

    async def start(self) -> None:
        """Start them all; they take requests when this returns.

        Raises:
            CannotStart
        """
        ready = [asyncio.Event() for _ in range(self._count)]
        self._slots = [asyncio.create_task(self._keep(event)) for event in ready]
        waiting: asyncio.Future[Any] = asyncio.gather(*(event.wait() for event in ready))
        await asyncio.wait({waiting, *self._slots}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            for slot in self._slots:
                if slot.done():
                    slot.result()  # a defect of ours is no worker's
            raise CannotStart

    def send(self, number: int) -> None:
        """Send a signal to each."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def stop(self, timeout_seconds: float, hurried: asyncio.Event) -> int:
        """End them; returns how many connections were cut off. ``hurried``: do not wait."""
        self._is_stopping = True
        self.send(signal.SIGTERM)
        ended: asyncio.Future[Any] = asyncio.gather(*self._slots, return_exceptions=True)
        hurry = asyncio.create_task(hurried.wait())
        deadline = asyncio.get_running_loop().time() + timeout_seconds + GRACE_SECONDS
        await asyncio.wait(
            {ended, hurry}, timeout=timeout_seconds + GRACE_SECONDS, return_when="FIRST_COMPLETED"
        )
        if hurry.done():
            # to a worker, too, the second one; another, as two of one kind may arrive as one
            self.send(signal.SIGINT)
            left_seconds = min(GRACE_SECONDS, deadline - asyncio.get_running_loop().time())
            await asyncio.wait({ended}, timeout=max(0.0, left_seconds))
        hurry.cancel()
        for process in self._processes:
            process.kill()
        await ended
        return self._aborted_count

    async def _keep(self, ready: asyncio.Event) -> None:
        """Have one worker, and another where it ends; ends itself where the first never served."""
        loop = asyncio.get_running_loop()
        quick_count = 0
        while not self._is_stopping:
            began = loop.time()
            process, code = await self._run(ready)
            if self._is_stopping or not ready.is_set():
                return
            lived_seconds = loop.time() - began
            _log.error(
                events.WORKER_DIED,
                pid=process.pid,
                exit_code=code,
                lived_seconds=round(lived_seconds, 3),
            )
            self._died(process.pid)
            quick_count = 0 if lived_seconds >= STEADY_SECONDS else quick_count + 1
            if quick_count:
                await self._pause(PAUSES_SECONDS[min(quick_count, len(PAUSES_SECONDS)) - 1])

    async def _pause(self, seconds: float) -> None:
        """Wait, but not while all should end."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self._is_stopping and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)

    async def _run(self, ready: asyncio.Event) -> tuple[asyncio.subprocess.Process, int]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", *(f"-W{option}" for option in sys.warnoptions), "-m", MODULE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._assignment.descriptor,),
            env=dict(self._environ),
            start_new_session=True,  # Ctrl-C is for the parent, which tells them
        )
        self._processes.add(process)
        if self._is_stopping:
            process.terminate()
        try:
            stdin: Any = process.stdin
            with suppress(ConnectionError):
                self._assignment.write(stdin)
                await stdin.drain()
            await self._listen(process, ready)
            return process, await process.wait()
        finally:
            self._processes.discard(process)

    async def _listen(self, process: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
        """Take in what a worker tells, until it has ended."""
        stdout: Any = process.stdout
        while line := await stdout.readline():
            word, _, rest = line.partition(b" ")
            if line == _READY:
                _log.info(events.WORKER_STARTED, pid=process.pid)
                ready.set()
            elif word == _ENDED:
                self._aborted_count += int(rest)


def inherited(descriptor: int) -> socket.socket:
    """Return the listening socket that a worker was given."""
    return socket.socket(fileno=descriptor)
