"""The cgroup of each process, and the names that identify its container."""

from collections import Counter

from runmeter.collector.model import ROOT_KEY, Key
from runmeter.collector.processes.containers import Containers, container_key
from runmeter.collector.processes.process import Process
from runmeter.procfs import ProcFS, ProcfsError

CGROUP_SCANS = 128  # a process may be moved between cgroups at any time
_YOUNG_SCANS = 2  # scans in which a container runtime may still move it
# programs that as pid 1 start at most one child, and wait for orphans
_HOLDERS = (
    *("pause", "tini", "tini-static", "docker-init", "podman-init", "catatonit", "dumb-init"),
    *("init", "systemd"),
)


def is_holder(comm: str, argv0: str) -> bool:
    """Return whether a process, as pid 1, is there for orphans, not for work of its own.

    A script named ``init`` is not: the first word of its command line is its interpreter. System V
    init writes its runlevel behind its name.
    """
    program = argv0.rpartition("/")[2].partition(" ")[0]
    return comm in _HOLDERS and program in ("", *_HOLDERS)


class Placement:
    """Reads the cgroups of processes under one proc mount, and passes them to ``containers``.

    ``newly_placed``: processes that are new or in another cgroup since it was last emptied.
    ``unreadable``: counts the cgroups that could not be read.
    """

    def __init__(self, proc: ProcFS, containers: Containers, unreadable: Counter[str]) -> None:
        self._proc = proc
        self._containers = containers
        self._unreadable = unreadable
        self.newly_placed: list[Process] = []

    def first_key(self, process: Process, parent: Process | None) -> Key:
        """Read the key of a new process.

        Raises:
            ProcfsError: the process has ended.
        """
        key = self._first_key(process)
        ended = process.is_zombie
        if parent is None or (process.ppid == 1 and (parent.is_holder or not ended)):
            return key  # an orphan is where it was, not where pid 1 is
        # an exiting task has `/` as its cgroup in a v1 hierarchy; its v2 cgroup beside it (on
        # a hybrid host the service of the runtime) is not the container
        if key == ROOT_KEY or (ended and not key.container_id and parent.key.container_id):
            return parent.key
        return key

    def _first_key(self, process: Process) -> Key:
        """Read the key of a process; one without a readable cgroup has the root.

        Kernels without cgroups have no such file, and some sandboxes refuse to open it.
        """
        try:
            return self._key(process)
        except ProcfsError:
            self._proc.proc_stat(process.pid)  # raises if the process has ended
            self._unreadable["/proc/<pid>/cgroup"] += 1
            return ROOT_KEY

    def enter(self, process: Process) -> None:
        """Add a new process."""
        self.newly_placed.append(process)
        self._learn(process)

    def look_again(self, process: Process, comm: str) -> None:
        """Read again what may change in a living process: its cgroup and its name."""
        is_due = process.seen_scans <= _YOUNG_SCANS or process.seen_scans % CGROUP_SCANS == 0
        if is_due and not process.is_zombie:
            self.relocate(process)
        if process.comm != comm:
            process.comm = comm
            self._learn(process)

    def relocate(self, process: Process) -> None:
        """Read the cgroup of a process again."""
        try:
            key = self._key(process)
        except ProcfsError:
            return
        if key not in (ROOT_KEY, process.key):
            process.key = key
            self.newly_placed.append(process)
            self._learn(process)

    def _learn(self, process: Process) -> None:
        argv0 = ""
        if self._containers.wants_argv0 or process.comm in _HOLDERS:
            try:
                argv0 = self._proc.proc_argv0(process.folder)
            except ProcfsError:
                argv0 = ""
        process.is_holder = is_holder(process.comm, argv0)
        self._containers.see(process.key, process.folder, process.comm, argv0)

    def _key(self, process: Process) -> Key:
        return container_key(self._proc.proc_cgroup(process.folder))
