"""A PgBouncer of the tests' own in front of a PostgreSQL: Debian's program, loopback."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.postgres import START_SECONDS, USER, Postgres, free_port

SBIN = "/usr/sbin"  # where Debian has it
SETTINGS = """
[databases]
* = host=127.0.0.1 port={server_port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = {clients}
server_login_retry = 1
logfile = {folder}/log
"""


class PgBouncer:
    """One pooler; it is started when it is made."""

    def __init__(self, program: str, server: Postgres, mode: str, size: int, clients: int) -> None:
        self._program = program
        self._server = server
        self._user = USER if os.geteuid() == 0 else None  # it refuses root
        self._folder = Path(tempfile.mkdtemp(prefix="runmeter-pgbouncer-"))
        self._settings = self._folder / "pgbouncer.ini"
        self.port = free_port()
        text = SETTINGS.format(
            server_port=server.port,
            user=USER,
            port=self.port,
            mode=mode,
            size=size,
            clients=clients,
            folder=self._folder,
        )
        self._settings.write_text(text)
        for path in (self._folder, self._settings):
            server.own(path)
        self.start()

    def start(self) -> None:
        """Start it; return when it takes connections."""
        self._process = subprocess.Popen(
            [self._program, "--quiet", self._settings],
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else (),
            cwd=self._folder,
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            assert time.monotonic() < deadline
            assert self._process.poll() is None
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once; its clients lose their connections."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(START_SECONDS)

    def rows(self, sql: str, url: str) -> list[tuple[str, ...]]:
        """Run SQL over a connection to the pooler; return the rows as text."""
        return self._server.execute(sql, url, port=self.port)

    def url(self, url: str) -> str:
        """Return the URL of a database, reached by this pooler."""
        return f"postgres://{USER}@127.0.0.1:{self.port}/{url.rpartition('/')[2]}"

    def close(self) -> None:
        """Stop it and remove its files."""
        self.stop()
        shutil.rmtree(self._folder)


@contextlib.contextmanager
def pooling(server: Postgres, mode: str, size: int = 3, clients: int = 100) -> Iterator[PgBouncer]:
    """Hold a running pooler of so many connections; skips where there is no program."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:{SBIN}")
    if program is None:
        pytest.skip("needs the program pgbouncer")
    pooler = PgBouncer(program, server, mode, size, clients)
    try:
        yield pooler
    finally:
        pooler.close()
