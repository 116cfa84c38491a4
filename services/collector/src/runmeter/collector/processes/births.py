"""Processes that started and ended unseen, and that no visible process has started.

Linux numbers the processes and threads of a pid namespace one after the other. A number that no
snapshot has shown belongs to a thread or a child of a visible process, which the ledger accounts
for, or to a process whose parent is outside the namespace: ``kubectl exec``, a health check.

Each process or thread that a visible process starts causes a page fault, of its own or of the
process that starts it, and the kernel adds the faults of children to those of the parent that
waited for them. The page faults of the visible processes are therefore subtracted from the count
of numbers; the result is a lower bound.
"""

from collections.abc import Mapping

from runmeter.collector.processes.process import Process


class Births:
    """Counts such processes; ``count`` is None until an interval could be counted."""

    def __init__(self) -> None:
        self.count: int | None = None
        self._newest: int | None = None

    def settle(self, newest: int | None, processes: Mapping[int, Process], faults: int) -> None:
        """Count those since the scan before.

        ``newest``: the newest pid before ``processes`` were listed; None: unknown. ``faults``: page
        faults of these processes, and of children that they have waited for.
        """
        before, self._newest = self._newest, newest
        if newest is None or before is None or newest < before:
            return
        born = newest - before
        if born:
            # after the highest number the lowest free ones are given, and those in use are left out
            if any(pid > newest and found.seen_scans > 1 for pid, found in processes.items()):
                return
            born -= sum(before < pid <= newest for pid in processes)
        self.count = (self.count or 0) + max(0, born - faults)
