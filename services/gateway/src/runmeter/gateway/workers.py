"""Several processes on one listening socket: a parent starts, replaces and ends them.

The parent writes the settings to a worker's standard input and leaves it open: when it is closed
the parent has ended, and the worker ends too. A worker writes a line to its standard output when
it takes requests, and one when it has ended.
"""

import asyncio
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple, Self

import structlog

from runmeter.gateway import events
from runmeter.gateway.config import Settings
from runmeter.service.errors import ConfigurationError

MODULE = "runmeter.gateway.worker"
GRACE_SECONDS = 5.0
"""Time after the shutdown timeout for a worker to end by itself."""
STEADY_SECONDS = 10.0
"""A worker that served so long is replaced at once; others after a growing pause."""
PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_READY = b"ready\n"
_ENDED = b"ended"

_log = structlog.get_logger()


class Orphaned(Exception):
    """The parent ended before it sent the assignment."""


class Assignment(NamedTuple):
    """What a worker needs to serve."""

    settings: Settings
    version: str
    descriptor: int
    """Of the listening socket."""

    def write(self, to: asyncio.StreamWriter) -> None:
        """Send it to a worker; the bytes may contain a private key."""
        content = pickle.dumps(self)
        to.write(len(content).to_bytes(4, "big") + content)

    @classmethod
    def read(cls, source: BinaryIO) -> Self:
        """Receive it, and read the certificate files again if they can be used.

        Raises:
            Orphaned: the parent has ended.
        """
        length = int.from_bytes(source.read(4), "big")
        content = source.read(length)
        if not content or len(content) < length:
            raise Orphaned
        # only the parent has the other end of the pipe
        found: Self = pickle.loads(content)
        with suppress(ConfigurationError):
            return found._replace(settings=found.settings.reread())
        return found


def report(to: BinaryIO, aborted_count: int | None = None) -> None:
    """Report to the parent that this worker takes requests, or at its end what was cut off."""
    with suppress(BrokenPipeError):  # the parent has ended; standard input shows that as well
        to.write(_READY if aborted_count is None else b"%b %d\n" % (_ENDED, aborted_count))


class CannotStart(Exception):
    """A worker ended before it accepted requests; its own output gives the reason."""


class Workers:
    """Keeps a number of workers running."""

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
        """Start all of them and wait until they take requests.

        Raises:
            CannotStart: one ended before that.
        """
        ready = [asyncio.Event() for _ in range(self._count)]
        self._slots = [asyncio.create_task(self._keep(event)) for event in ready]
        waiting: asyncio.Future[Any] = asyncio.gather(*(event.wait() for event in ready))
        await asyncio.wait({waiting, *self._slots}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            for slot in self._slots:
                if slot.done():
                    slot.result()  # raises if this process has a defect
            raise CannotStart

    def send(self, number: int) -> None:
        """Send a signal to each worker."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def stop(self, timeout_seconds: float, hurried: asyncio.Event) -> int:
        """End the workers; returns how many connections were cut off. ``hurried``: do not wait."""
        self._is_stopping = True
        self.send(signal.SIGTERM)
        ended: asyncio.Future[Any] = asyncio.gather(*self._slots, return_exceptions=True)
        hurry = asyncio.create_task(hurried.wait())
        deadline = asyncio.get_running_loop().time() + timeout_seconds + GRACE_SECONDS
        await asyncio.wait(
            {ended, hurry}, timeout=timeout_seconds + GRACE_SECONDS, return_when="FIRST_COMPLETED"
        )
        if hurry.done():
            # its second signal; of another kind, as two of the same kind may arrive as one
            self.send(signal.SIGINT)
            left_seconds = min(GRACE_SECONDS, deadline - asyncio.get_running_loop().time())
            await asyncio.wait({ended}, timeout=max(0.0, left_seconds))
        hurry.cancel()
        for process in self._processes:
            process.kill()
        await ended
        return self._aborted_count

    async def _keep(self, ready: asyncio.Event) -> None:
        """Run a worker and replace it when it ends; return if the first never accepted requests."""
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
        """Wait, but not once the workers should end."""
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
            start_new_session=True,  # Ctrl-C goes to the parent, which passes it on
        )
        self._processes.add(process)
        if self._is_stopping:
            process.terminate()
        try:
            stdin: Any = process.stdin
            with suppress(ConnectionError):
                self._assignment.write(stdin)
                await stdin.drain()
            await self._read_reports(process, ready)
            return process, await process.wait()
        finally:
            self._processes.discard(process)

    async def _read_reports(
        self, process: asyncio.subprocess.Process, ready: asyncio.Event
    ) -> None:
        """Read what a worker reports, until it has ended."""
        stdout: Any = process.stdout
        while line := await stdout.readline():
            word, _, rest = line.partition(b" ")
            if line == _READY:
                _log.info(events.WORKER_STARTED, pid=process.pid)
                ready.set()
            elif word == _ENDED:
                self._aborted_count += int(rest)
