"""The loop's steps on a fake machine with a fake clock: snapshots, intervals, statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runmeter.collector.model import Group, Key, Limit
from runmeter.collector.processes.containers import Containers
from runmeter.collector.run.measurement import Schedule
from runmeter.collector.sampling.sampler import Sampler
from runmeter.collector.summary.summary import Summary
from runmeter.procfs import ProcfsError

SECOND = 10**9
A, B = "a1" * 32, "b2" * 32
NAME_A, NAME_B = A[:12], B[:12]
IN_A, IN_B = f"0::/docker/{A}", f"0::/docker/{B}"


class Run:
    """A measurement with a clock that tests set."""

    def __init__(
        self,
        machine: Any,
        *,
        interval_seconds: float = 2,
        top: int = 10,
        process_map: dict[str, str] | None = None,
        lists: Callable[[Group], bool] = lambda group: True,
        own_pid: int = 0,
    ) -> None:
        self.machine = machine
        self.containers = Containers(process_map or {}, lambda pid: None)
        self.interval_ns = round(interval_seconds * SECOND)
        merges = bool(process_map)
        self.summary = Summary(self.interval_ns, top, lists, merges)
        self.sampler = Sampler(machine.proc, self.containers, self.summary, own_pid=own_pid)
        self.schedule = Schedule(0, self.interval_ns)
        self.now_ns = 0

    def start(self) -> None:
        """Take the first snapshot."""
        self.sampler.start(self.now_ns)

    def tick(self) -> None:
        """Let the clock reach the next tick, and take it."""
        self.now_ns = self.schedule.next_ns
        self.sampler.tick(self.now_ns)
        self.schedule.ticked(self.now_ns)

    def finish(self, after_seconds: float = 0.0) -> dict[str, Any]:
        """End the run so long after the last reading; return the payload."""
        self.now_ns += round(after_seconds * SECOND)
        self.sampler.finish(self.now_ns)
        return self.payload()

    def payload(self) -> dict[str, Any]:
        """Return the payload as it is now."""
        names = self.containers.names(self.summary.groups)
        limits = {NAME_A: Limit(2.0, 4096)}
        return self.summary.payload(names, lambda g: limits.get(self.containers.base_name(g)))


@pytest.fixture
def new_run(machine: Any) -> Callable[..., Run]:
    """Return the maker of runs on the fake machine."""

    def make(**settings: Any) -> Run:
        return Run(machine, **settings)

    return make


@pytest.fixture
def run(machine: Any) -> Run:
    """Return a run of 2 s intervals with one process in container A, started."""
    machine.add(5, cgroup=IN_A, resident=10)
    run = Run(machine)
    run.start()
    return run


def _container(payload: dict[str, Any], name: str = NAME_A) -> dict[str, Any]:
    [found] = [c for c in payload["containers"] if c["name"] == name]
    return found


# -- schedule -----------------------------------------------------------------------------


def test_ticks_lie_on_a_grid() -> None:
    """A tick that is taken late does not move those that follow."""
    schedule = Schedule(100, 10)
    assert schedule.next_ns == 110
    schedule.ticked(114)
    assert schedule.next_ns == 120
    schedule.ticked(120)
    assert schedule.next_ns == 130
    assert schedule.missed_count == 0


def test_ticks_that_could_not_be_kept_are_missed() -> None:
    """A tick that ends after others were due skips and counts them."""
    schedule = Schedule(100, 10)
    schedule.ticked(145)  # the tick of 110 took until 145: 120, 130, 140 are gone
    assert schedule.missed_count == 3
    assert schedule.next_ns == 150


# -- snapshots ----------------------------------------------------------------------------


@pytest.mark.parametrize("after_seconds", [0.0, 0.005, 0.999])
def test_twenty_seconds_at_two_give_eleven_snapshots(run: Run, after_seconds: float) -> None:
    """The start, ten ticks; an end shortly after the last tick is no snapshot of its own."""
    for _ in range(10):
        run.tick()
    payload = run.finish(after_seconds)
    assert payload["sample_count"] == 11
    assert payload["duration_seconds"] == 20 + after_seconds
    assert _container(payload)["sample_count"] == 11


def test_an_end_in_place_of_a_tick_is_a_snapshot(run: Run) -> None:
    """When the end comes before the tick that is due at the same time, it counts as that."""
    for _ in range(9):
        run.tick()
    payload = run.finish(after_seconds=2)
    assert (payload["sample_count"], payload["duration_seconds"]) == (11, 20.0)


@pytest.mark.parametrize(("after_seconds", "count"), [(0.999, 2), (1.0, 3), (1.5, 3)])
def test_half_an_interval_is_a_snapshot_of_its_own(
    run: Run, after_seconds: float, count: int
) -> None:
    """A tail of half an interval or more is an interval; a shorter one is merged."""
    run.tick()
    assert run.finish(after_seconds)["sample_count"] == count


@pytest.mark.parametrize("after_seconds", [0.0, 0.001, 1.999])
def test_the_shortest_run_has_two_snapshots(run: Run, after_seconds: float) -> None:
    """The shortest run has a snapshot at its start and one at its end."""
    payload = run.finish(after_seconds)
    assert payload["sample_count"] == 2
    assert _container(payload)["cpu_cores"]["peak"] == 0


def test_a_merged_tail_belongs_to_the_interval_before(run: Run) -> None:
    """CPU time of the tail, and of the machine, counts in the interval with the tail."""
    run.machine.run(5, 100)
    run.tick()
    run.machine.run(5, 200)
    run.machine.clock(busy=90, idle=10)
    run.tick()
    run.machine.run(5, 50)
    run.machine.clock(busy=90, idle=110)
    payload = run.finish(after_seconds=0.5)
    assert payload["cpu_total_percent"]["peak"] == 45.0
    found = _container(payload)
    assert found["cpu_seconds"] == 3.5
    assert found["cpu_cores"]["peak"] == 1.0  # (2 + 0.5) s in 2.5 s
    assert found["cpu_cores"]["avg"] == 0.75
    assert found["sample_count"] == 3


def test_a_tail_of_its_own_is_an_interval(run: Run) -> None:
    """CPU time of a long tail is divided by the tail's length."""
    run.tick()
    run.machine.run(5, 150)
    found = _container(run.finish(after_seconds=1.5))
    assert found["cpu_seconds"] == 1.5
    assert found["cpu_cores"]["peak"] == 1.0
    assert found["cpu_cores"]["avg"] == 0.5


def test_short_lived_processes_of_the_tail_count(run: Run) -> None:
    """Children that started and ended in the tail count in cpu_seconds through their parent."""
    run.tick()
    run.machine.change(5, waited=40)
    assert _container(run.finish(after_seconds=0.4))["cpu_seconds"] == 0.4


# -- the machine --------------------------------------------------------------------------


def test_cpu_is_percent_of_the_whole_machine(run: Run) -> None:
    """Busy ticks by all ticks of all CPUs; idle and iowait are not busy."""
    run.machine.clock(busy=300, idle=60, iowait=40)
    run.tick()
    run.machine.clock(busy=300, idle=460, iowait=40)
    run.tick()
    found = run.finish()["cpu_total_percent"]
    assert (found["peak"], found["avg"], found["p50"]) == (75.0, 37.5, 0.0)


def test_memory_is_total_less_available(run: Run) -> None:
    """Bytes, and percent of the machine's memory, over all snapshots."""
    run.machine.memory(total_kb=1000, available_kb=200)
    run.tick()
    payload = run.finish()
    assert payload["mem_used_bytes"]["peak"] == 800 * 1024
    assert payload["mem_used_bytes"]["p50"] == 400 * 1024
    assert payload["mem_used_percent"]["peak"] == 80.0
    assert run.summary.mem_total_bytes == 1000 * 1024


def test_what_cannot_be_measured_is_absent(run: Run) -> None:
    """Without readable counters of the machine their figures are absent, containers are not."""
    run.machine.write("stat", "nonsense\n")
    run.machine.write("meminfo", "MemTotal: 5 kB\nMemFree: 1 kB\n")
    run.tick()
    payload = run.finish(2)
    assert "cpu_total_percent" not in payload
    assert payload["mem_used_bytes"]["peak"] == 400 * 1024  # of the first snapshot alone
    assert _container(payload)["sample_count"] == 3


def test_counters_that_go_back_are_no_interval(run: Run) -> None:
    """When the machine's ticks do not move forward there is no CPU figure for the interval."""
    run.machine.clock(busy=100, idle=100)
    run.tick()
    run.machine.clock(busy=50, idle=50)
    run.tick()
    assert run.finish()["cpu_total_percent"]["peak"] == 50.0


def test_an_unreadable_mount_is_an_error_and_the_run_goes_on(run: Run) -> None:
    """A tick that cannot be taken raises; the next one covers its interval as well."""
    moved = run.machine.folder.with_name("away")
    run.machine.folder.rename(moved)
    with pytest.raises(ProcfsError):
        run.tick()
    moved.rename(run.machine.folder)
    run.schedule.ticked(run.now_ns)
    run.machine.run(5, 400)
    run.tick()
    found = _container(run.finish())
    assert found["cpu_seconds"] == 4.0
    assert found["cpu_cores"]["peak"] == 1.0


# -- containers ---------------------------------------------------------------------------


def test_statistics_cover_the_snapshots_a_container_existed_in(run: Run) -> None:
    """A container that exists for a part of the run is not averaged over the whole run."""
    run.tick()
    run.machine.add(6, cgroup=IN_B, resident=4, shared=1)
    run.tick()
    run.machine.run(6, 100)
    run.tick()
    run.machine.remove(6)
    for _ in range(7):
        run.tick()
    payload = run.finish()
    found = _container(payload, NAME_B)
    assert payload["sample_count"] == 11
    assert found["sample_count"] == 2
    assert found["memory_bytes"] == dict.fromkeys(found["memory_bytes"], 4 * 4096)
    assert found["memory_anon_bytes"]["avg"] == 3 * 4096
    assert found["cpu_cores"]["avg"] == 0.25  # two intervals: 0 and 0.5


def test_a_container_between_two_snapshots_has_cpu_and_no_memory(run: Run) -> None:
    """Where only a zombie was seen there are CPU seconds, no memory, no snapshots."""
    run.tick()
    run.machine.add(6, ppid=5, cgroup=IN_B, state="Z", own=30)
    run.tick()
    found = _container(run.finish(), NAME_B)
    assert found["cpu_seconds"] == 0.3
    assert found["sample_count"] == 0
    assert "memory_bytes" not in found


def test_containers_stand_most_cpu_first(run: Run) -> None:
    """Containers are ordered by CPU seconds, then by name; limits stand beside them."""
    run.machine.add(6, cgroup=IN_B)
    run.machine.add(7, cgroup="0::/quiet")
    run.machine.add(8, cgroup="0::/calm")
    run.machine.run(6, 5)
    run.machine.run(5, 1)
    run.tick()
    payload = run.finish()
    assert [c["name"] for c in payload["containers"]] == [NAME_B, NAME_A, "calm", "quiet"]
    assert _container(payload)["limits"] == {"cpu_cores": 2.0, "memory_bytes": 4096}
    assert "limits" not in _container(payload, NAME_B)
    assert _container(payload)["cpu_source"] == "ledger"


def test_what_is_not_listed_is_not_reported(machine: Any, new_run: Callable[..., Run]) -> None:
    """A group that is not listed is no container and has no process in the top lists."""
    machine.add(5, cgroup=IN_A, resident=1)
    machine.add(6, cgroup="0::/user.slice", resident=9)
    run = new_run(lists=lambda group: group.key is not None and bool(group.key.container_id))
    run.start()
    machine.run(6, 100)
    run.tick()
    payload = run.finish()
    assert [c["name"] for c in payload["containers"]] == [NAME_A]
    assert [p["pid"] for p in payload["top_mem_processes"]] == [5]
    assert payload["top_cpu_processes"] == []


@pytest.mark.parametrize("ticks_before", [0, 1, 3])
def test_late_identification_loses_nothing(
    machine: Any, new_run: Callable[..., Run], ticks_before: int
) -> None:
    """What a cgroup used before a process identified it counts to the mapped container."""
    machine.add(5, cgroup=IN_A, comm=b"sh", resident=2)
    machine.add(6, cgroup=IN_A, comm=b"early", resident=1)
    run = new_run(process_map={"node": "runner"})
    run.start()
    for _ in range(ticks_before):
        machine.run(5, 50)
        run.tick()
    machine.remove(6)
    machine.run(5, 50)
    machine.change(5, comm=b"node")
    run.tick()
    machine.run(5, 50)
    run.tick()
    payload = run.finish()
    [found] = payload["containers"]
    assert found["name"] == "runner"
    assert found["cpu_seconds"] == 0.5 * (ticks_before + 2)
    assert found["cpu_cores"]["avg"] == 0.25
    assert found["sample_count"] == ticks_before + 3
    assert {p["container"] for p in payload["top_mem_processes"]} == {"runner"}


def test_two_cgroups_of_one_mapped_name_are_one_container(
    machine: Any, new_run: Callable[..., Run]
) -> None:
    """Cgroups identified from the start by one name are summed up as one."""
    machine.add(5, cgroup=IN_A, comm=b"node", resident=2)
    machine.add(6, cgroup=IN_B, comm=b"node", resident=3)
    run = new_run(process_map={"node": "runner"})
    run.start()
    machine.run(5, 100)
    machine.run(6, 100)
    run.tick()
    [found] = run.finish()["containers"]
    assert (found["name"], found["cpu_seconds"]) == ("runner", 2.0)
    assert found["memory_bytes"]["peak"] == 5 * 4096


def test_a_second_cgroup_identified_late_loses_nothing(
    machine: Any, new_run: Callable[..., Run]
) -> None:
    """CPU time of a cgroup that joins a container later is reported, before and after."""
    machine.add(5, cgroup=IN_A, comm=b"node", resident=2)
    machine.add(6, cgroup=IN_B, comm=b"sh", resident=3)
    run = new_run(process_map={"node": "runner"})
    run.start()
    machine.run(6, 100)
    run.tick()
    machine.run(6, 100)
    machine.change(6, comm=b"node")
    run.tick()
    payload = run.finish()
    [found] = payload["containers"]
    assert (found["name"], found["cpu_seconds"], found["sample_count"]) == ("runner", 2.0, 3)
    assert found["cpu_cores"]["avg"] == 0.5
    assert found["memory_bytes"]["p50"] == 5 * 4096
    assert {p["container"] for p in payload["top_cpu_processes"]} == {"runner"}


def test_a_process_that_ends_as_it_moves_spoils_nothing(run: Run) -> None:
    """A process last seen without CPU or memory, alone in its cgroup, is no error."""
    run.machine.add(6, cgroup=IN_A, resident=3)
    run.tick()
    run.machine.change(6, cgroup=IN_B, state="Z", resident=0)
    run.tick()
    run.machine.remove(6)
    run.tick()
    found = run.finish()["top_mem_processes"]
    assert [(p["pid"], p["container"]) for p in found] == [(5, NAME_A), (6, NAME_A)]


# -- top lists ----------------------------------------------------------------------------


def test_top_lists_rank_by_peak(run: Run) -> None:
    """CPU by its highest interval in percent of a core, memory by its highest snapshot."""
    run.machine.add(6, cgroup=IN_A, resident=40)
    run.tick()
    run.machine.run(5, 100)
    run.machine.run(6, 300)
    run.machine.change(5, resident=30)
    run.tick()
    run.machine.run(5, 600)
    run.machine.change(5, resident=1)
    run.tick()
    payload = run.finish()
    assert payload["top_cpu_processes"] == [
        {"pid": 5, "name": "work", "container": NAME_A, "peak_cpu_percent": 300.0,
         "cpu_seconds": 7.0, "peak_mem_bytes": 30 * 4096},
        {"pid": 6, "name": "work", "container": NAME_A, "peak_cpu_percent": 150.0,
         "cpu_seconds": 3.0, "peak_mem_bytes": 40 * 4096},
    ]  # fmt: skip
    assert [p["pid"] for p in payload["top_mem_processes"]] == [6, 5]


def test_ties_go_by_cpu_time_then_pid(run: Run) -> None:
    """Equal peaks are ordered by CPU seconds, and these by pid."""
    for pid in (9, 8, 7, 6):
        run.machine.add(pid, cgroup=IN_A, resident=10)
    run.tick()
    for pid in (5, 6, 7, 8):
        run.machine.run(pid, 100)
    run.tick()
    run.machine.run(8, 50)
    run.tick()
    payload = run.finish()
    assert [p["pid"] for p in payload["top_cpu_processes"]] == [8, 5, 6, 7]
    assert [p["pid"] for p in payload["top_mem_processes"]] == [8, 5, 6, 7, 9]


def test_one_entry_per_pid_and_start_time(run: Run) -> None:
    """A pid used again is a second entry; a process seen often is one."""
    for _ in range(3):
        run.machine.run(5, 10)
        run.tick()
    run.machine.add(5, start=9000, own=40, comm=b"second", cgroup=IN_A, resident=2)
    run.tick()
    run.tick()
    payload = run.finish()
    found = [(p["pid"], p["name"]) for p in payload["top_cpu_processes"]]
    assert found == [(5, "second"), (5, "work")]


def test_a_process_of_the_tail_is_listed(run: Run) -> None:
    """A process seen in the merged tail alone has CPU over the interval with the tail."""
    run.tick()
    run.machine.add(6, cgroup=IN_A, own=50, resident=99)
    payload = run.finish(after_seconds=0.5)
    assert payload["top_cpu_processes"][0]["peak_cpu_percent"] == 20.0  # 0.5 s in 2.5 s
    assert payload["top_mem_processes"][0]["pid"] == 6


def test_top_lists_have_the_configured_length(machine: Any, new_run: Callable[..., Run]) -> None:
    """The lists have the configured length, even if many processes have ended."""
    run = new_run(top=3)
    run.start()
    for pid in range(10, 210):
        machine.add(pid, cgroup=IN_A, own=pid, resident=pid)
    run.tick()
    for pid in range(10, 210):
        machine.remove(pid)
    run.tick()
    payload = run.finish()
    for name in ("top_cpu_processes", "top_mem_processes"):
        assert [p["pid"] for p in payload[name]] == [209, 208, 207]


def test_top_zero_lists_no_process(machine: Any, new_run: Callable[..., Run]) -> None:
    """With --top=0 the lists are empty, containers are not."""
    machine.add(5, cgroup=IN_A, resident=1)
    run = new_run(top=0)
    run.start()
    machine.run(5, 10)
    run.tick()
    payload = run.finish()
    assert (payload["top_cpu_processes"], payload["top_mem_processes"]) == ([], [])
    assert len(payload["containers"]) == 1


def test_idle_processes_and_kernel_threads_are_not_listed(run: Run) -> None:
    """Without CPU time a process is not in the CPU list, without RSS not in the other."""
    run.machine.add(2, ppid=0, comm=b"kthreadd", cgroup="0::/", resident=0)
    run.tick()
    payload = run.finish()
    assert payload["top_cpu_processes"] == []
    assert [p["pid"] for p in payload["top_mem_processes"]] == [5]


def test_orphans_go_to_the_group_they_had(run: Run) -> None:
    """The sampler leaves the reaper's own container out of what the reaper collected."""
    run.machine.add(1, ppid=0, cgroup=IN_B)
    run.tick()
    run.machine.run(5, 1)
    run.machine.run(1, 1)
    run.machine.change(1, waited=100)
    run.tick()
    payload = run.finish()
    assert _container(payload)["cpu_seconds"] == 1.01
    assert _container(payload, NAME_B)["cpu_seconds"] == 0.01
    assert run.sampler.table.processes[1].group == Group(Key(B, ""))


C = "c3" * 32
NAME_C = C[:12]
IN_C = f"0::/docker/{C}"


def _beside(machine: Any, new_run: Callable[..., Run], init: bytes) -> Run:
    """Return a run with pid 1 in a container of its own, the collector in another, and a third."""
    machine.add(1, ppid=0, comm=init, cgroup=IN_B)
    machine.add(9, ppid=0, comm=b"collector", cgroup=IN_C)
    machine.add(5, ppid=0, cgroup=IN_A)
    run = new_run(own_pid=9)
    run.start()
    return run


def _seconds(payload: dict[str, Any]) -> dict[str, float]:
    return {c["name"]: c["cpu_seconds"] for c in payload["containers"]}


@pytest.mark.parametrize("holds_more", [False, True])
def test_pid_1_alone_beside_the_collector_is_the_job(
    machine: Any, new_run: Callable[..., Run], holds_more: bool
) -> None:
    """What pid 1 waited for is its container's if there is no other, also if a child was seen."""
    machine.add(1, ppid=0, comm=b"app", cgroup=IN_B)
    machine.add(9, ppid=0, comm=b"collector", cgroup=IN_C)
    run = new_run(own_pid=9)
    run.start()
    if holds_more:
        machine.add(20, ppid=1, cgroup=IN_B, own=10)
        run.tick()
        machine.remove(20)
        machine.change(1, waited=10)
    machine.change(1, waited=40)
    assert _seconds(run.finish(2)) == {NAME_B: 0.4, NAME_C: 0.0}


def test_pid_1_in_the_container_of_the_collector_is_the_job(
    machine: Any, new_run: Callable[..., Run]
) -> None:
    """A shell that starts the collector and then works counts, on a bare machine as well."""
    machine.add(1, ppid=0, comm=b"sh", cgroup="0::/ci")
    machine.add(9, ppid=1, comm=b"collector", cgroup="0::/ci")
    run = new_run(own_pid=9)
    run.start()
    machine.change(1, waited=40)
    assert _seconds(run.finish(2)) == {"ci": 0.4}


def test_pid_1_with_children_in_its_container_is_part_of_the_job(
    machine: Any, new_run: Callable[..., Run]
) -> None:
    """Its children never seen are its own, however busy another container is."""
    run = _beside(machine, new_run, b"app")
    machine.add(20, ppid=1, cgroup=IN_B)
    run.tick()
    machine.remove(20)
    machine.change(1, waited=40)
    machine.run(5, 100)
    assert _seconds(run.finish(2)) == {NAME_A: 1.0, NAME_B: 0.4, NAME_C: 0.0}


@pytest.mark.parametrize("init", [b"pause", b"tini", b"docker-init", b"systemd", b"unknown"])
def test_a_pid_1_that_does_nothing_else_waits_for_orphans(
    machine: Any, new_run: Callable[..., Run], init: bytes
) -> None:
    """Alone in its container beside others, or known as a holder, it has no work of its own."""
    run = _beside(machine, new_run, init)
    machine.change(1, waited=40)
    run.tick()
    machine.run(1, 1)
    assert _seconds(run.finish(2)) == {NAME_A: 0.4, NAME_B: 0.01, NAME_C: 0.0}


@pytest.mark.parametrize(
    ("argv", "seconds"),
    [
        (("/bin/sh", "/sbin/init"), {NAME_A: 1.0, NAME_B: 0.4, NAME_C: 0.0}),
        (("/sbin/init", "splash"), {NAME_A: 1.4, NAME_B: 0.0, NAME_C: 0.0}),
        (("init [2]",), {NAME_A: 1.4, NAME_B: 0.0, NAME_C: 0.0}),
    ],
)
def test_a_script_named_init_is_no_holder(
    machine: Any, new_run: Callable[..., Run], argv: tuple[str, ...], seconds: dict[str, float]
) -> None:
    """The children of a script are its own; those of an init are orphans of the busy container."""
    machine.add(1, ppid=0, comm=b"init", cgroup=IN_B, argv=argv)
    machine.add(20, ppid=1, cgroup=IN_B)
    machine.add(9, ppid=0, comm=b"collector", cgroup=IN_C)
    machine.add(5, ppid=0, cgroup=IN_A)
    run = new_run(own_pid=9)
    run.start()
    run.tick()
    machine.change(1, waited=40)
    machine.run(5, 100)
    assert _seconds(run.finish(2)) == seconds


def test_an_init_in_the_container_of_the_job_waits_for_orphans_of_others(
    machine: Any, new_run: Callable[..., Run]
) -> None:
    """With ``docker run --init`` pid 1 shares the job's container, and is still a holder."""
    run = _beside(machine, new_run, b"docker-init")
    machine.add(20, ppid=1, comm=b"app", cgroup=IN_B)
    machine.add(21, ppid=1, comm=b"orphan", cgroup=IN_A, own=30)
    run.tick()
    machine.remove(21)
    machine.change(1, waited=40)
    assert _seconds(run.finish(2)) == {NAME_A: 0.4, NAME_B: 0.0, NAME_C: 0.0}


def test_time_that_stays_unassigned_is_that_of_pid_1(
    machine: Any, new_run: Callable[..., Run]
) -> None:
    """Orphans of one of two idle containers: at the end their time is in the payload once."""
    run = _beside(machine, new_run, b"pause")
    machine.add(6, ppid=0, cgroup=f"0::/docker/{'d4' * 32}")
    run.tick()
    machine.change(1, waited=40)
    run.tick()
    assert sum(_seconds(run.payload()).values()) == 0
    assert _seconds(run.finish(2))[NAME_B] == 0.4


def test_around_a_command_pid_1_waits_for_others(machine: Any, new_run: Callable[..., Run]) -> None:
    """The command's orphans are the collector's: what pid 1 waited for is not the command's."""
    machine.add(1, ppid=0, comm=b"sh", cgroup=IN_B)
    machine.add(9, ppid=1, comm=b"collector", cgroup=IN_B)
    run = new_run(own_pid=9)
    run.start()
    run.sampler.follow_command(9, adopts=True)
    machine.add(20, ppid=9, comm=b"make", cgroup=IN_B)
    run.tick()
    machine.run(20, 100)
    machine.change(1, waited=40)
    assert _seconds(run.finish(2)) == {"command": 1.0, NAME_B: 0.4}


@pytest.mark.parametrize(("init", "name"), [(b"app", NAME_B), (b"pause", "/")])
def test_a_zombie_of_pid_1_without_a_place(
    machine: Any, new_run: Callable[..., Run], init: bytes, name: str
) -> None:
    """In v1 an exiting process reads /: a child of an app is in the app's container."""
    machine.add(1, ppid=0, comm=init, cgroup=f"2:cpuacct:/docker/{B}")
    run = new_run(own_pid=9)
    run.start()
    machine.add(20, ppid=1, state="Z", own=30, cgroup="2:cpuacct:/")
    assert _seconds(run.finish(2))[name] == 0.3


# -- sizes of what changes between two snapshots ------------------------------------------


def _rss(run: Run, container: str = A) -> int | None:
    groups = run.sampler.tick(run.now_ns + 2 * SECOND).groups
    run.now_ns += 2 * SECOND
    found = groups.get(Group(Key(container, "")))
    return None if found is None else found.rss_bytes


def test_sizes_are_of_now(run: Run) -> None:
    """A process that grows, shrinks or becomes a zombie shows in the very next snapshot."""
    assert _rss(run) == 10 * 4096
    for pages in (30, 30, 20):
        run.machine.change(5, resident=pages)
        assert _rss(run) == pages * 4096
    run.machine.add(6, cgroup=IN_A, resident=7)
    assert _rss(run) == 27 * 4096
    run.machine.change(6, state="Z")
    assert _rss(run) == 20 * 4096
    run.machine.remove(5)
    assert _rss(run) is None


def test_the_size_moves_with_the_process(run: Run) -> None:
    """A process moved to another container takes its memory along."""
    assert _rss(run) == 10 * 4096
    run.machine.change(5, cgroup=IN_B)
    assert _rss(run) is None
    assert _rss(run, B) == 10 * 4096


def test_the_size_goes_on_under_the_mapped_name(new_run: Callable[..., Run], machine: Any) -> None:
    """What the process map identifies in the middle of the run is sized under that name."""
    machine.add(5, cgroup=IN_A, resident=10)
    run = new_run(process_map={"postgres": "db"})
    run.start()
    assert _rss(run) == 10 * 4096
    machine.change(5, comm=b"postgres")
    run.tick()
    payload = run.finish()
    assert [c["name"] for c in payload["containers"]] == ["db"]
    assert _container(payload, "db")["memory_bytes"]["p50"] == 10 * 4096
    assert _container(payload, "db")["sample_count"] == 3


def test_a_process_that_never_ran_has_a_share_of_zero(run: Run) -> None:
    """A process that used no CPU time has 0, not an absent value."""
    run.tick()
    [entry] = run.finish()["top_mem_processes"]
    assert entry["peak_cpu_percent"] == 0
