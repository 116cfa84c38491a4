"""A spool and the pushers that empty it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rig.pusher import start_pusher

from runmeter.collector.spool.folder import write_file
from runmeter.collector.spool.format import encode

TOKEN = "t0ken-nobody-may-see"
WAIT_SECONDS = 60


class Done:
    """A pusher that has ended: exit code, log lines, the object it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        output, errors = process.communicate(timeout=WAIT_SECONDS)
        assert TOKEN not in output + errors
        self.code = process.returncode
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in errors.splitlines()]
        self.report: dict[str, Any] = json.loads(output) if output else {}

    @property
    def last(self) -> dict[str, Any]:
        """Return the last log line."""
        return self.lines[-1]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of an event."""
        return [line for line in self.lines if line["event"] == name]

    def ids(self, what: str) -> list[str]:
        """Return the push_ids that the report lists under a word."""
        return [entry["push_id"] for entry in self.report[what]]


class Spool:
    """A spool folder; its runs are copies of one run, numbered by the end of their push_id."""

    def __init__(self, path: Path, run: dict[str, Any]) -> None:
        self.path = path
        self.run = run

    @staticmethod
    def push_id(number: int) -> str:
        """Return the push_id of run n."""
        return f"00000000-0000-4000-8000-{number:012}"

    def file(self, number: int, below: str = "") -> Path:
        """Return the path of run n."""
        return self.path / below / f"{self.push_id(number)}.json"

    def content(self, number: int, **changes: Any) -> bytes:
        """Return the content of the file of run n, with changes to the run."""
        return encode({**self.run, "push_id": self.push_id(number), **changes})

    def add(self, number: int, **changes: Any) -> Path:
        """Write run n, with changes."""
        content = self.content(number, **changes)
        return Path(write_file(str(self.path), self.push_id(number), content))

    def names(self) -> list[str]:
        """Return the relative paths of all files in the spool."""
        found = [p for p in self.path.rglob("*") if p.is_symlink() or not p.is_dir()]
        return sorted(str(p.relative_to(self.path)) for p in found)

    def start(self, number: int, endpoint: str, **order: Any) -> subprocess.Popen[str]:
        """Start the pusher of run n."""
        stored = {"spool_dir": str(self.path), "push_id": self.push_id(number)}
        return start_pusher(TOKEN, endpoint=endpoint, **stored, **order)

    @staticmethod
    def end(process: subprocess.Popen[str]) -> Done:
        """Wait for the end of a pusher."""
        return Done(process)

    def push(self, number: int, endpoint: str, **order: Any) -> Done:
        """Push run n, then those that wait, as a collector does at its end."""
        return Done(self.start(number, endpoint, **order))

    def start_all(self, endpoint: str, timeout_seconds: float = 20.0, **order: Any) -> Any:
        """Start the pusher of all runs, which reports as JSON."""
        what = {"task": "spool", "spool_dir": str(self.path), "as_json": True}
        timeout_ns = round(timeout_seconds * 1e9)
        return start_pusher(TOKEN, endpoint=endpoint, timeout_ns=timeout_ns, **what, **order)

    def push_all(self, endpoint: str, timeout_seconds: float = 20.0, **order: Any) -> Done:
        """Push all runs."""
        return Done(self.start_all(endpoint, timeout_seconds, **order))


@pytest.fixture
def spool(tmp_path: Path, golden_run: dict[str, Any]) -> Spool:
    """Return an empty spool; its runs are copies of the golden one."""
    return Spool(tmp_path / "spool", golden_run)


@pytest.fixture
def spooled(spool: Spool) -> Spool:
    """Return a spool that holds run 1."""
    spool.add(1)
    return spool
