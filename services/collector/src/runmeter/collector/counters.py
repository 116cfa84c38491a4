"""The kernel's own counters of a container's cgroup, where they can be read and trusted.

Looked for in the collector's own view of the cgroup file systems, then in the view of a process
of the container, under ``/proc/<pid>/root``. That second view is made by the job: whatever is
opened must be a regular file on the collector's own cgroup file system, and lie in the cgroup
that really holds the process. Nothing read there is ever logged.
"""

import errno
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from runmeter.collector.cgroups import (
    Crowded,
    Folder,
    Refused,
    close_all,
    holds,
    mount_id,
    open_file,
)
from runmeter.collector.containers import Key, is_node
from runmeter.procfs import (
    ControlGroup,
    ProcfsError,
    parse_cpu_stat_v1,
    parse_cpu_stat_v2,
    parse_cpuacct_usage,
    parse_memory_current,
    parse_memory_events,
    parse_memory_max_usage_in_bytes,
    parse_memory_oom_control,
    parse_memory_peak,
    parse_memory_stat_v1,
    parse_memory_stat_v2,
    parse_memory_usage_in_bytes,
)

T = TypeVar("T")
CGROUP_ROOT = "/sys/fs/cgroup"
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ_BYTES = 65536
_DETAILS_BELOW = 600  # so many descriptors at most, however many there may be
_LEAF_LINKS = 2  # of a folder without folders in it


class Reading(NamedTuple):
    """Counters of one cgroup, each None where it could not be read.

    Times in nanoseconds and ``oom_kills`` count since the cgroup was made; sizes in bytes.
    """

    cpu_ns: int | None = None
    throttled_ns: int | None = None
    memory_bytes: int | None = None
    working_set_bytes: int | None = None
    peak_bytes: int | None = None
    oom_kills: int | None = None


class Source:
    """Open counters of one cgroup.

    ``keep_below``: descriptors below this number stay open, of other counters than that of CPU
    time; the others are opened for each reading.
    """

    __slots__ = (
        "_cpu_file",
        "_files",
        "_folders",
        "_is_v2",
        "_keep_below",
        "is_gone",
        "needs_leaf",
    )

    def __init__(
        self,
        folders: dict[str, Folder],
        cpu_file: int,
        *,
        is_v2: bool,
        needs_leaf: bool,
        keep_below: int,
    ) -> None:
        self._folders = folders  # by v1 controller; v2: the one under ""
        self._cpu_file = cpu_file
        self._is_v2 = is_v2
        self._files: dict[tuple[str, str], int] = {}
        self._keep_below = keep_below
        self.needs_leaf = needs_leaf
        self.is_gone = False  # the cgroup has been removed

    def read(self) -> Reading:
        """Read all counters; what cannot be read, or not any more, is None."""
        if self.needs_leaf and not self._is_leaf():
            return Reading()
        return self._read_v2() if self._is_v2 else self._read_v1()

    def close(self) -> None:
        """Close all descriptors."""
        close_all(self._folders.values())
        for descriptor in (self._cpu_file, *self._files.values()):
            if descriptor >= 0:
                os.close(descriptor)

    def _is_leaf(self) -> bool:
        """Tell whether the cgroup has none below it, whose use would be counted with its own."""
        try:
            links = [os.fstat(folder.descriptor).st_nlink for folder in self._folders.values()]
        except OSError:
            return False
        return all(count == _LEAF_LINKS for count in links)

    def _read_v2(self) -> Reading:
        cpu = _parsed(parse_cpu_stat_v2, self._cpu())
        memory = _parsed(parse_memory_current, self._file("", "memory.current"))
        details = _parsed(parse_memory_stat_v2, self._file("", "memory.stat"))
        events = _parsed(parse_memory_events, self._file("", "memory.events"))
        return Reading(
            cpu_ns=cpu.usage_usec * 1000 if cpu else None,
            throttled_ns=_times(cpu.throttled_usec if cpu else None, 1000),
            memory_bytes=memory,
            working_set_bytes=_less(memory, details.inactive_file if details else None),
            peak_bytes=_parsed(parse_memory_peak, self._file("", "memory.peak")),
            oom_kills=events.oom_kill if events else None,
        )

    def _read_v1(self) -> Reading:
        throttled = _parsed(parse_cpu_stat_v1, self._file("cpu", "cpu.stat"))
        memory = _parsed(parse_memory_usage_in_bytes, self._file("memory", "memory.usage_in_bytes"))
        details = _parsed(parse_memory_stat_v1, self._file("memory", "memory.stat"))
        control = _parsed(parse_memory_oom_control, self._file("memory", "memory.oom_control"))
        peak = self._file("memory", "memory.max_usage_in_bytes")
        return Reading(
            cpu_ns=_parsed(parse_cpuacct_usage, self._cpu()),
            throttled_ns=throttled.throttled_time if throttled else None,
            memory_bytes=memory,
            working_set_bytes=_less(memory, details.total_inactive_file if details else None),
            peak_bytes=_parsed(parse_memory_max_usage_in_bytes, peak),
            oom_kills=control.oom_kill if control else None,
        )

    def _cpu(self) -> bytes | None:
        if self._cpu_file < 0:
            return None
        try:
            return os.pread(self._cpu_file, _READ_BYTES, 0)
        except OSError as error:
            self.is_gone = error.errno == errno.ENODEV
            return None

    def _file(self, folder: str, name: str) -> bytes | None:
        if folder not in self._folders:
            return None
        descriptor = self._files.get((folder, name), -1)
        try:
            if descriptor < 0:
                descriptor = open_file(self._folders[folder], name)
                if descriptor < self._keep_below:
                    self._files[folder, name] = descriptor
            return os.pread(descriptor, _READ_BYTES, 0)
        except (OSError, Refused):
            return None
        finally:
            if descriptor >= self._keep_below:
                os.close(descriptor)


def _parsed(parse: Callable[[bytes], T], raw: bytes | None) -> T | None:
    if raw is None:
        return None
    try:
        return parse(raw)
    except ProcfsError:
        return None


def _times(count: int | None, factor: int) -> int | None:
    return None if count is None else count * factor


def _less(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None else max(0, whole - part)


class Hierarchies(NamedTuple):
    """The collector's own mounts of cgroup file systems.

    ``v1``: device by controller. ``v2``: device of the unified one, None if it does not count
    (beside v1 it has no memory and no CPU controller).
    """

    root: str
    v1: dict[str, int]
    v2: int | None


def hierarchies(root: str) -> Hierarchies:
    """Look at the mounts under ``/sys/fs/cgroup``; what is not there is left out."""
    v1: dict[str, int] = {}
    for controller in ("cpuacct", "cpu", "memory"):
        device = _device(f"{root}/{controller}/cgroup.procs")
        if device is not None:
            v1[controller] = device
    return Hierarchies(root, v1, None if v1 else _device(f"{root}/cgroup.controllers"))


def _device(path: str) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:
        return None


def open_source(
    own: Hierarchies,
    process_root: str,
    pid: int,
    key: Key,
    groups: Iterable[ControlGroup],
    keep_below: int,
) -> Source | None:
    """Open the counters of the cgroup of a process that sits at the node of its container.

    ``process_root``: ``/proc/<pid>/root``. ``keep_below``: no descriptor of this number or a
    higher one stays open; a half of them is for the details of the first cgroups. None: there
    are no counters, or they belong to another node.

    Raises:
        Refused: they are there, and not readable or not trusted.
        Crowded: their descriptors would be too high.
    """
    paths = _paths(own, key, groups)
    folders: dict[str, Folder] = {}
    refused = False
    try:
        for name, (device, path) in paths.items():
            try:
                folders[name] = _open_folder(
                    own.root, process_root, name, path, device, pid, keep_below
                )
            except (OSError, Refused) as error:
                refused = refused or not isinstance(error, FileNotFoundError)
        cpu_folder, cpu_name = (
            ("", "cpu.stat") if own.v2 is not None else ("cpuacct", "cpuacct.usage")
        )
        cpu_file = -1
        if cpu_folder in folders:
            cpu_file = open_file(folders[cpu_folder], cpu_name)
    except Crowded:
        close_all(folders.values())
        raise
    except (OSError, Refused) as error:
        close_all(folders.values())
        raise Refused from error
    if folders:
        return Source(
            folders,
            cpu_file,
            is_v2=own.v2 is not None,
            needs_leaf=not key.container_id,
            keep_below=min(_DETAILS_BELOW, keep_below // 2),
        )
    if refused:
        raise Refused
    return None


def _paths(
    own: Hierarchies, key: Key, groups: Iterable[ControlGroup]
) -> dict[str, tuple[int, str]]:
    """Return device and path of each hierarchy in which the process sits at the key's node."""
    paths: dict[str, tuple[int, str]] = {}
    for group in groups:
        if not is_node(key, group.path):
            continue
        if not group.controllers and own.v2 is not None:
            paths[""] = (own.v2, group.path)
        for controller in group.controllers:
            if controller in own.v1:
                paths[controller] = (own.v1[controller], group.path)
    return paths


def _open_folder(
    root: str, process_root: str, name: str, path: str, device: int, pid: int, keep_below: int
) -> Folder:
    """Open the folder of a cgroup in the first view that shows the one that holds the process."""
    inner = f"{process_root}/sys/fs/cgroup"
    candidates = [f"{inner}/{name}"]
    if ".." not in path.split("/"):
        candidates = [f"{root}/{name}{path}", f"{inner}/{name}{path}", *candidates]
    failure: Exception = FileNotFoundError()
    for candidate in candidates:
        try:
            descriptor = os.open(candidate, _FOLDER)
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise Crowded from error
            failure = (
                failure if isinstance(error, (FileNotFoundError, NotADirectoryError)) else error
            )
            continue
        if descriptor >= keep_below:
            os.close(descriptor)
            raise Crowded
        is_ours = not candidate.startswith(inner)
        folder = Folder(descriptor, None if is_ours else mount_id(descriptor))
        if os.fstat(descriptor).st_dev == device and holds(folder, pid):
            return folder
        os.close(descriptor)
        failure = Refused()
    raise failure
