"""What containers used per interval, exactly, from the kernel's counters.

An interval of a container is exact if its counters were read at both ends and show no less than
its living processes used. Then processes that the ledger cannot see are included. The ledger
accounts for all other intervals, so that counters which appear or vanish during a run cause no
jump.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from runmeter.collector.cgroups.counters import Reading, Source
from runmeter.collector.cgroups.discovery import Hierarchies, open_source
from runmeter.collector.cgroups.files import Crowded, Refused
from runmeter.collector.model import CgroupFigures, Group, Key
from runmeter.collector.processes.process import Process
from runmeter.procfs import ProcFS, ProcfsError

_TRIES = 5  # refusals before a container's counters count as not readable
_ATTEMPTS = 64  # processes tried per container: some have ended or moved meanwhile
_TOLERATED_TICKS = 4


class _Node:
    """The counters of one key."""

    __slots__ = ("attempts", "before", "is_new", "is_over", "now", "read_count", "source", "tries")

    def __init__(self, is_new: bool) -> None:
        self.source: Source | None = None
        self.before: Reading | None = None
        self.now: Reading | None = None
        self.attempts = 0
        self.tries = 0
        self.read_count = 0  # readings at snapshots, since the counters were found
        self.is_over = False  # its cgroup was removed in this interval
        self.is_new = is_new  # first seen in this interval, in which its counters started


class CgroupUsage:
    """Finds, keeps and reads the counters of all containers of a run.

    ``cpu_count``: limits what a container can have used in an interval; None: unknown.
    ``keep_below``: no descriptor of this number or a higher one stays open.
    """

    def __init__(
        self, proc: ProcFS, own: Hierarchies, tick_ns: int, cpu_count: int | None, keep_below: int
    ) -> None:
        self._proc = proc
        self._own = own
        self._tolerated_ns = _TOLERATED_TICKS * tick_ns
        self._cpu_count = cpu_count
        self._keep_below = keep_below
        self._nodes: dict[Key, _Node] = {}
        self._started = False
        self._is_searching = True  # a known key has no counters yet
        self.denied_count = 0
        self.unreadable: Counter[str] = Counter()  # by file: values not as the kernel writes them
        self.crowded_count = 0  # containers without counters because too many files are open

    @property
    def has_hierarchies(self) -> bool:
        """Return whether the collector has cgroup file systems of its own, needed for counters."""
        return bool(self._own.v1) or self._own.v2 is not None

    def read(self) -> None:
        """Read the counters of all known keys, at the time of a snapshot."""
        for key, node in list(self._nodes.items()):
            if node.is_over and not node.attempts:
                del self._nodes[key]  # no process has been in it since
                continue
            node.before, node.now = node.now, node.source.read() if node.source else None
            node.is_new = node.is_over = False
            node.read_count += 1
            if node.source is not None and node.source.is_gone:
                self._leave(node)

    def _leave(self, node: _Node) -> None:
        """Leave a cgroup that was removed; another one may have been made under its path since.

        That one is searched in the same snapshot. Its counters started in this interval, but the
        last CPU time of the removed one is not known: the ledger counts that of the interval.
        """
        assert node.source is not None
        node.source.close()
        node.source = node.before = node.now = None
        node.attempts = node.tries = 0
        node.is_new = node.is_over = True
        self._is_searching = True

    def discover(self, processes: Iterable[Process], newly_placed: Iterable[Process]) -> None:
        """Search for the counters of keys that have none yet, and read them.

        ``newly_placed``: processes that are new or in another cgroup since the last call.
        """
        asked = processes if self._is_searching else newly_placed
        self._is_searching = False
        for process in asked:
            if process.is_zombie:  # it has left its cgroup
                self._is_searching = True
                continue
            node = self._nodes.get(process.key)
            if node is None:
                node = self._nodes[process.key] = _Node(is_new=self._started)
            if node.source is None and node.tries < _TRIES and node.attempts < _ATTEMPTS:
                self._open(node, process)
                if node.source is not None:
                    self._separate(node.source)
                    node.now = node.source.read()
                    node.read_count = 0
                else:
                    self._is_searching = True
        self._started = True

    def _separate(self, source: Source) -> None:
        """Have no figures of a cgroup that includes another container's, such as a node's."""
        for node in self._nodes.values():
            if node.source is not None:
                inner, outer = sorted((source, node.source), key=lambda found: -len(found.path))
                if inner.path.startswith(f"{outer.path}/"):
                    outer.needs_leaf = True

    def _open(self, node: _Node, process: Process) -> None:
        node.attempts += 1
        root = f"{self._proc.mount}/{process.folder}/root"
        try:
            groups = self._proc.proc_cgroup(process.folder)
            node.source = open_source(
                self._own,
                root,
                process.pid,
                process.key,
                groups,
                self._keep_below,
                self.unreadable,
            )
        except ProcfsError:
            pass
        except Crowded:
            node.tries = _TRIES
            self.crowded_count += 1
        except Refused:
            node.tries += 1
            if node.tries == _TRIES:
                self.denied_count += 1

    def figures(
        self,
        group_of: Callable[[Key], Group],
        live_ns: Mapping[Group, int],
        elapsed_ns: int,
        without: frozenset[Key],
    ) -> dict[Group, CgroupFigures]:
        """Return the figures of groups since the reading before.

        ``live_ns``: what the living processes of a group used; counters that show less are wrong
        and are dropped. ``without``: keys whose counters include the wrapped command, which is a
        group of its own.
        """
        members: dict[Group, list[_Node]] = {}
        for key, node in self._nodes.items():
            members.setdefault(group_of(key), []).append(node)
        for key in without:
            members.pop(group_of(key), None)
        found: dict[Group, CgroupFigures] = {}
        for group, nodes in members.items():
            if any(node.now is None for node in nodes):
                continue
            is_over = any(node.is_over for node in nodes)
            cpu_ns = None if is_over else self._growth(nodes, "cpu_ns")
            is_new = not is_over and any(node.is_new for node in nodes)
            if is_new and not self._plausible(cpu_ns, elapsed_ns):
                continue
            if cpu_ns is not None and not self._holds(nodes, cpu_ns, live_ns.get(group, 0)):
                self._drop(nodes)
                continue
            found[group] = CgroupFigures(
                cpu_ns,
                self._growth(nodes, "throttled_ns"),
                self._growth(nodes, "oom_kills"),
                _sum(nodes, "memory_bytes"),
                _sum(nodes, "working_set_bytes"),
                _sum(nodes, "peak_bytes"),
            )
        return found

    def _growth(self, nodes: list[_Node], name: str) -> int | None:
        """Return the growth of a counter over all nodes; None unless each has it at both ends.

        The counters of a container that is new in this interval started at zero.
        """
        total = 0
        for node in nodes:
            now = getattr(node.now, name)
            before = getattr(node.before, name) if node.before else 0 if node.is_new else None
            if now is None or before is None or now < before:
                return None
            total += now - before
        return total

    def _holds(self, nodes: list[_Node], cpu_ns: int, live_ns: int) -> bool:
        """Return whether counters show no less than living processes used.

        The processes were read after the counters. If too much time passed in between, the
        counters are read again: by now they include all that the processes had used.
        """
        if cpu_ns >= live_ns - self._tolerated_ns:
            return True
        if any(node.read_count == 1 for node in nodes):  # found after the processes were read
            return True
        later = [node.source.read().cpu_ns if node.source else None for node in nodes]
        before = [node.before.cpu_ns if node.before else 0 for node in nodes]
        growth_ns = sum((now or 0) - (then or 0) for now, then in zip(later, before, strict=True))
        return growth_ns >= live_ns - self._tolerated_ns

    def _plausible(self, cpu_ns: int | None, elapsed_ns: int) -> bool:
        """Return whether a container can have used so much in the interval with all CPUs.

        On a bare machine a cgroup may be older than the first process seen in it.
        """
        if cpu_ns is None or self._cpu_count is None:
            return cpu_ns is not None
        return cpu_ns <= elapsed_ns * self._cpu_count + self._tolerated_ns

    def _drop(self, nodes: list[_Node]) -> None:
        for node in nodes:
            if node.source is not None:
                node.source.close()
                node.source = None
            node.tries = _TRIES
            node.now = None
        self.denied_count += 1


def _sum(nodes: list[_Node], name: str) -> int | None:
    values = [getattr(node.now, name) for node in nodes]
    return None if None in values else sum(values)
