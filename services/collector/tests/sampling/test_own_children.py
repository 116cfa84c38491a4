"""The collector's own children: they are not the command, and their time is the collector's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.model import COMMAND_GROUP, Group
from runmeter.collector.processes.containers import Containers
from runmeter.collector.sampling.sampler import Sampler
from runmeter.collector.summary.summary import Summary

SECOND = 10**9
TICK_NS = 10**7
COLLECTOR, COMMAND, OWN, ORPHAN = 100, 101, 200, 300
OURS = "c0" * 32
IN_OURS = f"0::/docker/{OURS}"


class Run:
    """A collector around a command, on a fake machine."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        machine.add(1, ppid=0, comm=b"init")
        machine.add(COLLECTOR, comm=b"collector", cgroup=IN_OURS, resident=5)
        self.containers = Containers({}, lambda pid: None)
        self.summary = Summary(SECOND, 100, lambda group: True)
        self.sampler = Sampler(machine.proc, self.containers, self.summary, own_pid=COLLECTOR)
        self.now_ns = 0
        self.sampler.start(0)
        self.sampler.table.command_parent_pid = COLLECTOR
        machine.add(COMMAND, ppid=COLLECTOR, comm=b"make", cgroup=IN_OURS, resident=5)

    def tick(self) -> None:
        """Take a snapshot a second later."""
        self.now_ns += SECOND
        self.sampler.tick(self.now_ns)

    def payload(self) -> dict[str, Any]:
        """Return the payload as it is now."""
        return self.summary.payload(self.containers.names(self.summary.groups), lambda group: None)

    def finish(self) -> dict[str, float]:
        """End the run; return CPU seconds of the command and of the collector's container."""
        self.sampler.finish(self.now_ns)
        found = {c["name"]: c["cpu_seconds"] for c in self.payload()["containers"]}
        return {name: found.get(name, 0.0) for name in ("command", OURS[:12])}


@pytest.fixture
def run(machine: Any) -> Run:
    """Return a run whose command has just started."""
    return Run(machine)


def test_a_child_of_ours_is_not_the_command(run: Run) -> None:
    """While it runs and after it has ended, its time is that of the collector's container."""
    run.machine.add(OWN, ppid=COLLECTOR, comm=b"collector", cgroup=IN_OURS, own=3, resident=5)
    run.sampler.add_own_child(OWN)
    run.machine.run(COMMAND, 50)
    run.tick()
    groups: dict[int, Group] = {p.pid: p.group for p in run.sampler.table.processes.values()}
    assert groups[COMMAND] == COMMAND_GROUP
    assert groups[OWN] == groups[COLLECTOR] != COMMAND_GROUP
    run.machine.remove(OWN)
    run.machine.change(COLLECTOR, waited=5)
    run.sampler.end_own_child(OWN, 5 * TICK_NS)
    run.tick()
    assert run.finish() == {"command": 0.5, OURS[:12]: 0.05}


def test_a_child_of_ours_that_was_never_seen_counts_to_us(run: Run) -> None:
    """It started and ended between two snapshots, beside an orphan of the command."""
    run.tick()
    run.machine.change(COLLECTOR, waited=40)  # 10 of ours, 30 of the orphan
    run.sampler.add_own_child(OWN)
    run.sampler.end_own_child(OWN, 10 * TICK_NS)
    run.tick()
    assert run.finish() == {"command": 0.3, OURS[:12]: 0.1}


def test_its_pid_may_be_the_commands_soon_after(run: Run) -> None:
    """A pid that was ours and is given to a process of the command belongs to the command."""
    run.machine.add(OWN, ppid=COLLECTOR, cgroup=IN_OURS, own=3)
    run.sampler.add_own_child(OWN)
    run.tick()
    run.machine.change(COLLECTOR, waited=3)
    run.sampler.end_own_child(OWN, 3 * TICK_NS)
    run.machine.add(OWN, ppid=COLLECTOR, cgroup=IN_OURS, start=2000, own=7)
    run.tick()
    assert run.sampler.table.processes[OWN].group == COMMAND_GROUP
    run.machine.remove(OWN)
    run.machine.change(COLLECTOR, waited=10)
    run.tick()
    assert run.finish() == {"command": 0.07, OURS[:12]: 0.03}


STEP = st.tuples(
    st.integers(0, 50),  # ticks the command runs
    st.lists(st.integers(0, 5 * TICK_NS), max_size=3),  # orphans that come and go, ns
    st.lists(st.integers(0, 5 * TICK_NS), max_size=2),  # children of ours that come and go, ns
    st.booleans(),  # whether a child of ours is there at the snapshot
    st.integers(0, 5 * TICK_NS),  # what that one has used then
)


@given(steps=st.lists(STEP, min_size=1, max_size=12))
def test_no_time_moves_between_the_command_and_us(
    tmp_path_factory: pytest.TempPathFactory,
    new_machine: Callable[[Path], Any],
    steps: list[tuple[int, list[int], list[int], bool, int]],
) -> None:
    """In any order of ends both have what they used, to 4 ticks of the kernel's clock."""
    run = Run(new_machine(tmp_path_factory.mktemp("machine")))
    waited_ns = command_ns = ours_ns = 0
    running: int | None = None
    for at, (ticks, orphans, ours, stays, used_ns) in enumerate(steps):
        run.machine.run(COMMAND, ticks)
        command_ns += ticks * TICK_NS + sum(orphans)
        waited_ns += sum(orphans)
        if running is not None:
            run.machine.remove(OWN)
            ours = [*ours, running]
        for child_ns in ours:
            run.sampler.add_own_child(OWN)
            run.sampler.end_own_child(OWN, child_ns)
            waited_ns += child_ns
            ours_ns += child_ns
        running = used_ns if stays else None
        if running is not None:
            own = running // TICK_NS
            run.machine.add(OWN, ppid=COLLECTOR, cgroup=IN_OURS, start=at, own=own)
            run.sampler.add_own_child(OWN)
        run.machine.change(COLLECTOR, waited=waited_ns // TICK_NS)
        run.tick()
    if running is not None:
        ours_ns += running
    found = run.finish()
    assert found["command"] == pytest.approx(command_ns / SECOND, abs=0.04)
    assert found[OURS[:12]] == pytest.approx(ours_ns / SECOND, abs=0.04)


def test_a_checkpoint_says_what_the_end_would_and_changes_nothing(run: Run) -> None:
    """Summed up in a forked child, the run so far reads as if it had ended at that snapshot."""
    for ticks in (30, 80, 10):
        run.machine.run(COMMAND, ticks)
        run.machine.change(COMMAND, resident=ticks)
        run.tick()
    ours = _in_child(lambda: (run.sampler.conclude(), run.payload())[1])
    ended = _in_child(lambda: (run.finish(), run.payload())[1])
    assert ours == ended
    assert "'sample_count': 4" in ours
    assert "'name': 'make'" in ours
    untouched = _in_child(lambda: _go_on(run))
    _in_child(lambda: run.sampler.conclude())
    assert repr(_go_on(run)) == untouched


def _go_on(run: Run) -> Any:
    run.machine.run(COMMAND, 70)
    run.tick()
    run.finish()
    return run.payload()


def _in_child(make: Callable[[], Any]) -> Any:
    """Return what a forked child makes, as text."""
    reading, writing = os.pipe()
    if not os.fork():
        try:
            os.write(writing, repr(make()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as file:
        text = file.read()
    os.wait()
    return text


@pytest.mark.parametrize("is_short", [False, True])
def test_what_ticks_do_not_show_is_the_commands_at_the_end(run: Run, is_short: bool) -> None:
    """0.5 s of the command, 0.3 s of its children and 10 ms of ours, each with 7 ms below a tick.

    3 ms of the collector's children are older than the run.
    """
    run.sampler.follow_command(COLLECTOR, True, 3_000_000)
    run.machine.run(COMMAND, 50)
    run.machine.change(COMMAND, waited=30)
    run.tick()
    run.sampler.add_own_child(OWN)
    run.sampler.end_own_child(OWN, TICK_NS + 7_000_000)
    run.machine.change(COLLECTOR, waited=1)
    if is_short:
        run.now_ns += SECOND // 10
    else:
        run.tick()
    used_ns = 50 * TICK_NS + 30 * TICK_NS + 14_000_000
    run.sampler.finish(run.now_ns, COMMAND, lambda: 3_000_000 + used_ns + TICK_NS + 7_000_000)
    found = {c["name"]: c["cpu_seconds"] for c in run.payload()["containers"]}
    assert (found["command"], found[OURS[:12]]) == (0.814, 0.017)


def test_a_debt_is_settled_at_the_end(run: Run) -> None:
    """A child credited two ticks arrives as one: what is missing to 16 ms is not added to them."""
    run.sampler.follow_command(COLLECTOR, True, 0)
    run.machine.add(ORPHAN, ppid=COMMAND, cgroup=IN_OURS, own=2)
    run.tick()
    run.machine.remove(ORPHAN)
    run.machine.change(COMMAND, waited=1)
    run.now_ns += SECOND
    run.sampler.finish(run.now_ns, COMMAND, lambda: 16_000_000)
    # two ticks were credited, 16 ms were used: the debt of a tick pays for what arrives
    [found] = [c for c in run.payload()["containers"] if c["name"] == "command"]
    assert found["cpu_seconds"] == 0.02


def test_without_an_exact_time_nothing_is_added(run: Run) -> None:
    """If the kernel's figure cannot be read, that of the ticks stays."""
    run.sampler.follow_command(COLLECTOR, True, None)
    run.machine.run(COMMAND, 50)
    run.now_ns += SECOND
    run.sampler.finish(run.now_ns, COMMAND, lambda: 10 * SECOND)
    [found] = [c for c in run.payload()["containers"] if c["name"] == "command"]
    assert found["cpu_seconds"] == 0.5
