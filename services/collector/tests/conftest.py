"""A fake machine made of real files, and how many property cases ran."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import is_hypothesis_test, settings

from runmeter.procfs import ProcFS

RECORDINGS = Path(__file__).parents[3] / "libs" / "procfs" / "tests" / "recordings"
_cases = {"count": 0}

settings.register_profile("ci", max_examples=200, derandomize=True, deadline=None)
settings.register_profile("soak", max_examples=2000, deadline=None, database=None)
settings.load_profile("ci")

PAGE_BYTES = 4096
TICKS_PER_SECOND = 100


class Entry(NamedTuple):
    """What the fake machine says of one process; times in ticks, sizes in pages."""

    pid: int
    ppid: int = 1
    comm: bytes = b"work"
    state: str = "S"
    start: int = 1000
    own: int = 0
    waited: int = 0
    resident: int = 0
    shared: int = 0
    cgroup: str = "0::/"
    argv: tuple[str, ...] = ()
    mounts: str = ""
    sig_ign: int = 0


class Machine:
    """A folder laid out like /proc, to be read by the real ProcFS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.entries: dict[int, Entry] = {}
        self.clock(busy=0, idle=0)
        self.memory(total_kb=1000, available_kb=600)

    @property
    def proc(self) -> ProcFS:
        """Return the reader: pages of 4096 bytes, 100 ticks per second."""
        return ProcFS(str(self.folder), PAGE_BYTES, TICKS_PER_SECOND)

    def clock(self, busy: int, idle: int, iowait: int = 0) -> None:
        """Set the machine's own counters, in ticks since boot."""
        self.write("stat", f"cpu  {busy} 0 0 {idle} {iowait} 0 0 0 0 0\ncpu0 {busy} 0 0 {idle}\n"
                   "cpu1 0 0 0 0\nctxt 1\nbtime 1\nprocesses 1\n")  # fmt: skip

    def memory(self, total_kb: int, available_kb: int) -> None:
        """Set the machine's memory."""
        text = f"MemTotal: {total_kb} kB\nMemFree: 1 kB\nMemAvailable: {available_kb} kB\n"
        self.write("meminfo", text)

    def add(self, pid: int, **fields: Any) -> None:
        """Start a process."""
        self.entries[pid] = Entry(pid, **fields)
        self._write(self.entries[pid], Entry._fields)

    def change(self, pid: int, **fields: Any) -> None:
        """Change what is said of a living process."""
        self.entries[pid] = self.entries[pid]._replace(**fields)
        self._write(self.entries[pid], tuple(fields))

    def run(self, pid: int, ticks: int) -> None:
        """Let a process use CPU time."""
        self.change(pid, own=self.entries[pid].own + ticks)

    def remove(self, pid: int) -> None:
        """Let a process be no more."""
        del self.entries[pid]
        shutil.rmtree(self.folder / str(pid))

    def write(self, path: str, content: str | bytes) -> None:
        """Write one file of the mount."""
        target = self.folder / path
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    def _write(self, e: Entry, changed: tuple[str, ...]) -> None:
        (self.folder / str(e.pid)).mkdir(exist_ok=True)
        stat = f"{e.pid} (".encode() + e.comm + (
            f") {e.state} {e.ppid} {e.pid} {e.pid} 0 -1 0 0 0 0 0 {e.own} 0 {e.waited} 0 "
            f"20 0 1 0 {e.start} 1 0 18446744073709551615 0 0\n"
        ).encode()  # fmt: skip
        self.write(f"{e.pid}/stat", stat)
        if {"resident", "shared"} & set(changed):
            self.write(f"{e.pid}/statm", f"999 {e.resident} {e.shared} 1 0 1 0\n")
        if "cgroup" in changed:
            self.write(f"{e.pid}/cgroup", e.cgroup + "\n")
        if "argv" in changed:
            self.write(f"{e.pid}/cmdline", "".join(f"{word}\0" for word in e.argv))
        if "mounts" in changed:
            self.write(f"{e.pid}/mountinfo", e.mounts)
        if "sig_ign" in changed:
            status = (
                f"Name:\tx\nState:\tS (sleeping)\nTgid:\t{e.pid}\nPPid:\t{e.ppid}\n"
                "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n"
                f"VmHWM:\t    4008 kB\nThreads:\t1\nSigIgn:\t{e.sig_ign:016x}\n"
            )
            self.write(f"{e.pid}/status", status)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a fake machine without processes."""
    return Machine(tmp_path / "proc")


@pytest.fixture(scope="session")
def new_machine() -> Callable[[Path], Machine]:
    """Return the maker of fake machines, for tests that need one per property case."""
    return Machine


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Return the folder of captured and constructed /proc trees."""
    return RECORDINGS


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the folder of the contract's golden files."""
    return Path(__file__).parents[3] / "proto" / "golden"


@pytest.fixture
def golden_run(golden: Path) -> dict[str, Any]:
    """Return one full run as the REST interface shows it."""
    run: dict[str, Any] = json.loads((golden / "run.json").read_text())
    return run


def _counting(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def counted(*args: Any, **kwargs: Any) -> Any:
        _cases["count"] += 1
        return inner(*args, **kwargs)

    return counted


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count every case of the property tests."""
    seen = set()
    here = Path(__file__).parent
    for item in items:
        test = getattr(item, "obj", None)
        if here in item.path.parents and is_hypothesis_test(test) and id(test) not in seen:
            seen.add(id(test))
            test.hypothesis.inner_test = _counting(test.hypothesis.inner_test)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many cases the property tests ran."""
    terminalreporter.write_line(f"collector: property tests ran {_cases['count']} cases")
