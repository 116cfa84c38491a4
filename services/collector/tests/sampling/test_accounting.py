"""CPU accounting against a small simulated kernel, through the files a real one would show.

The simulated kernel forks, execs, runs, ends, waits for, orphans and reparents processes in
whole ticks, gives pids again and moves processes between containers, as Linux does; between its
steps the sampler scans. What the sampler credits is compared with what the simulated processes
used. Each test runs twice: by ``stat`` alone, and by the CPU clocks of processes, where nothing
else is read of a process whose clock has not changed. A process that acts moves its own clock by
at least a nanosecond; being adopted moves no clock.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.model import Group
from runmeter.collector.processes.containers import Containers
from runmeter.collector.processes.newest_pid import Look
from runmeter.collector.sampling.sampler import Sampler
from runmeter.collector.summary.summary import Summary

TICK_NS = 10_000_000
TOLERATED_NS = 4 * TICK_NS
IDS = ("a" * 64, "b" * 64, "c" * 64)
SIGCHLD_IGNORED = 1 << 16


class Kernel:
    """Processes of a pod: pid 1 collects orphans, pids 2 and 3 are the roots of containers.

    ``works``: pid 1 is an application, which also does what others do.
    """

    def __init__(self, machine: Any, *, works: bool = False) -> None:
        self.machine = machine
        self._works = works
        self.used = 0  # ticks used by all since the start
        self.next_pid = 4
        self.last_pid = 3
        self.births = 0
        self.free: list[int] = []  # pids of processes that are no more
        self._unseen_pid = 0
        self.stirred_ns: dict[int, int] = {}  # below a tick, by pid
        self.moved_ns = 0  # the same of all
        self.ticks_by_id = dict.fromkeys(IDS, 0)
        for pid, identifier in zip((1, 2, 3), (IDS[2], *IDS[:2]), strict=True):
            machine.add(pid, ppid=0, cgroup=f"0::/pod/{identifier}", resident=1, own=50)
        self._tell_last_pid()

    def clock(self, clock_id: int) -> int:
        """Read the clock of a process. Raises OSError if there is none."""
        pid = ~(clock_id >> 3)
        if pid not in self.machine.entries:
            raise OSError(errno.EINVAL, "no process")
        return int(self.machine.entries[pid].own * TICK_NS + self.stirred_ns.get(pid, 0))

    def _stir(self, pid: int) -> None:
        self.stirred_ns[pid] = self.stirred_ns.get(pid, 0) + 1
        self.moved_ns += 1

    def _tell_last_pid(self) -> None:
        self.machine.write("loadavg", f"0.00 0.00 0.00 1/9 {self.last_pid}\n")

    def run_task(self, look: Look) -> tuple[int, int | None]:
        """Start and end a thread of the collector, which gets the next pid."""
        self.last_pid, self.next_pid = self.next_pid, self.next_pid + 1
        self._tell_last_pid()
        return self.last_pid, look()

    def note_scan(self) -> None:
        """Remember processes that started and ended before a scan: the last pid may be the same.

        A real kernel gives such a pid again only after a whole round of all of them.
        """
        self._unseen_pid = 0 if self.last_pid in self.machine.entries else self.last_pid

    def alive(self) -> list[int]:
        """Return the pids that can act, ascending: all except pid 1 and zombies."""
        entries = self.machine.entries.values()
        return sorted(e.pid for e in entries if e.pid != 1 and e.state != "Z")

    def young(self) -> list[int]:
        """Return the forked pids that can act, the youngest process first."""
        entries = [self.machine.entries[pid] for pid in self.alive() if pid > 3]
        return [e.pid for e in sorted(entries, key=lambda e: -e.start)]

    def fork(self, pid: int) -> int:
        """Let a process start a child in its own container."""
        child, self.next_pid = self.next_pid, self.next_pid + 1
        return self._start(child, pid)

    def recycle(self, pid: int) -> int:
        """Let a process start a child with the pid of one that has ended, if there is one.

        Its clock is behind another nanosecond than those before it ever stood at.
        """
        given = [number for number in self.free if number != self._unseen_pid]
        if not given:
            return self.fork(pid)
        child = given[-1]  # rather than the first, so that often nothing is scanned in between
        self.free.remove(child)
        self.stirred_ns[child] = self.stirred_ns.get(child, 0) + 1
        self.moved_ns += self.stirred_ns[child]
        return self._start(child, pid)

    def _start(self, child: int, pid: int) -> int:
        self._stir(pid)
        self.last_pid, self.births = child, self.births + 1
        self._tell_last_pid()
        parent = self.machine.entries[pid]
        self.machine.add(
            child,
            ppid=pid,
            cgroup=parent.cgroup,
            resident=1,
            start=1000 + self.births,
            sig_ign=parent.sig_ign,
        )
        return child

    def exec(self, pid: int) -> None:
        """Let a process become another program: only its name changes."""
        self._stir(pid)
        self.machine.change(pid, comm=b"exec%d" % self.moved_ns)

    def move(self, pid: int, identifier: str) -> None:
        """Put a process into another container; its children stay, its clock does not move."""
        self.machine.change(pid, cgroup=f"0::/pod/{identifier}")

    def _remove(self, pid: int) -> None:
        self.machine.remove(pid)
        self.free.append(pid)

    def run(self, pid: int, ticks: int) -> None:
        """Let a process use CPU time."""
        self.machine.run(pid, ticks)
        self._stir(pid)
        self.used += ticks
        self.ticks_by_id[self.machine.entries[pid].cgroup[-64:]] += ticks

    def exit(self, pid: int) -> None:
        """Let a process end: its children become those of pid 1, itself a zombie."""
        self._stir(pid)
        for child in [e for e in self.machine.entries.values() if e.ppid == pid]:
            self.machine.change(child.pid, ppid=1)
            if child.state == "Z":
                self.reap(child.pid)
        self.machine.change(pid, state="Z", resident=0)
        parent = self.machine.entries[pid].ppid
        if parent == 1:
            self.reap(pid)
        elif parent and self.machine.entries[parent].sig_ign:
            self._remove(pid)  # its time is lost

    def reap(self, pid: int) -> None:
        """Let the parent of a zombie wait for it."""
        entry = self.machine.entries[pid]
        parent = self.machine.entries[entry.ppid]
        self._stir(parent.pid)
        self.machine.change(parent.pid, waited=parent.waited + entry.own + entry.waited)
        self._remove(pid)

    def wait(self, pid: int) -> None:
        """Let a process wait for all children that have ended."""
        for child in [e for e in self.machine.entries.values() if e.ppid == pid]:
            if child.state == "Z":
                self.reap(child.pid)

    def finish(self, pid: int) -> None:
        """Let a process without living children end and be waited for at once."""
        if not any(e.ppid == pid and e.state != "Z" for e in self.machine.entries.values()):
            self.wait(pid)
            self.exit(pid)
            if pid in self.machine.entries:
                self.reap(pid)

    def replace(self, pid: int, ticks: int) -> None:
        """Let a process without living children end, and another get its pid and run."""
        if pid > 3:
            parent = self.machine.entries[pid].ppid
            self.finish(pid)
            self.run(self.recycle(2 if parent == 1 else parent), ticks)

    def job(self, pid: int, ticks: int) -> None:
        """Let a process start, run and wait for a child between two scans."""
        self._work(self.fork(pid), ticks)

    def rejob(self, pid: int, ticks: int) -> None:
        """Do the same with a child that gets a pid again."""
        self._work(self.recycle(pid), ticks)

    def _work(self, child: int, ticks: int) -> None:
        self.run(child, ticks)
        self.exit(child)
        if child in self.machine.entries:
            self.reap(child)


class Measured:
    """A sampler on the simulated kernel; sums up what it credits."""

    def __init__(self, machine: Any, *, has_clocks: bool, works: bool = False) -> None:
        self.kernel = Kernel(machine, works=works)
        self._has_clocks = has_clocks
        self.credited: dict[str, int] = dict.fromkeys(IDS, 0)
        self._now_ns = 0
        containers = Containers({}, lambda pid: None)
        summary = Summary(10**9, 10, lambda group: True)
        clock = self.kernel.clock if has_clocks else None
        self._sampler = Sampler(
            machine.proc,
            containers,
            summary,
            own_pid=0,
            clock=clock,
            run_task=self.kernel.run_task,
        )
        self._sampler.start(0)

    @property
    def slack_ns(self) -> int:
        """Time that clocks count and ticks do not."""
        return self.kernel.moved_ns if self._has_clocks else 0

    @property
    def ticks(self) -> dict[str, int]:
        """What was credited to each container, in whole ticks."""
        assert self.slack_ns < TICK_NS / 2
        return {identifier: round(ns / TICK_NS) for identifier, ns in self.credited.items()}

    @property
    def total_ns(self) -> int:
        """What was credited to all."""
        return sum(self.credited.values())

    def scan(self) -> None:
        """Take a snapshot; nothing credited may be negative."""
        self._now_ns += 10**9
        for group, found in self._sampler.tick(self._now_ns).groups.items():
            assert found.cpu_ns >= 0
            self.credited[_identifier(group)] += found.cpu_ns
        self.kernel.note_scan()

    def act(self, kind: str, who: int, ticks: int) -> None:
        """Let the ``who``-th process (counted round) do something, or scan."""
        kernel = self.kernel
        if kind == "scan":
            self.scan()
            return
        alive = kernel.alive()
        pid = alive[who % len(alive)]
        if kind in ("fork", "recycle", "exec", "wait"):
            getattr(kernel, kind)(pid)
        elif kind in ("exit", "finish"):
            if pid > 3:
                getattr(kernel, kind)(pid)
        elif kind == "move":
            kernel.move(pid, IDS[ticks % 2])
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


BOTH = pytest.mark.parametrize("has_clocks", [False, True], ids=["stat", "clocks"])
EVERY = ("fork", "run", "job", "exit", "wait", "scan", "exec", "recycle", "rejob", "replace",
         "move")  # fmt: skip


@BOTH
@pytest.mark.parametrize("works", [False, True], ids=["holder", "app"])
@given(_steps(*EVERY))
def test_all_that_is_waited_for_is_credited_once(
    new_machine: Callable[[Path], Any],
    works: bool,
    has_clocks: bool,
    steps: list[tuple[str, int, int]],
) -> None:
    """Once every child is waited for, what was credited is exactly what was used.

    Until then it is never more: all is whole ticks, and a scan is one instant, so neither
    rounding nor races, for which the ledger tolerates something, can add anything.
    """
    with TemporaryDirectory() as folder:
        measured = Measured(new_machine(Path(folder)), has_clocks=has_clocks, works=works)
        kernel = measured.kernel
        for step in steps:
            measured.act(*step)
            assert measured.total_ns <= kernel.used * TICK_NS + measured.slack_ns
        for pid in kernel.young():
            kernel.exit(pid)
        for pid in (2, 3):
            kernel.wait(pid)
            kernel.run(pid, 1)
        measured.scan()
        assert abs(measured.total_ns - kernel.used * TICK_NS) <= measured.slack_ns


@BOTH
@given(_steps(*EVERY, "ignore"))
def test_nothing_is_credited_twice(
    new_machine: Callable[[Path], Any], has_clocks: bool, steps: list[tuple[str, int, int]]
) -> None:
    """With parents that ignore their children, too, never more is credited than was used.

    The bound is zero here as well: the four ticks tolerated before the signal mask of a parent is
    read are carried as debt until then, they are never credited.
    """
    with TemporaryDirectory() as folder:
        measured = Measured(new_machine(Path(folder)), has_clocks=has_clocks)
        kernel = measured.kernel
        for step in steps:
            measured.act(*step)
            assert measured.total_ns <= kernel.used * TICK_NS + measured.slack_ns
        measured.scan()
        for pid in kernel.young():
            kernel.exit(pid)
        for pid in (2, 3):
            kernel.wait(pid)
            measured.scan()
            assert measured.total_ns <= kernel.used * TICK_NS + measured.slack_ns


@BOTH
@given(_steps("fork", "run", "job", "scan", "exec", "recycle", "rejob", "replace", "finish"))
def test_containers_do_not_pay_for_each_other(
    new_machine: Callable[[Path], Any], has_clocks: bool, steps: list[tuple[str, int, int]]
) -> None:
    """Without orphans every container is credited exactly what its own processes used."""
    with TemporaryDirectory() as folder:
        measured = Measured(new_machine(Path(folder)), has_clocks=has_clocks)
        kernel = measured.kernel
        for step in steps:
            measured.act(*step)
        for pid in kernel.young():  # children before parents: none becomes an orphan
            kernel.finish(pid)
        for pid in (2, 3):
            kernel.wait(pid)
        measured.scan()
        for identifier, ticks in kernel.ticks_by_id.items():
            lack_ns = ticks * TICK_NS - measured.credited[identifier]
            assert abs(lack_ns) <= measured.slack_ns


@pytest.fixture(params=[False, True], ids=["stat", "clocks"])
def measured(machine: Any, request: pytest.FixtureRequest) -> Measured:
    """Return a sampler on a simulated kernel with a pod and nothing else."""
    return Measured(machine, has_clocks=request.param)


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
    assert measured.ticks == {IDS[0]: 29, IDS[1]: 100, IDS[2]: 0}


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
    assert measured.ticks == {IDS[0]: 50, IDS[1]: 10, IDS[2]: 0}


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
    assert measured.ticks[IDS[2]] == 0
    assert round(measured.total_ns / TICK_NS) == 46
    assert measured.ticks[IDS[0]] > 30


def test_orphans_without_any_activity_wait_for_some(measured: Measured) -> None:
    """Time of orphans that cannot be credited now is credited in the next scan."""
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
    assert measured.ticks[IDS[0]] == 7


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
    assert measured.ticks[IDS[0]] == 85


def test_who_ends_between_others_that_are_ignored_counts_once(measured: Measured) -> None:
    """A zombie from before its parent began to ignore its children is not credited again."""
    kernel = measured.kernel
    zombie, child = kernel.fork(2), kernel.fork(2)
    kernel.run(zombie, 30)
    kernel.run(child, 10)
    measured.scan()
    kernel.exit(zombie)
    kernel.machine.change(2, sig_ign=SIGCHLD_IGNORED)
    kernel.exit(child)
    kernel.wait(2)
    measured.scan()
    kernel.run(2, 5)
    measured.scan()
    assert measured.ticks == {IDS[0]: 45, IDS[1]: 0, IDS[2]: 0}


def test_a_pid_given_again_is_another_process(measured: Measured) -> None:
    """Who gets the pid of a process that was seen counts from zero, and the old one once."""
    kernel = measured.kernel
    first = kernel.fork(2)
    kernel.run(first, 30)
    measured.scan()
    kernel.run(first, 4)
    kernel.finish(first)
    second = kernel.recycle(3)
    assert second == first
    kernel.run(second, 50)
    measured.scan()
    kernel.rejob(3, 3)
    kernel.finish(second)
    measured.scan()
    assert measured.ticks == {IDS[0]: 34, IDS[1]: 53, IDS[2]: 0}


def test_who_moves_young_counts_to_its_new_container_from_then_on(measured: Measured) -> None:
    """What a young process uses after its move counts to its new container, its end as well."""
    kernel = measured.kernel
    child = kernel.fork(2)
    kernel.run(child, 30)
    measured.scan()
    kernel.move(child, IDS[1])
    kernel.run(child, 20)
    measured.scan()
    assert measured.ticks == {IDS[0]: 30, IDS[1]: 20, IDS[2]: 0}
    kernel.run(child, 5)
    measured.scan()
    kernel.finish(child)
    measured.scan()
    assert measured.ticks == {IDS[0]: 30, IDS[1]: 25, IDS[2]: 0}


def _sleeper_ends_and_counts_once(measured: Measured, sleeper: int) -> None:
    """Let a process end that pid 1 collects, while only another container is active."""
    measured.kernel.exit(sleeper)
    measured.kernel.run(3, 10)
    for _ in range(5):
        measured.scan()
        measured.kernel.run(3, 1)
    assert measured.ticks == {IDS[0]: 50, IDS[1]: 14, IDS[2]: 0}


def test_who_was_adopted_while_it_slept_is_an_orphan(measured: Measured) -> None:
    """A process whose parent ended long before it did, itself asleep all the time, counts once."""
    kernel = measured.kernel
    middle = kernel.fork(2)
    sleeper = kernel.fork(middle)
    kernel.run(sleeper, 50)
    measured.scan()
    kernel.exit(middle)
    kernel.wait(2)
    measured.scan()
    _sleeper_ends_and_counts_once(measured, sleeper)


def test_an_orphan_of_a_zombie_counts_once(measured: Measured) -> None:
    """A sleeper whose parent has ended and is not waited for still belongs to pid 1."""
    kernel = measured.kernel
    middle = kernel.fork(2)
    sleeper = kernel.fork(middle)
    kernel.run(sleeper, 50)
    measured.scan()
    kernel.exit(middle)
    measured.scan()
    _sleeper_ends_and_counts_once(measured, sleeper)


def test_a_child_of_a_zombie_counts_once(measured: Measured) -> None:
    """A child that ends after its parent has become a zombie was waited for by the reaper."""
    kernel = measured.kernel
    parent = kernel.fork(3)
    child = kernel.fork(parent)
    kernel.run(child, 9)
    measured.scan()
    kernel.exit(child)
    kernel.exit(parent)  # it is not waited for yet
    kernel.run(2, 1)  # the other container is active
    measured.scan()
    assert measured.ticks == dict(zip(IDS, (1, 9, 0), strict=True))
