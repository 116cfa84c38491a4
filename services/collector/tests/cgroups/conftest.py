"""Real cgroups of version 1 and real processes in them, controlled by the tests."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "memory", "pids")
WAIT_SECONDS = 60.0
# enters the cgroups named before `--`, then becomes what is named behind it
ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'
WORKER = """
import os, signal, sys, time
held = []
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
def fork(work, argument):
    pid = os.fork()
    if not pid:
        work(argument)
        os._exit(0)
    return pid
print("ready", flush=True)
for line in sys.stdin:
    verb, argument = line.split()
    number = float(argument)
    answer = "done"
    if verb == "burn":
        burn(number)
    elif verb == "job":
        os.waitpid(fork(burn, number), 0)
    elif verb == "hold":
        held.append(b"x" * int(number))
    elif verb == "jobhold":
        _, answer = os.waitpid(fork(lambda n: held.append(b"x" * int(n)), number), 0)
    elif verb == "sleeper":
        answer = fork(lambda n: signal.pause(), number)
    print(answer, flush=True)
"""


def missing() -> str:
    """Return why these tests cannot run on this machine; empty if they can."""
    if os.geteuid() != 0:
        return "not root"
    if not (ROOT / "cpuacct" / "cpuacct.usage").exists():
        return "no cpuacct.usage"
    for controller in CONTROLLERS:
        probe = ROOT / controller / f"runmeter-{secrets.token_hex(8)}"
        try:
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            return f"{probe.parent}: {error.strerror}"
    absent = [name for name in ("unshare", "setpriv", "mount") if shutil.which(name) is None]
    return f"no {absent[0]}" if absent else ""


MISSING = missing()


class Worker:
    """A process that executes commands and reports when it is done."""

    def __init__(self, argv: list[str], folder: Path, program: str) -> None:
        self._process = subprocess.Popen(
            [*argv, program, "-I", "-S", "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        self.pid = self._process.pid
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, verb: str, number: float = 0) -> str:
        """Execute a command: `burn` s, `job` s, `hold` bytes, `jobhold` bytes, `sleeper`."""
        assert self._process.stdin is not None
        print(verb, number, file=self._process.stdin, flush=True)
        answer = self._answer()
        assert answer, f"it ended while it should {verb}"
        return answer

    def end(self, number: signal.Signals | None = None) -> None:
        """End it, by a signal or by itself, and wait for it."""
        if number is not None:
            self._process.send_signal(number)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(WAIT_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Cgroup:
    """One cgroup in the hierarchies of cpu, cpuacct, memory and pids."""

    def __init__(self, path: str) -> None:
        self.path = path
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def folders(self) -> list[Path]:
        """Where it is in each hierarchy."""
        return [self.folder(controller) for controller in CONTROLLERS]

    def folder(self, controller: str) -> Path:
        """Return the folder of this cgroup in one hierarchy."""
        return ROOT / controller / self.path.lstrip("/")

    def read(self, file: str) -> int:
        """Read the number in a file, `controller.name`, of the kernel."""
        controller = file.partition(".")[0]
        return int((self.folder(controller) / file).read_text())

    def write(self, file: str, number: int) -> None:
        """Set a limit."""
        (self.folder(file.partition(".")[0]) / file).write_text(str(number))

    def is_there(self) -> bool:
        """Return whether it exists."""
        return self.folder("pids").exists()

    def pids(self) -> list[int]:
        """Return the pids in it."""
        return [int(pid) for pid in (self.folder("pids") / "cgroup.procs").read_text().split()]

    def remove(self) -> None:
        """Remove it, once its last process has ended."""
        deadline = time.monotonic() + WAIT_SECONDS
        for folder in self.folders:
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.005)


class Cgroups:
    """Makes cgroups and workers; removes all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.top = f"/runmeter-{secrets.token_hex(8)}"
        self._made: dict[str, Cgroup] = {}
        self._workers: list[Worker] = []
        self.plain("")

    def plain(self, name: str) -> Cgroup:
        """Make a cgroup that is no container."""
        return self._make(f"{self.top}/{name}".rstrip("/"))

    def container(self) -> Cgroup:
        """Make the cgroup of a container."""
        return self._make(f"{self.top}/{secrets.token_hex(32)}")

    def below(self, cgroup: Cgroup, path: str) -> Cgroup:
        """Make a cgroup in another, and those between them."""
        for name in path.split("/"):
            cgroup = self._make(f"{cgroup.path}/{name}")
        return cgroup

    def again(self, cgroup: Cgroup) -> Cgroup:
        """Make a cgroup that was removed, under the same path."""
        return self._make(cgroup.path)

    def _make(self, path: str) -> Cgroup:
        self._made[path] = Cgroup(path)
        return self._made[path]

    def start(self, cgroup: Cgroup, *wrapper: str | Path, name: str = "") -> Worker:
        """Start a worker in a cgroup, through another program or by another name if wanted."""
        entries = [str(folder / "cgroup.procs") for folder in cgroup.folders]
        argv = ["sh", "-c", ENTER, "sh", *entries, "--", *map(str, wrapper)]
        program = self.folder / name if name else Path(sys.executable)
        if not program.exists():
            program.symlink_to(Path(sys.executable).resolve())
        self._workers.append(Worker(argv, self.folder, str(program)))
        return self._workers[-1]

    def start_with_view(self, cgroup: Cgroup, view: Path, *mounts: str) -> Worker:
        """Start a worker that sees a folder as /sys/fs/cgroup, ``mounts`` (shell) made in it."""
        script = "; ".join(
            [*mounts, f"mount --rbind {view} /sys/fs/cgroup", 'exec "$@"'],
        )
        unshare = ("unshare", "--mount", "--propagation", "private")
        return self.start(cgroup, *unshare, "sh", "-e", "-c", script, "sh")

    def end(self, pid: int) -> None:
        """Kill a process and wait until its cgroups have let it go."""
        os.kill(pid, signal.SIGKILL)
        for worker in self._workers:
            if worker.pid == pid:
                worker.end()
        deadline = time.monotonic() + WAIT_SECONDS
        while any(pid in cgroup.pids() for cgroup in self._made.values() if cgroup.is_there()):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def close(self) -> None:
        """End all workers and all other processes in the cgroups, then remove the cgroups."""
        for worker in self._workers:
            worker.end(signal.SIGKILL)
        for cgroup in sorted(self._made.values(), key=lambda one: -len(one.path)):
            if cgroup.is_there():
                for pid in cgroup.pids():
                    os.kill(pid, signal.SIGKILL)
            cgroup.remove()


@pytest.fixture
def cgroups(tmp_path: Path) -> Iterator[Cgroups]:
    """Return a maker of cgroups; they are removed after the test."""
    if MISSING:
        pytest.skip(f"needs root and writable cgroups, version 1: {MISSING}")
    made = Cgroups(tmp_path)
    try:
        yield made
    finally:
        made.close()
    assert not (ROOT / "cpuacct" / made.top.lstrip("/")).exists()


@pytest.fixture
def sidecar_root(cgroups: Cgroups, tmp_path: Path) -> Path:
    """Return a view of cgroups as a sidecar has it: only its own."""
    own = cgroups.container()
    root = tmp_path / "sidecar"
    root.mkdir()
    for controller in CONTROLLERS:
        (root / controller).symlink_to(own.folder(controller))
    return root


@pytest.fixture
def detach_streams() -> Iterator[None]:
    """Close the counters a test leaves open: as many as this machine has containers."""
    before = _open_in(str(ROOT))
    yield
    for descriptor in _open_in(str(ROOT)) - before:
        os.close(descriptor)


def _open_in(folder: str) -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            if os.readlink(f"/proc/self/fd/{name}").startswith(folder):
                found.add(int(name))
    return found


@pytest.fixture
def in_time() -> Iterator[None]:
    """Raise TimeoutError after five seconds."""

    def give_up(number: int, frame: object) -> None:
        raise TimeoutError("blocked")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 5.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def is_open() -> Callable[..., int]:
    """Return a function that counts the open files and folders of this process, without pipes.

    Given a name, only those with it in their path.
    """

    def count(name_in_path: str = "") -> int:
        gc.collect()
        found = 0
        for name in os.listdir("/proc/self/fd"):
            try:
                path = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:  # the listing's own
                continue
            found += path.startswith("/") and name_in_path in path
        return found

    return count
