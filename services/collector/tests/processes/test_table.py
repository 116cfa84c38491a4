"""The table of processes, read from a folder laid out like /proc."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from runmeter.collector.model import COMMAND_GROUP, Group, Key
from runmeter.collector.processes.containers import Containers
from runmeter.collector.processes.newest_pid import Look, NewestPid, run_task
from runmeter.collector.processes.table import ProcessTable
from runmeter.collector.sampling.sampler import as_vanished

TICK_NS = 10_000_000
A = "a1" * 32
DOCKER = f"0::/docker/{A}"
V1 = "5:cpu,cpuacct:{0}\n4:memory:{0}\n1:name=systemd:{0}\n0::{1}"


@pytest.fixture
def new_table(machine: Any) -> Callable[..., ProcessTable]:
    """Return the maker of tables of the fake machine, with a process map."""

    def make(process_map: dict[str, str] | None = None) -> ProcessTable:
        return ProcessTable(machine.proc, Containers(process_map or {}, lambda pid: None))

    return make


@pytest.fixture
def table(new_table: Callable[..., ProcessTable]) -> ProcessTable:
    """Return a table of the fake machine."""
    return new_table()


def test_the_first_scan_counts_nothing(machine: Any, table: ProcessTable) -> None:
    """What processes used before the run is not part of it."""
    machine.add(5, own=500, waited=300)
    assert table.scan()[:2] == ({}, {})
    machine.change(5, own=503, waited=301)
    scan = table.scan()
    assert scan.own_ns == {table.processes[5].group: 3 * TICK_NS}
    assert scan.waited_ns == {5: TICK_NS}
    assert table.processes[5].cpu_ns == 3 * TICK_NS


def test_a_new_process_counts_from_zero(machine: Any, table: ProcessTable) -> None:
    """All that a process used since it started falls into the scan that finds it."""
    table.scan()
    machine.add(5, own=4, waited=2)
    scan = table.scan()
    assert (list(scan.own_ns.values()), scan.waited_ns) == ([4 * TICK_NS], {5: 2 * TICK_NS})


def test_sizes_are_those_of_statm(machine: Any, table: ProcessTable) -> None:
    """RSS is resident, its anonymous part resident less shared, in pages of the mount."""
    machine.add(5, resident=10, shared=4)
    table.scan()
    process = table.processes[5]
    assert (process.rss_bytes, process.anon_bytes) == (10 * 4096, 6 * 4096)
    machine.change(5, resident=3, shared=4)
    table.scan()
    assert (process.rss_bytes, process.anon_bytes) == (3 * 4096, 0)
    assert process.peak_rss_bytes == 10 * 4096


def test_a_reused_pid_is_another_process(machine: Any, table: ProcessTable) -> None:
    """With another start time the old process has vanished and the new one counts from zero."""
    machine.add(5, start=1000, own=50, comm=b"old")
    table.scan()
    machine.add(5, start=2000, own=7, comm=b"new")
    scan = table.scan()
    assert [p.comm for p in scan.vanished] == ["old"]
    assert table.processes[5].comm == "new"
    assert sum(scan.own_ns.values()) == 7 * TICK_NS


def test_vanished_processes_carry_what_was_credited(machine: Any, table: ProcessTable) -> None:
    """A process that has ended is reported once, with own and waited-for time."""
    table.scan()
    machine.add(5, ppid=3, own=4, waited=2)
    table.scan()
    machine.remove(5)
    [gone] = table.scan().vanished
    assert as_vanished(gone)[:2] == (5, 3)
    assert as_vanished(gone).used_ns == 6 * TICK_NS
    assert table.scan().vanished == []


@pytest.mark.parametrize("missing", ["stat", "statm"])
def test_a_process_may_vanish_at_any_file(machine: Any, table: ProcessTable, missing: str) -> None:
    """A file that is gone when it is read is counted and affects no other process."""
    table.scan()
    machine.add(5, own=1, resident=1)
    machine.add(6, own=2, resident=2)
    (machine.folder / "5" / missing).unlink()
    table.scan()
    assert table.vanished_count == 1
    assert table.denied_count == 0
    assert table.processes[6].rss_bytes == 2 * 4096
    machine.remove(5)
    table.scan()
    assert set(table.processes) == {6}


@pytest.mark.parametrize("content", ["", "5 (x", "5 (x) S 1 2 3\n"])
def test_a_malformed_file_costs_one_reading(
    machine: Any, table: ProcessTable, content: str
) -> None:
    """A process whose stat is not what the kernel writes stays; it is read as soon as it can be."""
    machine.add(5, own=500)
    table.scan()
    machine.write("5/stat", content)
    assert table.scan() == ({}, {}, [])
    assert (table.unreadable, table.vanished_count) == ({"/proc/<pid>/stat": 1}, 0)
    machine.change(5, own=510)
    assert sum(table.scan().own_ns.values()) == 10 * TICK_NS


def test_a_malformed_memory_is_counted(machine: Any, table: ProcessTable) -> None:
    """A process without a readable statm is measured without memory."""
    machine.add(5, own=1, resident=7)
    machine.write("5/statm", "1 -2 3 4 5 6 7\n")
    table.scan()
    assert table.unreadable == {"/proc/<pid>/statm": 1}
    assert table.processes[5].peak_rss_bytes is None


@pytest.mark.parametrize("waited", [-1, -(2**63), 2**63])
def test_a_time_of_children_that_cannot_be_costs_only_itself(
    machine: Any, table: ProcessTable, waited: int
) -> None:
    """The process stays and its own time counts; what its children used is said to be unknown."""
    machine.add(5, own=1, waited=waited)
    table.scan()
    machine.change(5, own=4)
    scan = table.scan()
    assert (sum(scan.own_ns.values()), scan.waited_ns) == (3 * TICK_NS, {})
    assert table.without_children == {5}
    assert table.unreadable == {"/proc/<pid>/stat: cutime, cstime": 2}
    machine.change(5, waited=0)
    table.scan()
    assert table.without_children == set()


def test_own_time_that_cannot_be_is_not_needed_where_there_is_a_clock(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """With clocks utime and stime are not used; without them the time is said to be unknown."""
    clocks.add(5, 1000, own=-1)
    clocked.scan()
    clocks.ns[5] = 1300
    assert list(clocked.scan().own_ns.values()) == [300]
    assert not clocked.unreadable


@pytest.mark.parametrize("is_refused", [False, True])
def test_without_a_cgroup_a_process_is_measured(
    machine: Any, table: ProcessTable, is_refused: bool
) -> None:
    """Its key is that of its parent, else the root; the file is counted as not readable."""
    machine.add(5, cgroup=DOCKER)
    table.scan()
    for pid, ppid in ((6, 5), (7, 1)):
        machine.add(pid, ppid=ppid, own=1)
        (machine.folder / str(pid) / "cgroup").unlink()
        if is_refused:
            (machine.folder / str(pid) / "cgroup").mkdir()
    scan = table.scan()
    assert scan.own_ns == {Group(key=Key(A, "")): TICK_NS, Group(key=Key("", "/")): TICK_NS}
    assert (table.unreadable, table.vanished_count) == ({"/proc/<pid>/cgroup": 2}, 0)


def _add_thread(machine: Any, pid: int, tid: int, resident: int, cgroup: str) -> None:
    folder = f"{pid}/task/{tid}"
    (machine.folder / folder).mkdir(parents=True)
    machine.write(f"{folder}/statm", f"9 {resident} 0 0 0 0 0\n")
    machine.write(f"{folder}/cgroup", cgroup + "\n")


@pytest.mark.parametrize("is_new", [False, True])
def test_a_process_whose_main_thread_has_ended(
    machine: Any, table: ProcessTable, is_new: bool
) -> None:
    """Memory and cgroup are those of a thread that runs on, until none does."""
    container = V1.format(f"/docker/{A}", "/")
    machine.add(5, cgroup=container, resident=9)
    if not is_new:
        table.scan()
    machine.change(5, state="Z", threads=2, resident=0, cgroup=V1.format("/", "/"))
    _add_thread(machine, 5, 5, 0, V1.format("/", "/"))
    _add_thread(machine, 5, 6, 9, container)
    table.scan()
    process = table.processes[5]
    assert (process.rss_bytes, process.is_zombie, process.key) == (9 * 4096, False, Key(A, ""))
    (machine.folder / "5/task/6/statm").write_text("9 12 0 0 0 0 0\n")
    table.scan()
    assert process.rss_bytes == 12 * 4096
    machine.write("5/task/6/statm", "0 0 0 0 0 0 0\n")  # it is ending, too
    table.scan()
    assert (process.rss_bytes, process.is_zombie, process.key) == (0, True, Key(A, ""))


def test_a_refused_read_is_counted_and_the_process_stays(machine: Any, table: ProcessTable) -> None:
    """A known process that cannot be read once does not count as new afterwards."""
    machine.add(5, own=500)
    machine.add(6)
    table.scan()
    (machine.folder / "5" / "stat").unlink()
    (machine.folder / "5" / "stat").mkdir()  # reading it fails, and not for want of the process
    scan = table.scan()
    assert (table.denied_count, table.vanished_count, scan.vanished) == (1, 0, [])
    (machine.folder / "5" / "stat").rmdir()
    machine.change(5, own=510)
    assert sum(table.scan().own_ns.values()) == 10 * TICK_NS


def test_a_zombie_has_time_and_no_memory(machine: Any, table: ProcessTable) -> None:
    """Until it is waited for a zombie is there; its memory is gone."""
    machine.add(5, resident=9)
    table.scan()
    machine.change(5, state="Z", own=3)
    scan = table.scan()
    process = table.processes[5]
    assert process.is_zombie
    assert (process.rss_bytes, process.anon_bytes) == (0, 0)
    assert process.peak_rss_bytes == 9 * 4096
    assert sum(scan.own_ns.values()) == 3 * TICK_NS


def test_the_last_words_of_a_v1_process_do_not_move_it(machine: Any, table: ProcessTable) -> None:
    """An exiting process reads / in v1, and beside it the runtime's service in v2: it stays."""
    service = "/system.slice/containerd.service"
    machine.add(2, cgroup=V1.format(f"/docker/{A}", service))
    machine.add(5, ppid=2, cgroup=V1.format(f"/docker/{A}", service))
    table.scan()
    machine.change(5, state="Z", cgroup=V1.format("/", service))
    table.scan()
    assert table.processes[5].key == Key(A, "")
    machine.change(5, state="R", cgroup=V1.format("/", "/"))
    table.scan()
    assert table.processes[5].key == Key(A, "")


@pytest.mark.parametrize("v2", ["/", "/system.slice/containerd.service"])
def test_a_new_zombie_without_a_place_is_where_its_parent_is(
    machine: Any, table: ProcessTable, v2: str
) -> None:
    """A process first seen as it exits reads / in v1: it counts to its parent's container."""
    machine.add(2, cgroup=V1.format(f"/docker/{A}", v2))
    table.scan()
    machine.add(5, ppid=2, own=3, state="Z", cgroup=V1.format("/", v2))
    assert table.scan().own_ns == {Group(Key(A, "")): 3 * TICK_NS}


def test_the_place_of_a_living_process_is_its_own(machine: Any, table: ProcessTable) -> None:
    """A process in another cgroup than its parent counts to its own cgroup."""
    machine.add(2, cgroup=DOCKER)
    machine.add(5, ppid=2, cgroup="0::/system.slice/cron.service")
    machine.add(6, ppid=2, state="Z", cgroup=f"0::/docker/{'c3' * 32}")
    table.scan()
    assert table.processes[5].key == Key("", "/system.slice/cron.service")
    assert table.processes[6].key == Key("c3" * 32, "")


def test_an_orphan_without_a_place_is_not_where_pid_1_is(machine: Any, table: ProcessTable) -> None:
    """A new process of pid 1 that reads / is not of the container of pid 1: it was adopted."""
    machine.add(1, ppid=0, cgroup=DOCKER)
    machine.add(5, ppid=1, cgroup="0::/")
    table.scan()
    assert table.processes[5].key == Key("", "/")


def test_a_young_process_may_be_moved(machine: Any, table: ProcessTable) -> None:
    """A runtime starts a process and moves it into its container a moment later."""
    machine.add(5, cgroup="0::/system.slice/runtime.service")
    table.scan()
    machine.change(5, cgroup=DOCKER, own=4)
    assert table.scan().own_ns == {Group(Key(A, "")): 4 * TICK_NS}


def test_an_old_process_is_looked_at_now_and_then(machine: Any, table: ProcessTable) -> None:
    """A process moved late is found in its new cgroup in the end."""
    machine.add(5, cgroup="0::/a")
    for _ in range(10):
        table.scan()
    machine.change(5, cgroup="0::/b")
    table.scan()
    assert table.processes[5].key == Key("", "/a")
    for _ in range(128):
        table.scan()
    assert table.processes[5].key == Key("", "/b")


def test_a_cgroup_that_cannot_be_read_again_changes_nothing(
    machine: Any, table: ProcessTable
) -> None:
    """A known process stays where it was if its cgroup is gone."""
    machine.add(5, cgroup=DOCKER)
    table.scan()
    (machine.folder / "5" / "cgroup").unlink()
    table.scan()
    assert table.processes[5].key == Key(A, "")


def test_exec_is_learned_again(machine: Any, new_table: Callable[..., ProcessTable]) -> None:
    """A process that becomes another program is looked up in the process map again."""
    table = new_table({"node": "runner"})
    machine.add(5, comm=b"sh", argv=("/bin/sh",), cgroup=DOCKER)
    for _ in range(5):
        table.scan()
    assert table.processes[5].group == Group(Key(A, ""))
    machine.change(5, comm=b"MainThread", argv=("/usr/bin/node", "--secret=x"))
    table.scan()
    assert table.processes[5].comm == "MainThread"
    assert table.processes[5].group == Group(mapped_name="runner")


def test_all_processes_of_an_identified_cgroup_belong_to_the_container(
    machine: Any, new_table: Callable[..., ProcessTable]
) -> None:
    """One process with a mapped name identifies the cgroup for all of its processes."""
    table = new_table({"node": "runner"})
    machine.add(4, comm=b"sh", cgroup=DOCKER)
    machine.add(5, comm=b"node", cgroup=DOCKER)
    machine.add(6, comm=b"node", cgroup="0::/user.slice")
    table.scan()
    table.scan()
    assert {p.group for p in table.processes.values()} == {Group(mapped_name="runner")}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b") R 1 (", ") R 1 ("),
        (b"a\nb\\n) S 2", "a\\x0ab\\n) S 2"),
        (b"\xff\xfe\x01\xc3(", "\\xff\\xfe\\x01\\xc3("),
        (b"  x  ", "  x  "),
        (b"", ""),
    ],
)
def test_hostile_names_are_only_names(
    machine: Any, table: ProcessTable, raw: bytes, shown: str
) -> None:
    """A name may hold anything: it is shown escaped and shifts no other field."""
    table.scan()
    machine.add(5, ppid=3, comm=raw, own=2)
    assert sum(table.scan().own_ns.values()) == 2 * TICK_NS
    assert (table.processes[5].comm, table.processes[5].ppid) == (shown, 3)


def test_the_command_is_what_the_collector_starts_and_all_below(
    machine: Any, table: ProcessTable
) -> None:
    """New children of the collector and their descendants are the command, others are not."""
    machine.add(10, cgroup=DOCKER)  # the collector
    machine.add(11, ppid=10, cgroup=DOCKER)  # a child it had before
    table.scan()
    table.command_parent_pid = 10
    machine.add(20, ppid=10, cgroup=DOCKER)
    machine.add(21, ppid=20, cgroup="0::/moved/elsewhere")
    machine.add(22, ppid=21, cgroup=DOCKER)
    machine.add(30, ppid=1, cgroup=DOCKER)
    for _ in range(3):
        table.scan()
        assert {p.pid for p in table.processes.values() if p.group == COMMAND_GROUP} == {20, 21, 22}


def test_the_command_keeps_its_orphans(machine: Any, table: ProcessTable) -> None:
    """A process of the command stays so after its parent has ended and pid 1 adopted it."""
    machine.add(10)
    table.scan()
    table.command_parent_pid = 10
    machine.add(20, ppid=10)
    machine.add(21, ppid=20)
    table.scan()
    machine.remove(20)
    machine.change(21, ppid=1, own=5)
    assert table.scan().own_ns == {COMMAND_GROUP: 5 * TICK_NS}


def test_the_command_keeps_its_children_when_pids_start_anew(
    machine: Any, table: ProcessTable
) -> None:
    """A child whose pid is lower than its parent's, as after a wrap, is of the command, too."""
    machine.add(30000)
    table.scan()
    table.command_parent_pid = 30000
    machine.add(32000, ppid=30000)
    table.scan()
    machine.add(400, ppid=32000)
    table.scan()
    assert table.processes[400].group == COMMAND_GROUP
    machine.add(500, ppid=32500)  # parent and child are both new
    machine.add(32500, ppid=32000)
    table.scan()
    table.scan()
    assert table.processes[500].group == COMMAND_GROUP


def test_an_empty_mount_is_an_empty_table(machine: Any, table: ProcessTable) -> None:
    """Names that are no pids are not read."""
    (machine.folder / "self").mkdir()
    (machine.folder / "²").mkdir()
    assert table.scan() == ({}, {}, [])
    assert table.processes == {}


# -- by the CPU clocks of processes -------------------------------------------------------


class Clocks:
    """CPU clocks of the fake machine's processes, in nanoseconds by pid."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.ns: dict[int, int] = {}
        self.read_count = 0
        self.last_pid(1)

    def __call__(self, clock_id: int) -> int:
        """Read a clock by its id. Raises OSError if there is none."""
        self.read_count += 1
        pid = ~(clock_id >> 3)
        if pid not in self.ns:
            raise OSError(errno.EINVAL, "no such process")
        return self.ns[pid]

    def add(self, pid: int, ns: int = 0, **fields: Any) -> None:
        """Start a process, and set the last pid in loadavg."""
        self.ns[pid] = ns
        self.machine.add(pid, **fields)
        self.last_pid(pid)

    def last_pid(self, pid: int) -> None:
        """Set the pid that was given away last."""
        self._last_pid = pid
        self.machine.write("loadavg", f"0.50 0.40 0.30 2/90 {pid}\n")

    def run_task(self, look: Look) -> tuple[int, int | None]:
        """Start and end a thread of the collector, whose pid is the next one."""
        self.last_pid(self._last_pid + 1)
        return self._last_pid, look()

    def poison(self, pid: int, *names: str) -> None:
        """Make files unreadable: opening them is refused."""
        for name in names:
            path = self.machine.folder / str(pid) / name
            path.unlink()
            path.mkdir()


@pytest.fixture
def clocks(machine: Any) -> Clocks:
    """Return the clocks of the fake machine."""
    return Clocks(machine)


@pytest.fixture
def clocked(machine: Any, clocks: Clocks) -> ProcessTable:
    """Return a table that reads clocks."""
    return ProcessTable(machine.proc, Containers({}, lambda pid: None), clocks, clocks.run_task)


def test_of_an_idle_process_only_the_clock_is_read(clocks: Clocks, clocked: ProcessTable) -> None:
    """Nothing else of a process is opened while its clock does not change."""
    clocks.add(16, 5, resident=7)
    clocked.scan()
    clocks.poison(16, "stat", "statm", "cgroup", "cmdline", "status", "mountinfo")
    before = clocks.read_count
    for _ in range(14):  # its memory's turn has not come
        assert clocked.scan() == ({}, {}, [])
    assert clocks.read_count == before + 14
    assert (clocked.denied_count, clocked.vanished_count) == (0, 0)
    assert clocked.processes[16].rss_bytes == 7 * 4096


def test_the_clock_says_what_was_used(machine: Any, clocks: Clocks, clocked: ProcessTable) -> None:
    """Own time comes from the clock, to the nanosecond; children's time from stat."""
    clocks.add(5, 1000)
    clocked.scan()
    clocks.ns[5] += 123
    machine.change(5, own=7, waited=2)
    scan = clocked.scan()
    assert list(scan.own_ns.values()) == [123]
    assert scan.waited_ns == {5: 2 * TICK_NS}


def test_the_first_scan_by_clock_counts_nothing(clocks: Clocks, clocked: ProcessTable) -> None:
    """What a clock said before the run is not part of it; of a later process all is."""
    clocks.add(5, 10**12, waited=4)
    assert clocked.scan() == ({}, {}, [])
    clocks.add(6, 777)
    assert list(clocked.scan().own_ns.values()) == [777]


def test_memory_of_idle_processes_is_refreshed_by_turns(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """In 16 scans the memory of each idle process is read once, each scan that of some."""
    for pid in range(100, 132):
        clocks.add(pid, 1, resident=1)
    clocked.scan()
    for pid in range(100, 132):
        machine.change(pid, resident=2)
    fresh = [0]
    for _ in range(16):
        clocked.scan()
        fresh.append(sum(p.rss_bytes == 2 * 4096 for p in clocked.processes.values()))
    assert [after - before for before, after in itertools.pairwise(fresh)] == [2] * 16


def test_nothing_is_listed_while_nothing_was_born(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """The mount is listed only if the last pid has changed."""
    clocks.add(5)
    clocked.scan()
    machine.add(6, own=1)
    clocks.ns[6] = 50
    for _ in range(3):
        clocked.scan()
    assert set(clocked.processes) == {5}
    clocks.last_pid(6)
    assert list(clocked.scan().own_ns.values()) == [50]
    assert set(clocked.processes) == {5, 6}


def _find_unannounced(machine: Any, clocks: Clocks, table: ProcessTable) -> bool:
    """Return whether a process is found in the next scan, though loadavg does not change."""
    machine.add(900, own=1)
    clocks.ns[900] = 50
    table.scan()
    return 900 in table.processes


def _constant(clocks: Clocks, count: int) -> None:
    clocks.last_pid(0)


def _late(clocks: Clocks, count: int) -> None:
    clocks.last_pid(50 if count < 2 else 90 + count // 3 * 3)


def _once(clocks: Clocks, count: int) -> None:
    clocks.last_pid(100 + min(count, 1))


@pytest.mark.parametrize("shown", [_constant, _late, _once])
def test_a_last_pid_that_own_threads_do_not_move_is_not_believed(
    machine: Any, clocks: Clocks, shown: Callable[[Clocks, int], None]
) -> None:
    """A constant, a copy that is renewed now and then, one chance hit: every scan lists."""
    threads = itertools.count(1)

    def run_task(look: Look) -> tuple[int, int | None]:
        number = next(threads)
        shown(clocks, number)
        return 100 + number, look()

    clocks.add(5)
    clocks.last_pid(0)
    table = ProcessTable(machine.proc, Containers({}, lambda pid: None), clocks, run_task)
    table.scan()
    assert _find_unannounced(machine, clocks, table)


def test_without_the_right_to_start_threads_every_scan_lists(machine: Any, clocks: Clocks) -> None:
    """The last pid cannot be tested without threads, so it is not used."""

    def run_task(look: Look) -> tuple[int, int | None]:
        raise RuntimeError("can't start new thread")

    clocks.add(5)
    table = ProcessTable(machine.proc, Containers({}, lambda pid: None), clocks, run_task)
    table.scan()
    assert _find_unannounced(machine, clocks, table)


def test_other_processes_may_start_while_the_last_pid_is_proven(
    machine: Any, clocks: Clocks
) -> None:
    """On a busy machine another pid may be the last: two own threads of eight are enough."""
    threads = itertools.count(1)

    def run_task(look: Look) -> tuple[int, int | None]:
        number = next(threads)
        clocks.last_pid(10 * number + (number % 4 != 0))
        return 10 * number, look()

    clocks.add(5)
    table = ProcessTable(machine.proc, Containers({}, lambda pid: None), clocks, run_task)
    table.scan()
    assert not _find_unannounced(machine, clocks, table)


def test_a_last_pid_that_stops_moving_is_not_believed_any_more(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """A later child of the collector has to move it, too."""
    clocks.add(5)
    clocked.scan()
    clocked.add_own(6)
    clocks.add(6)
    clocked.scan()
    machine.add(7)
    clocks.ns[7] = 50
    clocked.scan()
    assert 7 not in clocked.processes  # believed: it did not move
    clocked.add_own(8)
    machine.add(8)
    clocks.ns[8] = 50
    clocked.scan()
    assert {7, 8} <= set(clocked.processes)
    assert _find_unannounced(machine, clocks, clocked)


def test_the_last_pid_of_this_kernel_is_proven() -> None:
    """Here loadavg shows each thread that is started."""
    newest = NewestPid("/proc", run_task)
    for _ in range(20):  # other processes may start meanwhile
        newest.prove()
        if newest.read() is not None:
            break
    assert newest.read() is not None


def test_who_got_a_pid_before_it_could_be_seen_is_found(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """The kernel gives a pid away before it shows the process: it is found within 16 scans."""
    clocks.add(5)
    clocks.last_pid(6)
    clocked.scan()
    machine.add(6)
    clocks.ns[6] = 50
    assert [sum(clocked.scan().own_ns.values()) for _ in range(16)].count(50) == 1
    assert set(clocked.processes) == {5, 6}


def test_somebody_vanishing_makes_the_table_look(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """After a process has ended the mount is listed, even if the last pid is the same."""
    clocks.add(5)
    clocks.add(7)
    clocked.scan()
    machine.remove(5)
    del clocks.ns[5]
    machine.add(6)
    clocks.ns[6] = 50
    scan = clocked.scan()
    assert [p.pid for p in scan.vanished] == [5]
    assert list(scan.own_ns.values()) == [50]


def test_without_a_last_pid_every_scan_lists(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """Where loadavg cannot be read nothing is missed."""
    clocks.add(5)
    (machine.folder / "loadavg").unlink()
    clocked.scan()
    machine.add(6)
    clocks.ns[6] = 50
    assert list(clocked.scan().own_ns.values()) == [50]


def test_a_pid_used_again_between_two_scans_is_another_process(
    clocks: Clocks, clocked: ProcessTable
) -> None:
    """A clock that went back, or on, under another start time is a new process from zero."""
    for pid in (5, 6):
        clocks.add(pid, 1000, start=1)
    clocked.scan()
    clocks.add(5, 400, start=2, comm=b"new")
    clocks.add(6, 4000, start=2, comm=b"new")
    scan = clocked.scan()
    assert sorted(p.pid for p in scan.vanished) == [5, 6]
    assert sum(scan.own_ns.values()) == 4400
    assert {p.comm for p in clocked.processes.values()} == {"new"}


def test_a_clock_that_goes_back_counts_nothing(clocks: Clocks, clocked: ProcessTable) -> None:
    """The same process with a lower clock is not credited a negative time."""
    clocks.add(5, 1000)
    clocked.scan()
    clocks.ns[5] = 900
    assert clocked.scan() == ({}, {}, [])
    clocks.ns[5] = 1100
    assert sum(clocked.scan().own_ns.values()) == 100


def test_a_process_may_vanish_after_its_clock_was_read(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """A known and a new process may end between clock and stat: counted, others unaffected."""
    clocks.add(4, 10)
    clocks.add(5, 10)
    clocked.scan()
    clocks.ns[5] = clocks.ns[4] = 20
    machine.remove(5)  # its clock still answers
    clocks.add(6, 30)
    (machine.folder / "6" / "stat").unlink()
    scan = clocked.scan()
    assert [p.pid for p in scan.vanished] == [5]
    assert as_vanished(scan.vanished[0]).used_ns == 10
    assert clocked.vanished_count == 2
    assert sum(scan.own_ns.values()) == 10
    assert set(clocked.processes) == {4}


def test_a_new_process_whose_clock_is_gone_has_vanished(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """A process that is listed and has no clock any more is counted as vanished."""
    clocks.add(4)
    machine.add(5)
    clocked.scan()
    assert (set(clocked.processes), clocked.vanished_count) == ({4}, 1)


def test_a_refused_read_by_clock_leaves_the_process_in_the_table(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """After a refused read the process counts on from its last reading, not from zero."""
    clocks.add(5, 5000)
    clocked.scan()
    clocks.poison(5, "stat")
    clocks.ns[5] = 5100
    assert clocked.scan() == ({}, {}, [])
    assert (clocked.denied_count, set(clocked.processes)) == (1, {5})
    (machine.folder / "5" / "stat").rmdir()
    machine.change(5, own=1)
    assert sum(clocked.scan().own_ns.values()) == 100


def test_a_new_process_that_is_refused_is_looked_for_again(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """A process that could not be entered is tried again, even if no other was started."""
    clocks.add(4)
    clocked.scan()
    clocks.add(5, 70)
    clocks.poison(5, "stat")
    clocked.scan()
    assert clocked.denied_count == 1
    (machine.folder / "5" / "stat").rmdir()
    machine.change(5, own=1)
    assert sum(clocked.scan().own_ns.values()) == 70


@pytest.mark.parametrize("order", list(itertools.permutations((400, 20, 31000))))
def test_who_is_of_the_command_does_not_depend_on_pids(
    clocks: Clocks, clocked: ProcessTable, order: tuple[int, ...]
) -> None:
    """Child, grandchild and great-grandchild seen at once are of the command in any pid order."""
    clocks.add(30000)
    clocks.add(30001)
    clocked.scan()
    clocked.command_parent_pid = 30000
    for pid, ppid in zip(order, (30000, *order[:2]), strict=True):
        clocks.add(pid, 10, ppid=ppid)
    clocks.add(500, 1, ppid=30001)
    scan = clocked.scan()
    assert scan.own_ns[COMMAND_GROUP] == 30
    assert {p.pid for p in clocked.processes.values() if p.group.is_command} == set(order)


def test_a_sleeper_moved_from_outside_is_found(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """A process that is moved while it does not run is found in its new cgroup in the end."""
    clocks.add(5, 10, cgroup="0::/a")
    clocked.scan()
    machine.change(5, cgroup=DOCKER)
    for _ in range(128):
        clocked.scan()
    assert clocked.processes[5].group == Group(Key(A, ""))


def test_a_sleeper_is_known_by_its_new_parent(
    machine: Any, clocks: Clocks, clocked: ProcessTable
) -> None:
    """When a parent ends the table learns who adopted its children, though they sleep."""
    clocks.add(4, 10)
    clocks.add(5, 10, ppid=4)
    clocked.scan()
    clocks.ns[4] += 1
    machine.change(4, state="Z")
    machine.change(5, ppid=1)
    clocked.scan()
    assert clocked.processes[5].ppid == 1
