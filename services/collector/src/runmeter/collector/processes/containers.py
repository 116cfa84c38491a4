"""Which container a process belongs to, and what the container is called.

A *key* identifies a cgroup: by the container id, or by its path on a bare host. A *group* is
measured as one container: a key, several keys that have the same name in the process map, or the
process tree of the wrapped command. Names are made when the run is summed up, so that nothing is
renamed while it is measured.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from runmeter.collector.model import ROOT_KEY, Group, Key
from runmeter.procfs import ControlGroup, Mount

# in the order in which they are asked for the container; v2 is the one without controllers
_HIERARCHIES = ("cpuacct", "cpu", "memory", "", "name=systemd", "pids", "devices", "freezer")
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# monitors of containers, pods of Podman, units of systemd that serve a container from outside it
_NO_CONTAINER = re.compile(
    r"conmon|\.(automount|mount|path|service|slice|socket|swap|target|timer)$"
)
_SHORT_ID_DIGITS = 12
_COMM_BYTES = 15  # TASK_COMM_LEN less the terminating zero

COMMAND = "command"


@lru_cache(maxsize=256)
def container_key(groups: tuple[ControlGroup, ...]) -> Key:
    """Return the key of a process from the lines of ``/proc/<pid>/cgroup``.

    The container id is that of the outermost container, in any hierarchy: limits apply to the
    outer container, so containers inside it count as part of it. A node of Kubernetes that is a
    container itself does not count as one for the containers of its pods. Without an id: the path
    in the first hierarchy where it is not ``/``.
    """
    ordered = sorted(groups, key=_preference)
    for group in ordered:
        found, _ = _container(group.path)
        if found:
            return Key(found, "")
    return next((Key("", group.path) for group in ordered if group.path != "/"), ROOT_KEY)


def node_path(key: Key, path: str) -> str | None:
    """Return the path of the container's own cgroup, at or above ``path``; None if not in it."""
    if not key.container_id:
        return path if path == key.path else None
    found, node = _container(path)
    return node if found == key.container_id else None


def _preference(group: ControlGroup) -> int:
    names = group.controllers or ("",)
    ranks = [_HIERARCHIES.index(name) for name in names if name in _HIERARCHIES]
    return min(ranks, default=len(_HIERARCHIES))


def _container(path: str) -> tuple[str, str]:
    """Return the id of a container and the path of its own cgroup; both empty if there is none.

    A segment names a container if it has exactly one run of 64 hex digits.
    """
    segments = path.split("/")
    pods = next((index for index, segment in enumerate(segments) if "kubepods" in segment), 0)
    for index in (*range(pods, len(segments)), *range(pods)):
        segment = segments[index]
        ids = _ID.findall(segment)
        is_pod = segments[index - 1] == "libpod_parent" and ids == [segment]
        if len(ids) == 1 and not is_pod and not _NO_CONTAINER.search(segment):
            return ids[0], "/".join(segments[: index + 1])
    return "", ""


def kubernetes_name(mounts: Iterable[Mount]) -> str:
    """Return the container's name from the mounts of one of its processes; empty if it has none.

    The kubelet mounts files from ``…/pods/<uid>/containers/<name>/…``, such as
    ``/dev/termination-log`` (on some machines the root of that mount starts at ``/containers/``).
    """
    for mount in mounts:
        parts = mount.root.split("/")
        is_usual = mount.mount_point in ("/dev/termination-log", "/etc/hosts")
        for index, part in enumerate(parts[:-2]):
            if part == "containers" and (
                (index == 1 and is_usual) or (index > 1 and parts[index - 2] == "pods")
            ):
                return parts[index + 1]
    return ""


class Containers:
    """The groups of a run by key; learns names from processes.

    ``process_map``: process name to container name. ``read_mounts(folder)`` returns the
    mounts of a process, or None when they cannot be read.
    """

    def __init__(
        self,
        process_map: Mapping[str, str],
        read_mounts: Callable[[int | str], Iterable[Mount] | None],
    ) -> None:
        self._by_comm = {
            _cut(process): container for process, container in process_map.items() if process
        }
        self._by_argv0 = dict(process_map)
        self._read_mounts = read_mounts
        self._groups: dict[Key, Group] = {}
        self._plain: dict[Key, Group] = {}
        self._identified: dict[Group, Group] = {}
        self._kubernetes: dict[str, str] = {}
        self._mount_tries: dict[str, int] = {}

    @property
    def wants_argv0(self) -> bool:
        """Whether the process map needs the first word of command lines."""
        return bool(self._by_argv0)

    def see(self, key: Key, folder: int | str, comm: str, argv0: str) -> None:
        """Use a process to identify its key (process map) and to name it (mounts)."""
        if key.container_id and key.container_id not in self._kubernetes:
            self._ask_mounts(key.container_id, folder)
        if self._by_argv0 and key not in self._groups:
            name = self._by_comm.get(comm) or self._by_argv0.get(argv0.rpartition("/")[2])
            if name:
                self._groups[key] = Group(mapped_name=name)
                self._identified[Group(key=key)] = self._groups[key]

    def take_identified(self) -> dict[Group, Group]:
        """Return what the map identified since the last call: new group by old group."""
        taken, self._identified = self._identified, {}
        return taken

    def group(self, key: Key) -> Group:
        """Return the group of a key, as known now."""
        found = self._groups.get(key) or self._plain.get(key)
        if found is None:
            found = self._plain[key] = Group(key=key)  # one object: compared by identity first
        return found

    def _ask_mounts(self, container_id: str, folder: int | str) -> None:
        tries = self._mount_tries.get(container_id, 0)
        if tries >= 8:  # not a Kubernetes container, or its mounts cannot be read
            return
        self._mount_tries[container_id] = tries + 1
        name = kubernetes_name(self._read_mounts(folder) or ())
        if name:
            self._kubernetes[container_id] = name

    def base_name(self, group: Group) -> str:
        """Return the name of a group before clashes are numbered."""
        if group.key is None:
            return group.mapped_name or COMMAND
        identifier = group.key.container_id
        if identifier:
            return self._kubernetes.get(identifier) or identifier[:_SHORT_ID_DIGITS]
        return group.key.path.rstrip("/").rpartition("/")[2] or "/"

    def names(self, groups: Iterable[Group]) -> dict[Group, str]:
        """Return a unique name for each group.

        The first of several with the same name keeps it, the others become ``name#2``, ``name#3``.
        """
        names: dict[Group, str] = {}
        taken: set[str] = set()
        for group in groups:
            base = self.base_name(group)
            name, number = base, 1
            while name in taken:
                number += 1
                name = f"{base}#{number}"
            taken.add(name)
            names[group] = name
        return names


def is_real(group: Group) -> bool:
    """Return whether a group is a container (id, mapped name, command), not a host cgroup."""
    return group.key is None or bool(group.key.container_id)


def _cut(name: str) -> str:
    return name.encode("utf-8", "surrogateescape")[:_COMM_BYTES].decode("utf-8", "backslashreplace")
