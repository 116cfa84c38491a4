"""Counters of real cgroups: what is read, and which files are refused."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runmeter.collector.cgroups.counters import Reading, Source
from runmeter.collector.cgroups.discovery import Hierarchies, hierarchies, open_source
from runmeter.collector.cgroups.files import Crowded, Refused
from runmeter.collector.processes.containers import container_key
from runmeter.procfs import ControlGroup, ProcFS

ROOT = "/sys/fs/cgroup"
PROC = ProcFS("/proc", os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK"))
MEBIBYTE = 2**20
Opener = Callable[..., Source | None]


@pytest.fixture
def open_counters(is_open: Callable[[], int]) -> Iterator[Opener]:
    """Return what opens the counters of a process; at the end no descriptor is left."""
    opened: list[Source] = []
    before = is_open()

    def find(
        pid: int,
        own: Hierarchies | None = None,
        groups: list[ControlGroup] | None = None,
        root: str = "",
        keep_below: int = 1000,
        unreadable: Counter[str] | None = None,
    ) -> Source | None:
        found = PROC.proc_cgroup(pid) if groups is None else groups
        own = own or hierarchies(ROOT)
        root = root or f"/proc/{pid}/root"
        key = container_key(tuple(found))
        counted = Counter[str]() if unreadable is None else unreadable
        source = open_source(own, root, pid, key, found, keep_below, counted)
        if source is not None:
            opened.append(source)
        return source

    yield find
    for source in opened:
        source.close()
    assert is_open() == before


def test_our_own_view(cgroups: Any, open_counters: Opener) -> None:
    """All counters of a container are those the kernel shows in our own view."""
    container = cgroups.container()
    worker = cgroups.start(container)
    worker.tell("burn", 0.05)
    worker.tell("hold", 20 * MEBIBYTE)
    source = open_counters(worker.pid)
    assert source is not None
    before = container.read("cpuacct.usage")
    found = source.read()
    assert found.cpu_ns is not None
    assert before <= found.cpu_ns <= container.read("cpuacct.usage")
    assert found.cpu_ns > 50_000_000
    assert found.memory_bytes == pytest.approx(container.read("memory.usage_in_bytes"), abs=2**18)
    assert found.memory_bytes > 20 * MEBIBYTE
    assert found.working_set_bytes is not None
    assert 20 * MEBIBYTE < found.working_set_bytes <= found.memory_bytes
    assert found.peak_bytes == container.read("memory.max_usage_in_bytes")
    assert (found.throttled_ns, found.oom_kills) == (0, 0)


@pytest.fixture
def worker(cgroups: Any) -> Any:
    """Return a worker in a container of its own."""
    return cgroups.start(cgroups.container())


@pytest.fixture
def lowest(worker: Any) -> Iterator[int]:
    """Return the lowest free descriptor; those above it are free as well."""
    highest = max(map(int, os.listdir("/proc/self/fd")))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] <= highest:
        taken.append(os.open(os.devnull, os.O_RDONLY))
    os.close(taken[-1])
    yield taken.pop()
    for descriptor in taken:
        os.close(descriptor)


# of v1: three folders, the counter of CPU time, five of details below a half of all numbers
@pytest.mark.parametrize(("spare", "count"), [(0, 0), (2, 0), (3, 4), (8, 4), (1000, 9)])
def test_few_descriptors(
    worker: Any,
    lowest: int,
    open_counters: Opener,
    is_open: Callable[[], int],
    spare: int,
    count: int,
) -> None:
    """With few free descriptors, fewer files or none stay open; each reading is complete."""
    before = is_open()
    try:
        source = open_counters(worker.pid, keep_below=lowest + spare)
    except Crowded:
        source = None
    assert (source is None) == (count == 0)
    for _ in range(2 * bool(source)):
        assert source is not None
        assert None not in source.read()
    assert is_open() - before == count


def test_version_2(cgroups: Any, open_counters: Opener) -> None:
    """In the unified hierarchy CPU time is that of cpu.stat, in microseconds."""
    root = Path(ROOT) / "unified"
    if not (root / "cgroup.procs").exists():
        pytest.skip("needs root and writable cgroups, version 1: no unified hierarchy beside")
    worker = cgroups.start(cgroups.plain("v2"))
    path = f"/{'ab' * 32}"
    folder = root / path[1:]
    folder.mkdir()
    try:
        (folder / "cgroup.procs").write_text(str(worker.pid))
        worker.tell("burn", 0.05)
        own = Hierarchies(str(root), {}, os.stat(root / "cgroup.procs").st_dev)
        source = open_counters(worker.pid, own, [ControlGroup(0, (), path)])
        assert source is not None
        found = source.read()
        lines = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        assert found.cpu_ns is not None
        assert 50_000_000 < found.cpu_ns <= int(lines["usage_usec"]) * 1000
        assert found.memory_bytes is None  # the controller is bound to version 1 here
    finally:
        worker.end()
        folder.rmdir()


@pytest.mark.parametrize("below", ["container", "init.scope/deep", "cd" * 32])
def test_a_process_below_the_container_opens_the_containers_own(
    cgroups: Any, open_counters: Opener, below: str
) -> None:
    """Podman's ``container``, a service of systemd, a nested container: all count to the outer."""
    container = cgroups.container()
    cgroups.start(container).tell("burn", 0.03)  # in the container's own cgroup
    inner = cgroups.start(cgroups.below(container, below))
    before = container.read("cpuacct.usage")
    source = open_counters(inner.pid)
    assert source is not None
    inner.tell("burn", 0.05)
    found = source.read()
    assert found.cpu_ns is not None
    assert before + 50_000_000 < found.cpu_ns <= container.read("cpuacct.usage")
    assert found.peak_bytes == container.read("memory.max_usage_in_bytes")


def test_kills_are_not_known_where_cgroups_lie_below(cgroups: Any, open_counters: Opener) -> None:
    """Version 1 counts an OOM kill only in the cgroup of the process, here in an inner one."""
    container = cgroups.container()
    source = open_counters(cgroups.start(container).pid)
    assert source is not None
    assert source.read().oom_kills == 0
    inner = cgroups.below(container, "inner")
    worker = cgroups.start(inner)
    inner.write("memory.limit_in_bytes", 32 * MEBIBYTE)
    assert worker.tell("jobhold", 64 * MEBIBYTE) == "9"
    assert "oom_kill 1" in (inner.folder("memory") / "memory.oom_control").read_text()
    found = source.read()
    assert found.oom_kills is None
    assert None not in found._replace(oom_kills=0)
    worker.end()
    inner.remove()
    assert source.read().oom_kills is None  # its kills are not counted anywhere


def test_a_path_counts_while_nothing_lies_below(cgroups: Any, open_counters: Opener) -> None:
    """A cgroup that is no container includes those below it: counted only while it is a leaf."""
    plain = cgroups.plain("service")
    source = open_counters(cgroups.start(plain).pid)
    assert source is not None
    assert source.read().cpu_ns is not None
    below = cgroups.below(plain, "inner")
    assert source.read() == Reading()
    below.remove()
    assert source.read().cpu_ns is not None


def test_a_removed_cgroup_reads_nothing(cgroups: Any, open_counters: Opener) -> None:
    """After rmdir every counter is None, and the source says it is gone."""
    container = cgroups.container()
    worker = cgroups.start(container)
    source = open_counters(worker.pid)
    assert source is not None
    worker.end()
    assert source.read().cpu_ns is not None  # its last value stays readable
    container.remove()
    assert source.read() == Reading()
    assert source.is_gone


def test_an_ended_process_opens_nothing(cgroups: Any, open_counters: Opener) -> None:
    """A pid that has ended is in no cgroup."""
    worker = cgroups.start(cgroups.container())
    groups = PROC.proc_cgroup(worker.pid)
    worker.end()
    with pytest.raises(Refused):
        open_counters(worker.pid, groups=groups)


def test_a_path_that_climbs_is_not_joined(
    cgroups: Any, open_counters: Opener, tmp_path: Path
) -> None:
    """A path with `..` is not opened in the collector's own view, although a file is there."""
    container = cgroups.container()
    worker = cgroups.start(container)
    (tmp_path / "empty").mkdir()
    climbing = [ControlGroup(2, ("cpuacct",), f"{cgroups.top}/..{container.path}")]
    assert (Path(ROOT) / "cpuacct" / climbing[0].path.lstrip("/")).exists()
    assert open_counters(worker.pid, groups=climbing, root=str(tmp_path / "empty")) is None
    straight = [ControlGroup(2, ("cpuacct",), container.path)]
    assert open_counters(worker.pid, groups=straight, root=str(tmp_path / "empty")) is not None


# -- the view of the container ------------------------------------------------------------


class Views:
    """A worker whose container has a constructed view of cgroups, and a sidecar that reads it."""

    def __init__(self, cgroups: Any, sidecar_root: Path, folder: Path) -> None:
        self._cgroups = cgroups
        self.container = cgroups.container()
        self.other = cgroups.container()
        self.own = hierarchies(str(sidecar_root))
        self.view = folder / "view"
        self.view.mkdir()
        self.files = folder / "files"
        self.files.mkdir()

    def bind(self, source: Path, target: str) -> str:
        """Return how a file or folder is mounted into the view."""
        return f"mount --bind {source} {self.view / target}"

    def bind_own(self) -> str:
        """Return how the container's own cgroup is mounted into its view, as runtimes do."""
        (self.view / "cpuacct").mkdir()
        return self.bind(self.container.folder("cpuacct"), "cpuacct")

    def start(self, *mounts: str) -> Any:
        """Start the worker with the view made of these mounts."""
        return self._cgroups.start_with_view(self.container, self.view, *mounts)


@pytest.fixture
def views(cgroups: Any, sidecar_root: Path, tmp_path: Path) -> Views:
    """Return a container, another one, and a sidecar that sees neither cgroup by itself."""
    return Views(cgroups, sidecar_root, tmp_path)


def test_the_containers_own_view(views: Views, open_counters: Opener) -> None:
    """Through the root of a process a sidecar reads the cgroup that holds the process."""
    worker = views.start(views.bind_own())
    worker.tell("burn", 0.05)
    source = open_counters(worker.pid, views.own)
    assert source is not None
    found = source.read().cpu_ns
    assert found is not None
    assert 50_000_000 < found <= views.container.read("cpuacct.usage")


def test_the_view_of_a_whole_machine(views: Views, open_counters: Opener) -> None:
    """Where the container sees all cgroups its own is found in there by its path."""
    (views.view / "cpuacct").mkdir()
    worker = views.start(views.bind(Path(ROOT) / "cpuacct", "cpuacct"))
    source = open_counters(worker.pid, views.own)
    assert source is not None
    assert source.read().cpu_ns == views.container.read("cpuacct.usage")


def _made_up(views: Views) -> list[str]:
    """A plain folder, its numbers invented, the process named in it."""
    folder = views.view / "cpuacct"
    folder.mkdir()
    (folder / "cpuacct.usage").write_text("123456789\n")
    return [f"echo $$ > {folder}/cgroup.procs"]


def _linked(views: Views) -> list[str]:
    """A symbolic link to a folder of invented numbers."""
    commands = _made_up(views)
    (views.view / "cpuacct").rename(views.view / "made")
    (views.view / "cpuacct").symlink_to(views.view / "made")
    return commands


def _linked_to_another(views: Views) -> list[str]:
    """A symbolic link to the real cgroup of another container."""
    (views.view / "cpuacct").symlink_to(views.other.folder("cpuacct"))
    return []


def _another(views: Views) -> list[str]:
    """The real cgroup of another container."""
    (views.view / "cpuacct").mkdir()
    return [views.bind(views.other.folder("cpuacct"), "cpuacct")]


def _another_claiming_us(views: Views) -> list[str]:
    """The real cgroup of another container, our list of processes mounted over its own."""
    ours = views.container.folder("cpuacct") / "cgroup.procs"
    return [*_another(views), views.bind(ours, "cpuacct/cgroup.procs")]


def _usage_of_another(views: Views) -> list[str]:
    """Our own cgroup, the real counter of another mounted over the counter."""
    theirs = views.other.folder("cpuacct") / "cpuacct.usage"
    return [views.bind_own(), views.bind(theirs, "cpuacct/cpuacct.usage")]


def _plain_counter(views: Views) -> list[str]:
    """Our own cgroup, a plain file mounted over the counter."""
    (views.files / "usage").write_text("123456789\n")
    return [views.bind_own(), views.bind(views.files / "usage", "cpuacct/cpuacct.usage")]


def _fifo_counter(views: Views) -> list[str]:
    """Our own cgroup, with a FIFO without a writer mounted over the counter."""
    os.mkfifo(views.files / "fifo")
    return [views.bind_own(), views.bind(views.files / "fifo", "cpuacct/cpuacct.usage")]


def _fifo_processes(views: Views) -> list[str]:
    """Our own cgroup, a FIFO mounted over the list of processes."""
    os.mkfifo(views.files / "fifo")
    return [views.bind_own(), views.bind(views.files / "fifo", "cpuacct/cgroup.procs")]


TRAPS = [
    _made_up,
    _linked,
    _linked_to_another,
    _another,
    _another_claiming_us,
    _usage_of_another,
    _plain_counter,
    _fifo_counter,
    _fifo_processes,
]


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("trap", TRAPS)
def test_what_the_job_constructed_is_refused(
    views: Views, open_counters: Opener, trap: Callable[[Views], list[str]]
) -> None:
    """Files that a container puts into its own view are refused, and none of them blocks."""
    worker = views.start(*trap(views))
    with pytest.raises(Refused):
        open_counters(worker.pid, views.own)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("kind", ["nothing", "fifo", "file"])
def test_what_is_no_folder_is_nothing(views: Views, open_counters: Opener, kind: str) -> None:
    """A view without a folder of the controller has no counters: no refusal, no blocking."""
    path = views.view / "cpuacct"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "file":
        path.write_text("123456789\n")
    assert open_counters(views.start().pid, views.own) is None


def test_files_mounted_later_are_not_read(views: Views, open_counters: Opener) -> None:
    """What is mounted over a file is left out of the reading, and counted."""
    unreadable: Counter[str] = Counter()
    (views.view / "memory").mkdir()
    (views.files / "usage").write_text("123456789\n")
    memory = views.bind(views.container.folder("memory"), "memory")
    theirs = views.other.folder("memory") / "memory.max_usage_in_bytes"
    worker = views.start(
        memory,
        views.bind(views.files / "usage", "memory/memory.usage_in_bytes"),
        views.bind(theirs, "memory/memory.max_usage_in_bytes"),
    )
    source = open_counters(worker.pid, views.own, unreadable=unreadable)
    assert source is not None
    found = source.read()
    assert (found.memory_bytes, found.peak_bytes, found.working_set_bytes) == (None, None, None)
    assert unreadable == {"memory.usage_in_bytes": 1, "memory.max_usage_in_bytes": 1}
    assert found.oom_kills == 0


@pytest.mark.usefixtures("cgroups")
def test_constructed_files_of_version_2_are_refused(tmp_path: Path, open_counters: Opener) -> None:
    """A folder that looks like cgroup 2 but is on another file system is not trusted."""
    folder = tmp_path / "root" / "sys" / "fs" / "cgroup"
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (folder / "cpu.stat").write_text("usage_usec 5\nuser_usec 3\nsystem_usec 2\n")
    own = Hierarchies(str(tmp_path), {}, os.stat(f"{ROOT}/cpuacct/cgroup.procs").st_dev)
    groups = [ControlGroup(0, (), f"/{'ab' * 32}")]
    with pytest.raises(Refused):
        open_counters(os.getpid(), own, groups, root=str(tmp_path / "root"))
    trusted = own._replace(v2=os.stat(folder).st_dev)  # by the device, and by nothing else
    assert open_counters(os.getpid(), trusted, groups, str(tmp_path / "root")) is not None


def test_hierarchies_without_any(tmp_path: Path) -> None:
    """Where nothing is mounted there is nothing to look for."""
    assert hierarchies(str(tmp_path)) == Hierarchies(str(tmp_path), {}, None)
