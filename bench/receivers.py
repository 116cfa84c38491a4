"""Receivers to be measured: the program as it is, and the same with another way of storing.

``python -m bench.receivers VARIANT …`` is the receiver whose writer stores nothing (`nowhere`) or
commits each push by itself (`single`).
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvloop

from bench.runs import SCOPE
from runmeter.receiver import app, config
from runmeter.receiver.model import Push, Receipt, Scope
from runmeter.receiver.store.writer import Writer
from runmeter.receiver.tokens import Keyring
from runmeter.service import logs

ROOT = Path(__file__).parent.parent
KEY = "hmac-key-of-benchmarks"
READ_TOKEN = "read-token-of-benchmarks"
START_SECONDS = 30.0


class Nowhere(Writer):
    """Acknowledges at once: what the server costs without storage."""

    async def write(self, push: Push) -> Receipt:
        """Store nothing."""
        await asyncio.sleep(0)
        return Receipt(1, duplicate=False)


VARIANTS = {"nowhere": Nowhere, "single": partial(Writer, batch_max=1), "group": Writer}


class Load(NamedTuple):
    """What became of a burst of pushes."""

    pushed_count: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failures: dict[str, int]

    @property
    def rate(self) -> float:
        """Return acknowledged pushes per second."""
        return self.pushed_count / self.seconds


def run_load(command: list[str]) -> Load:
    """Run a client process to its end; return what it has measured."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    return Load(**json.loads(done.stdout))


class Server:
    """A server that takes pushes."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.process = process
        self.address = address

    def load(self, concurrency: int, count: int, most_seconds: float = 60.0) -> Load:
        """Push with a client process; every push that failed is in `failures`."""
        raise NotImplementedError

    def rss_mib(self) -> float:
        """Return the resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Receiver(Server):
    """A receiver that serves."""

    def load(self, concurrency: int, count: int, most_seconds: float = 60.0) -> Load:
        """Push with a client process; every push that failed is in `failures`."""
        token = Keyring([KEY]).mint(Scope(**SCOPE))
        client = [sys.executable, "-m", "bench.load", self.address, f"--token={token}"]
        bounds = [f"--count={count}", f"--most-seconds={most_seconds}"]
        return run_load([*client, f"--concurrency={concurrency}", *bounds])


@contextmanager
def receiver(folder: Path, database: str, variant: str = "group") -> Iterator[Receiver]:
    """Run a receiver on a free port; its log is a file in the folder."""
    secret = {"RECEIVER_READ_TOKEN": READ_TOKEN, "RECEIVER_HMAC_KEY": KEY}
    with serving(folder, "bench.receivers", variant, database, **secret) as (process, address):
        yield Receiver(process, address)


@contextmanager
def serving(
    folder: Path, module: str, *arguments: str, **environ: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a module until it says `server.started`; yields process and address."""
    path = folder / f"{module}-{secrets.token_hex(4)}.log"
    with path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **environ},
            stderr=log,
        )
    try:
        yield process, _address(process, path)
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if '"server.started"' in line:
                return str(json.loads(line)["address"])
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text()}")


def main(arguments: Sequence[str]) -> int:
    """Serve as `receiver` does, with the writer of a variant."""
    variant, database = arguments
    loaded = config.load_serve(
        {"addr": "127.0.0.1:0", "db": database, "migrate": True, "ops_addr": "none"}
    )
    logs.configure(logs.LogConfig("info", "json"), sys.stderr)
    return uvloop.run(app.serve(loaded, VARIANTS[variant]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
