"""Find the counters of a container's cgroup, and check that they can be trusted.

They are searched in the collector's own view of the cgroup file systems, then in the view of a
process of the container, under ``/proc/<pid>/root``. The job controls that second view: so every
opened file must be a regular file on the collector's own cgroup file system, in the cgroup that
really has the process. Content read there is never logged.
"""

import errno
import os
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from runmeter.collector.cgroups.counters import Source
from runmeter.collector.cgroups.files import (
    Crowded,
    Folder,
    Refused,
    close_all,
    holds,
    mount_id,
    open_file,
)
from runmeter.collector.model import Key
from runmeter.collector.processes.containers import node_path
from runmeter.procfs import ControlGroup

CGROUP_ROOT = "/sys/fs/cgroup"
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_DETAILS_BELOW = 600  # at most so many descriptors


class Hierarchies(NamedTuple):
    """The collector's own mounts of cgroup file systems.

    ``v1``: device by controller. ``v2``: device of the unified hierarchy, None if it is not used
    (beside v1 it has no memory and no CPU controller).
    """

    root: str
    v1: dict[str, int]
    v2: int | None


def hierarchies(root: str) -> Hierarchies:
    """Return the hierarchies mounted under ``/sys/fs/cgroup``."""
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
    unreadable: Counter[str],
) -> Source | None:
    """Open the counters of a container's own cgroup, by a process in it or below it.

    ``process_root``: ``/proc/<pid>/root``. ``keep_below``: no descriptor of this number or a
    higher one stays open; half of them are for details of the first cgroups. ``unreadable``: counts
    values that are not what the kernel writes. None: there are no counters, or the process is in
    another cgroup.

    Raises:
        Refused: they exist, but are not readable or not trusted.
        Crowded: their descriptors would be too high.
    """
    places = _places(own, key, groups)
    folders: dict[str, Folder] = {}
    refused = False
    try:
        for name, place in places.items():
            try:
                folders[name] = _open_folder(own.root, process_root, name, place, pid, keep_below)
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
            path=next(iter(places.values())).path,
            needs_leaf=not key.container_id,
            keep_below=min(_DETAILS_BELOW, keep_below // 2),
            unreadable=unreadable,
        )
    if refused:
        raise Refused
    return None


class _Place(NamedTuple):
    """Where a process is in one hierarchy: the path of its container, and its own below that."""

    device: int
    path: str
    below: str


def _places(own: Hierarchies, key: Key, groups: Iterable[ControlGroup]) -> dict[str, _Place]:
    """Return the place in each hierarchy in which the process is in the key's cgroup."""
    places: dict[str, _Place] = {}
    for group in groups:
        node = node_path(key, group.path)
        if node is None:
            continue
        below = group.path[len(node) :].strip("/")
        if not group.controllers and own.v2 is not None:
            places[""] = _Place(own.v2, node, below)
        for controller in group.controllers:
            if controller in own.v1:
                places[controller] = _Place(own.v1[controller], node, below)
    return places


def _open_folder(
    root: str, process_root: str, name: str, place: _Place, pid: int, keep_below: int
) -> Folder:
    """Open the folder of a cgroup in the first view where it has the process."""
    path = place.path
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
        if os.fstat(descriptor).st_dev == place.device and holds(folder, place.below, pid):
            return folder
        os.close(descriptor)
        failure = Refused()
    raise failure
