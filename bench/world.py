"""A pid namespace that holds only the processes meant to be there, and cgroups like a pod's."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).parent
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "memory")
PYTHON = sys.executable
WAIT_SECONDS = 20.0


def missing() -> str:
    """Say what this machine lacks for a namespace of its own; empty if nothing."""
    if os.geteuid() != 0:
        return "needs root (a pid namespace of its own)"
    absent = [name for name in ("unshare", "nsenter", "cc") if shutil.which(name) is None]
    return f"needs {', '.join(absent)}" if absent else ""


def missing_cgroups() -> str:
    """Say why cgroups of version 1 cannot be made here; empty if they can."""
    if os.geteuid() != 0:
        return "needs root (cgroups of its own)"
    absent = [name for name in CONTROLLERS if not (CGROUPS / name / "cgroup.procs").exists()]
    return f"needs cgroup version 1: {', '.join(absent)}" if absent else ""


def compiled(name: str, folder: Path) -> Path:
    """Compile ``bench/<name>.c`` into a folder."""
    program = folder / name
    subprocess.run(["cc", "-O2", "-Wall", "-o", program, SOURCES / f"{name}.c"], check=True)
    return program


def collector(*arguments: str, program: Path | None = None) -> list[str]:
    """Return the command line of the collector beside this interpreter, or of another one."""
    found = program or Path(PYTHON).with_name("collector")
    return [str(found), *arguments]


def quiet_environment() -> dict[str, str]:
    """Return an environment without settings of the collector."""
    kept = ("PATH", "HOME", "LANG", "UV_CACHE_DIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


class Cgroup(NamedTuple):
    """One cgroup in every hierarchy, named as a container runtime does."""

    container_id: str
    folders: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Return the name the collector gives it."""
        return self.container_id[:12]

    @property
    def entries(self) -> list[Path]:
        """Return the files a process writes itself into."""
        return [folder / "cgroup.procs" for folder in self.folders]

    def usage_ns(self) -> int:
        """Read the kernel's own CPU counter."""
        return int((CGROUPS / "cpuacct" / self.path / "cpuacct.usage").read_text())

    @property
    def path(self) -> str:
        """Return its path in each hierarchy."""
        return f"runmeter-bench/{self.container_id}"


@contextmanager
def cgroup() -> Iterator[Cgroup]:
    """Make a cgroup; kill what is left in it and remove it at the end."""
    found = secrets.token_hex(32)
    folders = tuple(CGROUPS / name / "runmeter-bench" / found for name in CONTROLLERS)
    for folder in folders:
        folder.mkdir(parents=True)
    try:
        yield Cgroup(found, folders)
    finally:
        for folder in folders:
            _empty(folder)
            folder.rmdir()
            if not any(entry.is_dir() for entry in folder.parent.iterdir()):
                folder.parent.rmdir()


def _empty(folder: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while pids := (folder / "cgroup.procs").read_text().split():
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes are left in {folder}")
        time.sleep(0.02)


class Running(NamedTuple):
    """A program in the namespace: who started it, and its pid outside."""

    starter: subprocess.Popen[str]
    pid: int

    def end(self) -> None:
        """Kill it and wait."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.starter.wait(WAIT_SECONDS)


class World:
    """A pid namespace with idle processes; more programs can be started in it."""

    def __init__(self, init_pid: int) -> None:
        self._init_pid = init_pid
        self.running: list[Running] = []

    def start(self, argv: Sequence[str | Path], output: Path | None = None) -> Running:
        """Start a program, absolute paths; standard output and error go to a file or nowhere."""
        enter = ["nsenter", f"--target={self._init_pid}", "--pid", "--mount", "--"]
        enter += ["sh", "-c", '"$@" & wait', "sh"]  # nsenter stops itself with its own child
        with open(output or os.devnull, "w") as file:
            starter = subprocess.Popen(
                [*enter, *argv],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                text=True,
                env=quiet_environment(),
            )
        running = Running(starter, only_child(only_child(starter.pid)))
        self.running.append(running)
        return running


@contextmanager
def world(idle: Path, count: int, cgroups: Sequence[Cgroup] = ()) -> Iterator[World]:
    """Start a namespace whose pid 1 has ``count`` idle children, spread over ``cgroups``."""
    lists = [":".join(str(entry) for entry in group.entries) for group in cgroups]
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    outer = subprocess.Popen(
        [*unshare, str(idle), str(count), *lists], stdout=subprocess.PIPE, text=True
    )
    assert outer.stdout is not None
    found = World(0)
    try:
        if outer.stdout.readline() != "ready\n":
            raise RuntimeError(f"{count} idle processes could not be started")
        found = World(only_child(outer.pid))
        yield found
    finally:
        for running in found.running:
            running.end()
        outer.kill()
        outer.wait(WAIT_SECONDS)
        outer.stdout.close()


def only_child(pid: int) -> int:
    """Return the pid of a process's first child, once it has one."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise TimeoutError(f"process {pid} has started nothing")
