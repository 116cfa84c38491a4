"""Real programs under test: started on free ports, their logs read, stopped, searched.

A `Stage` starts programs and knows every secret they were given. When it closes, everything it
started is stopped, and no line that any program wrote may hold one of the secrets.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rig import forks

WAIT_SECONDS = 30.0
BIN = Path(sys.executable).parent
FORKED = {BIN / name for name in forks.PROGRAMS}


class ProgramEnded(Exception):
    """The program ended, or wrote nothing in time; the text holds its log."""


class Program:
    """One process: what it wrote so far, by line, while it runs."""

    def __init__(
        self, argv: Sequence[str | Path], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = Path(argv[0]).name
        self.log: list[str] = []
        self.output: list[str] = []
        self._changed = threading.Condition()
        self._silent = False  # standard error is closed: no event will come any more
        start = forks.Fork if Path(argv[0]) in FORKED else subprocess.Popen
        self.process = start(
            argv,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in (
                (self.process.stdout, self.output),
                (self.process.stderr, self.log),
            )
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._silent = self._silent or lines is self.log
            self._changed.notify_all()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON log lines of an event, so far."""
        return [line for line in map(_json_line, list(self.log)) if line.get("event") == name]

    def event(
        self, name: str, count: int = 1, timeout_seconds: float = WAIT_SECONDS
    ) -> dict[str, Any]:
        """Wait for a log line of an event, the first one, or the one of this number.

        Raises:
            ProgramEnded: it has not come in time, or never will.
        """
        self._await(lambda: len(self.events(name)) >= count, timeout_seconds)
        found = self.events(name)
        if len(found) < count:
            raise ProgramEnded(f"{self.name} has not logged {name}:\n{self.text}")
        return found[count - 1]

    def line(self, text: str) -> None:
        """Wait for a line of either stream.

        Raises:
            ProgramEnded: it has not come in time, or never will.
        """
        self._await(lambda: text in [*self.log, *self.output], WAIT_SECONDS)
        if text not in [*self.log, *self.output]:
            raise ProgramEnded(f"{self.name} has not written {text!r}:\n{self.text}")

    def _await(self, holds: Callable[[], bool], timeout_seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: holds() or self._silent, timeout=timeout_seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout_seconds: float = WAIT_SECONDS) -> int:
        """Wait for the end; return the exit code (negative: the signal that killed it)."""
        try:
            code = self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ProgramEnded(f"{self.name} has not ended:\n{self.text}") from None
        for reader in self._readers:
            reader.join(5)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        self.send(number)
        return self.wait()

    def close(self) -> None:
        """End it, by SIGKILL if need be."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.wait()

    @property
    def text(self) -> str:
        """Everything it wrote so far."""
        return "\n".join([*self.output, *self.log])


def _json_line(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class Receiver(Program):
    """A receiver that serves; ``address`` is host:port, ``database`` what ``--db`` names."""

    address: str
    ops_url: str
    read_token: str
    database: Path | str


class Gateway(Program):
    """A gateway that serves; its URLs without a slash at the end."""

    url: str
    ops_url: str


class Stage:
    """Starts programs in a folder of their own, knows their secrets, stops them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: list[Program] = []
        self._secrets: set[str] = set()

    def secret(self) -> str:
        """Make a secret that no program may ever write."""
        return self.keep(secrets.token_hex(24))

    def keep(self, secret: str) -> str:
        """Note a secret made elsewhere; return it."""
        self._secrets.add(secret)
        return secret

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment with nothing of ours or of a CI system but ``more``."""
        return {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            **(more or {}),
        }

    def start(
        self,
        program: str | Path,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        kind: type[Program] = Program,
    ) -> Any:
        """Start a program, found on PATH with ours first, or by its path."""
        surrounding = self.environment(environment)
        found = shutil.which(program, path=surrounding["PATH"])
        assert found is not None, program
        started = kind([found, *arguments], surrounding, self.folder)
        self.programs.append(started)
        return started

    def receiver(
        self,
        *arguments: str,
        hmac_key: str | None = None,
        read_token: str | None = None,
        address: str = "127.0.0.1:0",
        database: Path | str | None = None,
    ) -> Receiver:
        """Start a receiver with a database and secrets of its own; wait until it serves."""
        token = read_token or self.secret()
        path = database or self.folder / f"metrics-{len(self.programs)}.db"
        receiver: Receiver = self.start(
            "receiver",
            f"--addr={address}",
            "--ops-addr=127.0.0.1:0",
            f"--db={path}",
            *arguments,
            environment={
                "RECEIVER_READ_TOKEN": token,
                "RECEIVER_HMAC_KEY": hmac_key or self.secret(),
            },
            kind=Receiver,
        )
        receiver.read_token = token
        receiver.database = path
        started = receiver.event("server.started")
        receiver.address = started["address"]
        receiver.ops_url = f"http://{started['ops_address']}"
        return receiver

    def gateway(self, receiver_address: str, *arguments: str) -> Gateway:
        """Start a gateway in front of a receiver; wait until it serves."""
        gateway: Gateway = self.start(
            "gateway",
            "--addr=127.0.0.1:0",
            "--ops-addr=127.0.0.1:0",
            "--rate-limit=none",
            f"--receiver=grpc://{receiver_address}",
            *arguments,
            kind=Gateway,
        )
        started = gateway.event("server.started")
        gateway.url = f"http://{started['address']}"
        gateway.ops_url = f"http://{started['ops_address']}"
        return gateway

    def close(self) -> None:
        """Stop everything, the last started first."""
        for program in reversed(self.programs):
            program.close()

    def leaks(self) -> list[str]:
        """Return the lines, of any program, that hold a secret."""
        return [
            f"{program.name}: {line}"
            for program in self.programs
            for line in [*program.log, *program.output]
            if any(secret in line for secret in self._secrets)
        ]


@contextlib.contextmanager
def staged(folder: Path, kind: type[Stage] = Stage) -> Iterator[Stage]:
    """Hold a stage; at the end everything is stopped and no secret was written."""
    stage = kind(folder)
    try:
        yield stage
    finally:
        stage.close()
    assert stage.leaks() == []
