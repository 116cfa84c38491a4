"""CPU time per group between two scans, including processes that started and ended in between.

A build starts thousands of processes that end before the next scan. What they used is added to
their parent's ``cutime + cstime`` when the parent waits for them. So, per scan:

- every living process is credited the growth of its own time; a new one counts from zero;
- every living process that waited for children adds what they used, minus what had been
  credited to those of them that were seen alive: the *excess*;
- what the pod's reaper (pid 1) waited for are orphans of any container: its excess goes to
  the groups of the orphans that vanished, else to groups by activity; it goes to one group
  alone if pid 1 is part of the job, or if there is no other group;
- a negative excess is a race, rounding, or a process that became an orphan and ended since
  the last scan: the reaper's excess repays it first, the rest is carried as *debt* to the
  next scan.

All times are integers in nanoseconds. Nothing here reads the machine.
"""

from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

G = TypeVar("G", bound=Hashable)

_TOLERATED_TICKS = 4
_DEBT_SCANS = 2
_LONGEST_ANCESTRY = 64


class Vanished(NamedTuple, Generic[G]):
    """A process of the scan before that has ended, with its last credited times."""

    pid: int
    ppid: int
    group: G
    used_ns: int  # own and waited-for children's, as credited


class Ledger(Generic[G]):
    """Accounts between scans.

    ``tick_ns``: length of a clock tick. ``reaper_pid``: the process that collects orphans, usually
    1. ``ignores_children(pid)``: whether a process ignores SIGCHLD, so that its children's time is
    never added to its own.
    """

    def __init__(
        self, tick_ns: int, reaper_pid: int, ignores_children: Callable[[int], bool]
    ) -> None:
        self._tick_ns = tick_ns
        self._tolerated_ns = _TOLERATED_TICKS * tick_ns
        self._reaper_pid = reaper_pid
        self._ignores_children = ignores_children
        self._debt: dict[G, int] = {}
        self._debt_age: dict[G, int] = {}
        self._unassigned_ns = 0  # of orphans, from scans in which no group was active

    @property
    def unassigned_ns(self) -> int:
        """Time of orphans that could not be assigned to a group yet."""
        return self._unassigned_ns

    def take_unassigned(self) -> int:
        """Return that time at the end of a run; it is not assigned here any more."""
        unassigned_ns, self._unassigned_ns = self._unassigned_ns, 0
        return unassigned_ns

    def take_debt(self, group: G) -> int:
        """Return at the end of a run what a group was credited too much; it is settled."""
        self._debt_age.pop(group, None)
        return -self._debt.pop(group, 0)

    def settle(
        self,
        own_ns: Mapping[G, int],
        waited_ns: Mapping[int, int],
        vanished: Iterable[Vanished[G]],
        living: Mapping[int, G],
        without: frozenset[G],
        zombies: frozenset[int] = frozenset(),
        sole: G | None = None,
        without_children: Container[int] = (),
    ) -> dict[G, int]:
        """Return CPU time per group since the scan before, never negative.

        ``own_ns``: growth of living processes' own time, by group. ``waited_ns``: growth of
        the children's time of a living pid. ``living``: group by pid, now. ``without``: groups
        that get none of the orphans' time (those of the reaper and of the collector, if they have
        no other processes). ``zombies``: living pids that have ended: what their children used may
        have been added to the reaper. ``sole``: the group that gets all of the reaper's excess.
        ``without_children``: pids whose children's time cannot be read: what was credited to their
        children is all that is known of them.
        """
        dead = list(vanished)
        credited, direct, orphans, lost = self._credited(dead, living)
        net: dict[G, int] = {}
        owed = {group: -debt for group, debt in self._debt.items()}
        reaper_excess = self._unassigned_ns
        for pid in waited_ns.keys() | credited.keys():
            if pid in without_children:
                continue
            excess = waited_ns.get(pid, 0) - credited.get(pid, 0)
            if excess < -self._tolerated_ns and direct.get(pid) and self._ignores_children(pid):
                # not above 0: what arrived may be from zombies from before it ignored SIGCHLD
                excess = min(0, excess + direct[pid])
            if pid == self._reaper_pid:
                reaper_excess += excess
                continue
            group = living[pid]
            net[group] = net.get(group, 0) + excess
            # the reaper may have got what is missing here, also if the parent has died
            kept_ns = 0 if pid in zombies else direct.get(pid, 0)
            missing = min(-excess, credited.get(pid, 0) - kept_ns)
            if missing > 0:
                owed[group] = owed.get(group, 0) + missing
        if reaper_excess > 0:
            # what vanished below a dead parent that had waited for it is counted here again
            reaper_excess -= min(reaper_excess, lost)
        reaper_excess = self._repay(reaper_excess, owed, net)
        if sole is not None:
            net[sole] = net.get(sole, 0) + reaper_excess
            self._unassigned_ns = 0
        else:
            active = orphans or _sum(own_ns, net)
            self._unassigned_ns = self._share_out(reaper_excess, active, without, net)
        return self._with_debt(own_ns, net)

    def _credited(
        self, dead: list[Vanished[G]], living: Mapping[int, G]
    ) -> tuple[dict[int, int], dict[int, int], dict[G, int], int]:
        """Sum what vanished processes had been credited, by nearest living ancestor.

        Returns the sums, the part of direct children in them, the reaper's part by group, and the
        sum without a living ancestor.
        """
        by_pid = {process.pid: process for process in dead}
        credited: dict[int, int] = {}
        direct: dict[int, int] = {}
        orphans: dict[G, int] = {}
        lost = 0
        for process in dead:
            ancestor, is_direct = process.ppid, True
            for _ in range(_LONGEST_ANCESTRY):
                if ancestor not in by_pid:
                    break
                ancestor, is_direct = by_pid[ancestor].ppid, False
            if ancestor not in living:
                lost += 0 if is_direct else process.used_ns
                continue
            credited[ancestor] = credited.get(ancestor, 0) + process.used_ns
            if is_direct:
                direct[ancestor] = direct.get(ancestor, 0) + process.used_ns
            if ancestor == self._reaper_pid:
                weight = max(process.used_ns, self._tick_ns)
                orphans[process.group] = orphans.get(process.group, 0) + weight
        return credited, direct, orphans, lost

    @staticmethod
    def _repay(excess: int, owed: Mapping[G, int], net: dict[G, int]) -> int:
        """Cover the deficits of groups from a positive excess; return the rest of it."""
        for group, lack in owed.items():
            paid = max(0, min(excess, lack))
            net[group] = net.get(group, 0) + paid
            excess -= paid
        return excess

    @staticmethod
    def _share_out(
        excess: int, weights: Mapping[G, int], without: frozenset[G], net: dict[G, int]
    ) -> int:
        """Share an excess by weight; return the rest, if no group has a weight."""
        weights = {g: w for g, w in weights.items() if g not in without and w > 0}
        left, total = excess, sum(weights.values())
        for group, weight in weights.items():
            part = left * weight // total
            net[group] = net.get(group, 0) + part
            left, total = left - part, total - weight
        return max(0, left)

    def _with_debt(self, own_ns: Mapping[G, int], net: Mapping[G, int]) -> dict[G, int]:
        used = {group: ns for group, ns in own_ns.items() if ns}
        for group, ns in net.items():  # every group with a debt is among them
            balance = ns + self._debt.pop(group, 0)
            if balance >= 0:
                if balance:
                    used[group] = used.get(group, 0) + balance
                self._debt_age.pop(group, None)
                continue
            age = self._debt_age.get(group, 0) + 1
            if age > _DEBT_SCANS:
                balance, age = max(balance, -self._tolerated_ns), 0
            self._debt[group] = balance
            self._debt_age[group] = age
        return used


def _sum(first: Mapping[G, int], second: Mapping[G, int]) -> dict[G, int]:
    return {group: first.get(group, 0) + second.get(group, 0) for group in {**first, **second}}
