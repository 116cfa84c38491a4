"""Many collectors of one scope and one spool, ended in many ways; what became of their runs."""

import fcntl
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rig.programs import WAIT_SECONDS, Program, Stage
from rig.stack import Scope, Stack

AT_ONCE = 8
T = TypeVar("T")


class Left(NamedTuple):
    """A run that lies in the spool."""

    state: str
    revision: int


class Losses:
    """Collectors of a test, all in one scope, by default all with one spool."""

    def __init__(self, stack: Stack, stage: Stage, scope: Scope) -> None:
        self.stack = stack
        self.stage = stage
        self.scope = scope
        self.spool = stage.folder / "spool"
        self._token = stage.keep(stack.token(scope))

    @property
    def environment(self) -> dict[str, str]:
        """What a CI system sets, and the token."""
        return self.scope.environment(self._token)

    def start(
        self,
        *arguments: str,
        endpoint: str = "",
        spool: Path | None = None,
        wrapper: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Program:
        """Start a collector that checkpoints every 100 ms and says so."""
        line = [
            *wrapper,
            "collector",
            "--interval=100ms",
            "--checkpoint-interval=100ms",
            "--log-level=debug",
            "--top=0",
            "--spool-max=100000,1Gi",
            f"--spool-dir={spool or self.spool}",
            f"--push-endpoint={endpoint or f'grpc://{self.stack.receiver.address}'}",
            *arguments,
        ]
        program: Program = self.stage.start(
            *line, environment=self.environment | dict(environment or {})
        )
        return program

    def push(self, spool: Path | None = None) -> dict[str, Any]:
        """Empty a spool with ``collector push``; return what it says became of it."""
        pusher: Program = self.stage.start(
            "collector",
            "push",
            "--json",
            f"--spool-dir={spool or self.spool}",
            f"--push-endpoint=grpc://{self.stack.receiver.address}",
            environment=self.environment,
        )
        assert pusher.wait(600) == 0, pusher.text
        said: dict[str, Any] = json.loads("\n".join(pusher.output))
        return said

    def stored(self) -> dict[str, Any]:
        """Return the records of the scope by push_id; each is there once."""
        records = self.stack.listed(self.scope, state="all", limit=10000)
        counts = Counter(record["push_id"] for record in records)
        assert not [push_id for push_id, count in counts.items() if count > 1]
        return {record["push_id"]: record for record in records}


def settle(spool: Path) -> None:
    """Wait until no process owns a run of a spool: what dead collectors have started has ended."""
    latest = time.monotonic() + WAIT_SECONDS
    while any(map(_is_held, spool.glob("*.lock"))):
        assert time.monotonic() < latest, names(spool)
        time.sleep(0.01)


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def left(spool: Path) -> dict[str, Left]:
    """Return the runs in a spool by push_id; every file with a run's name is whole."""
    found = {}
    for path in spool.glob("*.json"):
        document = json.loads(path.read_bytes())
        assert document["run"]["push_id"] == path.stem
        assert document["run"]["payload"]["sample_count"] >= 1
        assert path.stat().st_mode & 0o777 == 0o600
        found[path.stem] = Left(document["run"]["state"], document["run"]["revision"])
    return found


def names(spool: Path) -> list[str]:
    """Return all there is in a spool."""
    return sorted(str(path.relative_to(spool)) for path in spool.rglob("*"))


def push_id(program: Program) -> str:
    """Return the push_id of a collector's run; empty: none has started."""
    started = program.events("run.started")
    return str(started[0]["push_id"]) if started else ""


def is_begun(program: Program) -> bool:
    """Tell whether the run's first file was on disk."""
    return bool(program.events("checkpoint.written"))


def together(work: Callable[[random.Random], T], seed: str, count: int) -> list[T]:
    """Do something so many times, a few at once, each with random numbers of its own."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda n: work(random.Random(f"{seed} {n}")), range(count)))
