"""CPU accounting against a small simulated kernel, through the files a real one would show.

The simulated kernel forks, runs, ends, waits for, orphans and reparents processes in whole
ticks, as Linux does; between its steps the sampler scans. What the sampler credits is compared
with what the kernel knows was used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.containers import Containers, Group
from runmeter.collector.sampler import Sampler
from runmeter.collector.summary import Summary

TICK_NS = 10_000_000
TOLERATED_NS = 4 * TICK_NS
IDS = ("a" * 64, "b" * 64, "c" * 64)
SIGCHLD_IGNORED = 1 << 16


class Kernel:
    """Processes of a pod: pid 1 collects orphans, pids 2 and 3 are the roots of containers."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.used = 0  # ticks used by all since the start
        self.next_pid = 4
        self.ticks_by_id = dict.fromkeys(IDS, 0)
        for pid, identifier in zip((1, 2, 3), (IDS[2], *IDS[:2]), strict=True):
            machine.add(pid, ppid=0, cgroup=f"0::/pod/{identifier}", resident=1, own=50)

    def alive(self) -> list[int]:
        """Return who can act: all but pid 1 and zombies, ascending."""
        entries = self.machine.entries.values()
        return sorted(e.pid for e in entries if e.pid != 1 and e.state != "Z")

    def fork(self, pid: int) -> int:
        """Let a process start a child in its own container."""
        child, self.next_pid = self.next_pid, self.next_pid + 1
        cgroup = self.machine.entries[pid].cgroup
        self.machine.add(child, ppid=pid, cgroup=cgroup, resident=1, start=1000 + child)
        return child

    def run(self, pid: int, ticks: int) -> None:
        """Let a process use CPU time."""
        self.machine.run(pid, ticks)
        self.used += ticks
        self.ticks_by_id[self.machine.entries[pid].cgroup[-64:]] += ticks

    def exit(self, pid: int) -> None:
        """Let a process end: its children become those of pid 1, itself a zombie."""
        for child in [e for e in self.machine.entries.values() if e.ppid == pid]:
            self.machine.change(child.pid, ppid=1)
            if child.state == "Z":
                self.reap(child.pid)
        self.machine.change(pid, state="Z", resident=0)
        parent = self.machine.entries[pid].ppid
        if parent == 1:
            self.reap(pid)
        elif parent and self.machine.entries[parent].sig_ign:
            self.machine.remove(pid)  # its time reaches nobody

    def reap(self, pid: int) -> None:
        """Let the parent of a zombie wait for it."""
        entry = self.machine.entries[pid]
        parent = self.machine.entries[entry.ppid]
        self.machine.change(parent.pid, waited=parent.waited + entry.own + entry.waited)
        self.machine.remove(pid)

    def wait(self, pid: int) -> None:
        """Let a process wait for all children that have ended."""
        for child in [e for e in self.machine.entries.values() if e.ppid == pid]:
            if child.state == "Z":
                self.reap(child.pid)

    def job(self, pid: int, ticks: int) -> None:
        """Let a process start, run and wait for a child between two scans."""
        child = self.fork(pid)
        self.run(child, ticks)
        self.exit(child)
        if child in self.machine.entries:
            self.reap(child)


class Measured:
    """A sampler on the simulated kernel; sums up what it credits."""

    def __init__(self, machine: Any) -> None:
        self.kernel = Kernel(machine)
        self.credited: dict[str, int] = dict.fromkeys(IDS, 0)
        self._now_ns = 0
        containers = Containers({}, lambda pid: None)
        summary = Summary(10**9, 10, lambda group: True)
        self._sampler = Sampler(machine.proc, containers, summary, own_pid=0)
        self._sampler.start(0)

    def scan(self) -> None:
        """Take a snapshot; nothing credited may be negative."""
        self._now_ns += 10**9
        for group, found in self._sampler.tick(self._now_ns).groups.items():
            assert found.cpu_ns >= 0
            self.credited[_identifier(group)] += found.cpu_ns

    def act(self, kind: str, who: int, ticks: int) -> None:
        """Let the ``who``-th process (counted round) do something, or scan."""
        kernel = self.kernel
        if kind == "scan":
            self.scan()
            return
        alive = kernel.alive()
        pid = alive[who % len(alive)]
        if kind == "fork":
            kernel.fork(pid)
        elif kind == "exit":
            if pid > 3:
                kernel.exit(pid)
        elif kind == "wait":
            kernel.wait(pid)
        elif kind == "ignore":
            kernel.machine.change(pid, sig_ign=SIGCHLD_IGNORED)
        else:
            getattr(kernel, kind)(pid, ticks)


def _identifier(group: Group) -> str:
    assert group.key is not None
    return group.key.container_id


def _steps(*kinds: str) -> st.SearchStrategy[list[tuple[str, int, int]]]:
    step = st.tuples(st.sampled_from(kinds), st.integers(0, 6), st.integers(0, 40))
    return st.lists(step, max_size=40)


EVERY = ("fork", "run", "job", "exit", "wait", "scan")


@given(_steps(*EVERY))
def test_all_that_is_waited_for_is_credited_once(
    new_machine: Callable[[Path], Any], steps: list[tuple[str, int, int]]
) -> None:
    """Once every child is waited for, what was credited is exactly what was used."""
    with TemporaryDirectory() as folder:
        measured = Measured(new_machine(Path(folder)))
        kernel = measured.kernel
        for step in steps:
            measured.act(*step)
            assert sum(measured.credited.values()) <= kernel.used * TICK_NS
        for pid in reversed(kernel.alive()):
            if pid > 3:
                kernel.exit(pid)
        for pid in (2, 3):
            kernel.wait(pid)
            kernel.run(pid, 1)
        measured.scan()
        assert sum(measured.credited.values()) == kernel.used * TICK_NS


@given(_steps(*EVERY, "ignore"))
def test_nothing_is_credited_twice(
    new_machine: Callable[[Path], Any], steps: list[tuple[str, int, int]]
) -> None:
    """With parents that ignore their children, too, never more is credited than was used."""
    with TemporaryDirectory() as folder:
        measured = Measured(new_machine(Path(folder)))
        for step in steps:
            measured.act(*step)
            assert sum(measured.credited.values()) <= measured.kernel.used * TICK_NS


@given(_steps("fork", "run", "job", "scan"))
def test_containers_do_not_pay_for_each_other(
    new_machine: Callable[[Path], Any], steps: list[tuple[str, int, int]]
) -> None:
    """Without orphans every container is credited exactly what its own processes used."""
    with TemporaryDirectory() as folder:
        measured = Measured(new_machine(Path(folder)))
        kernel = measured.kernel
        for step in steps:
            measured.act(*step)
        for pid in reversed(kernel.alive()):  # the youngest first: nobody is orphaned
            if pid > 3:
                kernel.wait(pid)
                kernel.exit(pid)
        for pid in (2, 3):
            kernel.wait(pid)
        measured.scan()
        assert measured.credited == {k: n * TICK_NS for k, n in kernel.ticks_by_id.items()}


@pytest.fixture
def measured(machine: Any) -> Measured:
    """Return a sampler on a simulated kernel with a pod and nothing else."""
    return Measured(machine)


def test_short_lived_processes_count(measured: Measured) -> None:
    """What a child used that lived between two scans is credited to its parent's container."""
    for _ in range(5):
        measured.kernel.job(2, ticks=7)
    measured.scan()
    assert measured.credited[IDS[0]] == 35 * TICK_NS
    assert measured.credited[IDS[1]] == 0


def test_a_child_seen_alive_is_not_counted_again(measured: Measured) -> None:
    """What was credited to a child while it lived is left out when its parent waits for it."""
    child = measured.kernel.fork(2)
    measured.kernel.run(child, 30)
    measured.scan()
    assert measured.credited[IDS[0]] == 30 * TICK_NS
    measured.kernel.run(child, 5)
    measured.kernel.exit(child)
    measured.scan()  # a zombie now
    measured.kernel.wait(2)
    measured.scan()
    assert measured.credited[IDS[0]] == 35 * TICK_NS


def test_an_orphan_counts_to_its_own_container(measured: Measured) -> None:
    """What pid 1 collects goes to the container of the orphan that vanished, not to another."""
    kernel = measured.kernel
    middle = kernel.fork(2)
    orphan = kernel.fork(middle)
    kernel.run(orphan, 20)
    kernel.exit(middle)
    kernel.wait(2)
    measured.scan()
    kernel.run(orphan, 9)
    kernel.run(3, 100)  # the other container is busier
    kernel.exit(orphan)
    measured.scan()
    assert measured.credited == {IDS[0]: 29 * TICK_NS, IDS[1]: 100 * TICK_NS, IDS[2]: 0}


def test_an_orphan_that_ends_with_its_parent_counts_once(measured: Measured) -> None:
    """Parent and child end between two scans, pid 1 collects the child: nothing counts twice."""
    kernel = measured.kernel
    middle = kernel.fork(2)
    child = kernel.fork(middle)
    kernel.run(child, 50)
    measured.scan()
    kernel.exit(middle)
    kernel.wait(2)
    kernel.exit(child)
    kernel.run(3, 10)
    for _ in range(5):
        measured.scan()
    assert measured.credited == {IDS[0]: 50 * TICK_NS, IDS[1]: 10 * TICK_NS, IDS[2]: 0}


def test_orphans_never_seen_go_to_who_was_active(measured: Measured) -> None:
    """Time of orphans that lived between two scans is shared by activity, jobs included."""
    kernel = measured.kernel
    kernel.job(2, 30)
    middle = kernel.fork(2)
    daemon = kernel.fork(middle)
    kernel.exit(middle)
    kernel.wait(2)
    kernel.run(daemon, 6)
    kernel.exit(daemon)
    kernel.run(3, 10)
    measured.scan()
    assert measured.credited[IDS[2]] == 0
    assert sum(measured.credited.values()) == 46 * TICK_NS
    assert measured.credited[IDS[0]] > 30 * TICK_NS


def test_orphans_without_any_activity_wait_for_some(measured: Measured) -> None:
    """Time of orphans that nobody can be credited for now is credited in the next scan."""
    kernel = measured.kernel
    middle = kernel.fork(2)
    daemon = kernel.fork(middle)
    kernel.exit(middle)
    kernel.wait(2)
    kernel.run(daemon, 6)
    kernel.exit(daemon)
    measured.scan()
    kernel.run(2, 1)
    measured.scan()
    assert measured.credited[IDS[0]] == 7 * TICK_NS


def test_children_of_who_ignores_them_count_while_seen(measured: Measured) -> None:
    """A parent that ignores SIGCHLD never gets their time: what was seen stays credited."""
    kernel = measured.kernel
    kernel.machine.change(2, sig_ign=SIGCHLD_IGNORED)
    child = kernel.fork(2)
    kernel.run(child, 80)
    measured.scan()
    kernel.exit(child)
    measured.scan()
    kernel.job(3, 1)
    kernel.run(2, 5)
    measured.scan()
    assert measured.credited[IDS[0]] == 85 * TICK_NS


def test_what_was_used_before_the_first_snapshot_does_not_count(measured: Measured) -> None:
    """Time of processes and their children from before the run is left out."""
    measured.scan()
    assert measured.credited == dict.fromkeys(IDS, 0)
