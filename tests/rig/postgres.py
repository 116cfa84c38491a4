"""A PostgreSQL of the tests' own: Debian's server programs, a temporary folder, loopback.

As root it runs under the user `postgres`, because the server refuses root.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 60.0
DEBIAN = Path("/usr/lib/postgresql")
USER = "postgres"


def server_programs() -> Path | None:
    """Return the folder of the newest server's programs; None: there are none here."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(DEBIAN.glob("*/bin"), key=lambda path: int(path.parent.name))
    return next((path for path in reversed(folders) if (path / "initdb").exists()), None)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Postgres:
    """One server with its data in a temporary folder; started by hand, stopped by `close`."""

    def __init__(
        self, programs: Path, settings: Sequence[str] = (), folder: Path | None = None
    ) -> None:
        """Make the data folder, in `folder` if one is given; the server is not started yet."""
        self._programs = programs
        self._settings = settings
        self._names = count(1)
        self._user = USER if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="runmeter-postgres-", dir=folder))
        self._data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.own(self.folder)
        line = ["initdb", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C"]
        self._run([*line, "--no-sync", f"--pgdata={self._data}"])

    def own(self, folder: Path) -> None:
        """Let a folder be one of the server's user."""
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)

    def use_certificate(self, chain: bytes, key: bytes) -> None:
        """Speak TLS with this certificate, from the next start on."""
        for name, content in (("server.crt", chain), ("server.key", key)):
            path = self._data / name  # where the server looks for them
            path.write_bytes(content)
            path.chmod(0o600)
            self.own(path)
        self._settings = (*self._settings, "ssl=on")

    def _as_its_user(self) -> dict[str, Any]:
        """Return how every program of the server is started."""
        return {
            "user": self._user,
            "group": self._user,
            "extra_groups": None if self._user is None else (),
            "cwd": self.folder,
            "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        }

    def _run(self, line: Sequence[str], timeout_seconds: float = START_SECONDS) -> str:
        done = subprocess.run(
            [self._programs / line[0], *line[1:]],
            **self._as_its_user(),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
        )
        if done.returncode:
            raise RuntimeError(f"{line[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        """Start the server and return when it takes connections."""
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}"]
        settings += ["max_connections=200", *self._settings]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-p", str(self.port)]
                + [word for setting in settings for word in ("-c", setting)],
                **self._as_its_user(),
                stdout=log,
                stderr=log,
            )
        ready = ["pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run([self._programs / ready[0], *ready[1:]]).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT cuts its connections, SIGQUIT is a crash; the data stay."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None

    def start_if_ended(self) -> bool:
        """Wait until the server answers; start it if it ends by itself, and tell whether it did."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None:
            try:
                self.execute("SELECT 1")
                return False
            except RuntimeError:  # it recovers, or is about to end
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.02)
        self.start()
        return True

    def kill(self) -> None:
        """End every process of the server by SIGKILL; the data stay as they are."""
        self.signal_server(signal.SIGKILL)
        self.stop()

    def signal_server(self, number: signal.Signals) -> None:
        """Send a signal to every process of the server: SIGSTOP makes it hang."""
        assert self._process is not None
        if self._process.poll() is not None:
            return  # it ended by itself: its disk has gone
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for pid in (self._process.pid, *map(int, children.read_text().split())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def create_database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"runs_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def create_user(self, name: str, password: str) -> None:
        """Make a superuser who, unlike the one of the tests, is asked for the password."""
        self.execute(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'")
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {name} all scram-sha-256\n{rules.read_text()}")
        self.execute("SELECT pg_reload_conf()")

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        return f"postgres://{USER}@127.0.0.1:{self.port}/{name}"

    def execute(
        self,
        sql: str,
        database: str = USER,
        timeout_seconds: float = START_SECONDS,
        port: int | None = None,
    ) -> list[tuple[str, ...]]:
        """Run SQL over a connection of its own; return the rows as text."""
        where = ["--host=127.0.0.1", f"--port={port or self.port}", f"--username={USER}"]
        shape = ["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1"]
        line = ["psql", *where, *shape, f"--dbname={database.rpartition('/')[2]}"]
        answer = self._run([*line, f"--command={sql}"], timeout_seconds)
        return [tuple(row.split("|")) for row in answer.splitlines()]

    def close(self) -> None:
        """Stop the server and remove its data."""
        if self._process is not None:
            self.signal_server(signal.SIGCONT)
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def serving(
    folder: Path | None = None, certificate: tuple[bytes, bytes] | None = None
) -> Iterator[Postgres]:
    """Hold a running server, with TLS if it gets chain and key; skips where there is none."""
    programs = server_programs()
    if programs is None:
        pytest.skip("needs PostgreSQL's server programs: initdb is not here")
    # in a folder of its own a test takes the disk away; elsewhere nothing has to reach the disk
    settings = () if folder else ("fsync=off", "full_page_writes=off")
    server = Postgres(programs, settings, folder)
    try:
        if certificate is not None:
            server.use_certificate(*certificate)
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session", name="postgres")
def running_postgres() -> Iterator[Postgres]:
    """A running PostgreSQL for the whole session; each test makes a database of its own."""
    with serving() as server:
        yield server
