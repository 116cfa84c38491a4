"""Exact figures of containers, with real cgroups, processes and clocks of this machine."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest

from runmeter.collector.cgroups.discovery import hierarchies
from runmeter.collector.cgroups.usage import CgroupUsage
from runmeter.collector.model import COMMAND_GROUP, CgroupFigures, Group, GroupSample
from runmeter.collector.processes.clock import read_process_clock
from runmeter.collector.processes.containers import Containers, container_key
from runmeter.collector.sampling.sampler import Sampler
from runmeter.collector.summary.summary import Summary
from runmeter.procfs import ProcFS

ROOT = "/sys/fs/cgroup"
MEBIBYTE = 2**20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
TICK_NS = 10**9 // TICKS_PER_SECOND
KEEP_BELOW = 900  # enough for all containers of this machine, those of other tests among them
PROC = ProcFS("/proc", os.sysconf("SC_PAGE_SIZE"), TICKS_PER_SECOND)


class Measured:
    """A sampler of this machine, its snapshots taken when the test says so."""

    def __init__(self, root: str, process_map: dict[str, str]) -> None:
        self.containers = Containers(process_map, lambda pid: None)
        self.exact = CgroupUsage(PROC, hierarchies(root), TICK_NS, os.cpu_count() or 1, KEEP_BELOW)
        self.summary = Summary(10**9, 10, lambda group: True)
        self.sampler = Sampler(
            PROC,
            self.containers,
            self.summary,
            own_pid=os.getpid(),
            clock=read_process_clock,
            cgroups=self.exact,
        )

    def start(self) -> None:
        """Take the first snapshot."""
        self.sampler.start(monotonic_ns())

    def tick(self) -> dict[Group, GroupSample]:
        """Take a snapshot; nothing of it may be negative."""
        groups = self.sampler.tick(monotonic_ns()).groups
        assert all(found.cpu_ns >= 0 for found in groups.values())
        return groups

    def finish(self, group: Group) -> dict[str, Any]:
        """End the run; return what is reported of a group."""
        self.sampler.finish(monotonic_ns())
        names = self.containers.names(self.summary.groups)
        containers = self.summary.payload(names, lambda group: None)["containers"]
        [found] = [found for found in containers if found["name"] == names[group]]
        return dict(found)


@pytest.fixture
def new_measured(detach_streams: None) -> Callable[..., Measured]:
    """Return the maker of measurements."""

    def make(root: str | Path = ROOT, process_map: dict[str, str] | None = None) -> Measured:
        return Measured(str(root), process_map or {})

    return make


@pytest.fixture
def measured(new_measured: Callable[..., Measured]) -> Measured:
    """Return a measurement with our own view of cgroups."""
    return new_measured()


def _group(worker: Any) -> Group:
    return Group(container_key(PROC.proc_cgroup(worker.pid)))


def _figures(sample: GroupSample) -> CgroupFigures:
    assert sample.figures is not None
    return sample.figures


def test_intervals_are_what_the_counter_grew_by(cgroups: Any, measured: Measured) -> None:
    """CPU time of an interval is between two pairs of readings around its ends."""
    container = cgroups.container()
    worker = cgroups.start(container)
    group = _group(worker)
    worker.tell("burn", 0.03)  # before the run: not part of it
    a = container.read("cpuacct.usage")
    measured.start()
    b = container.read("cpuacct.usage")
    total = 0
    for _ in range(3):
        worker.tell("burn", 0.02)
        worker.tell("job", 0.02)
        c = container.read("cpuacct.usage")
        total += measured.tick()[group].cpu_ns
    d = container.read("cpuacct.usage")
    assert c - b <= total <= d - a
    found = measured.finish(group)
    assert found["cpu_source"] == "cgroup"
    assert found["cpu_seconds"] == pytest.approx((c - b) / 1e9, rel=0.02)
    assert measured.exact.denied_count == 0


def test_sizes_are_the_kernels(cgroups: Any, measured: Measured) -> None:
    """Usage, working set and peak are those of the cgroup; what is freed stays in the peak."""
    container = cgroups.container()
    worker = cgroups.start(container)
    measured.start()
    worker.tell("jobhold", 30 * MEBIBYTE)
    sample = measured.tick()[_group(worker)]
    figures = _figures(sample)
    usage = container.read("memory.usage_in_bytes")
    assert figures.memory_bytes == pytest.approx(usage, abs=MEBIBYTE)
    assert figures.working_set_bytes is not None
    assert figures.working_set_bytes <= figures.memory_bytes
    assert figures.peak_bytes == container.read("memory.max_usage_in_bytes")
    found = measured.finish(_group(worker))
    assert found["memory_peak_bytes"] > 30 * MEBIBYTE > found["memory_cgroup_bytes"]["peak"]
    assert found["memory_working_set_bytes"]["peak"] <= found["memory_cgroup_bytes"]["peak"]


def test_a_real_oom_kill(cgroups: Any, measured: Measured) -> None:
    """A process killed at a limit of 50 MB is one OOM kill, and those before the run are none."""
    container = cgroups.container()
    container.write("memory.limit_in_bytes", 50_000_000)
    worker = cgroups.start(container)
    assert worker.tell("jobhold", 100 * MEBIBYTE) == "9"
    measured.start()
    assert measured.tick()[_group(worker)].figures is not None
    assert worker.tell("jobhold", 100 * MEBIBYTE) == "9"
    assert _figures(measured.tick()[_group(worker)]).oom_kills == 1
    found = measured.finish(_group(worker))
    assert found["oom_kills"] == 1
    assert 40_000_000 < found["memory_peak_bytes"] <= 50_000_000


def test_a_real_limit_of_cpu(cgroups: Any, measured: Measured) -> None:
    """Time a container waited for its quota is throttled time, as the kernel counts it."""
    container = cgroups.container()
    container.write("cpu.cfs_period_us", 20_000)
    container.write("cpu.cfs_quota_us", 4_000)
    worker = cgroups.start(container)
    measured.start()
    before = _throttled_ns(container)
    for _ in range(100):
        worker.tell("burn", 0.05)
        if _throttled_ns(container) - before > 50_000_000:
            break
    found = measured.finish(_group(worker))
    grown = _throttled_ns(container) - before
    assert found["cpu_throttled_seconds"] == pytest.approx(grown / 1e9, rel=0.5)
    assert found["cpu_throttled_seconds"] > 0.05


def _throttled_ns(container: Any) -> int:
    lines = (container.folder("cpu") / "cpu.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines)["throttled_time"])


def test_a_container_that_begins_counts_from_zero(cgroups: Any, measured: Measured) -> None:
    """All that the cgroup of a new container has counted belongs to its first interval."""
    measured.start()
    container = cgroups.container()
    worker = cgroups.start(container)
    worker.tell("burn", 0.05)
    sample = measured.tick()[_group(worker)]
    assert _figures(sample).cpu_ns == sample.cpu_ns
    assert sample.cpu_ns == pytest.approx(container.read("cpuacct.usage"), rel=0.05)


def test_a_cgroup_older_than_the_interval_makes_no_jump(cgroups: Any, measured: Measured) -> None:
    """More than fits into the interval is not of it: the ledger counts that one."""
    container = cgroups.container()
    cgroups.start(container).tell("burn", 0.6)
    for pid in container.pids():
        cgroups.end(pid)
    measured.sampler.start(0)
    worker = cgroups.start(container)
    # the interval is short by the clock of the test, however long this took
    sample = measured.sampler.tick(10**8).groups[_group(worker)]
    assert sample.figures is None
    assert sample.cpu_ns < 300_000_000
    worker.tell("burn", 0.02)
    following = measured.sampler.tick(2 * 10**8).groups[_group(worker)]
    assert following.figures is not None
    assert 20_000_000 <= following.cpu_ns < 300_000_000


def test_a_cgroup_that_is_removed_makes_no_jump(
    cgroups: Any, measured: Measured, is_open: Callable[[str], int]
) -> None:
    """After rmdir nothing more is counted, what was stays, and its descriptors are closed."""
    container = cgroups.container()
    measured.start()
    worker = cgroups.start(container)
    group = _group(worker)
    worker.tell("burn", 0.05)
    first = measured.tick()[group].cpu_ns
    assert is_open(cgroups.top) > 0
    worker.end()
    container.remove()
    later = [measured.tick().get(group) for _ in range(4)]
    assert sum(found.cpu_ns for found in later if found) < 20_000_000
    assert is_open(cgroups.top) == 0
    found = measured.finish(group)
    assert found["cpu_seconds"] >= round(first / 1e9, 6)
    assert found["memory_peak_bytes"] > 0


def test_the_tail_of_a_container_counts(cgroups: Any, measured: Measured) -> None:
    """What its processes used after the last snapshot of their life is in the kernel's counter."""
    container = cgroups.container()
    worker = cgroups.start(container)
    group = _group(worker)
    measured.start()
    before = container.read("cpuacct.usage")
    worker.tell("burn", 0.05)
    worker.tell("job", 0.05)
    worker.end()
    sample = measured.tick()[group]
    assert (sample.rss_bytes, _figures(sample).cpu_ns) == (None, sample.cpu_ns)
    assert sample.cpu_ns == pytest.approx(container.read("cpuacct.usage") - before, rel=0.05)
    assert sample.cpu_ns > 100_000_000
    after = measured.tick().get(group)
    assert after is None or after.cpu_ns == 0


def test_a_container_between_two_snapshots_goes_on_from_its_counter(
    cgroups: Any, measured: Measured
) -> None:
    """A cgroup without processes is still counted, with the processes that have ended in it."""
    container = cgroups.container()
    worker = cgroups.start(container)
    group = _group(worker)
    measured.start()
    worker.end()
    measured.tick()
    short = cgroups.start(container)
    short.tell("burn", 0.05)
    short.end()
    assert measured.tick()[group].cpu_ns >= 50_000_000


def test_cgroups_of_one_mapped_container_sum_up(
    cgroups: Any, new_measured: Callable[..., Measured]
) -> None:
    """Two cgroups that the map gives one name are one container; one may end before the other."""
    name = f"rm-{secrets.token_hex(5)}"
    measured = new_measured(process_map={name: "runner"})
    group = Group(mapped_name="runner")
    both = [cgroups.container() for _ in range(2)]
    workers = [cgroups.start(one, name=name) for one in both]
    a = sum(one.read("cpuacct.usage") for one in both)
    measured.start()
    b = sum(one.read("cpuacct.usage") for one in both)
    for worker in workers:
        worker.tell("burn", 0.03)
        worker.tell("job", 0.03)
    c = sum(one.read("cpuacct.usage") for one in both)
    sample = measured.tick()[group]
    d = sum(one.read("cpuacct.usage") for one in both)
    assert c - b <= sample.cpu_ns <= d - a
    assert _figures(sample).memory_bytes == pytest.approx(
        sum(one.read("memory.usage_in_bytes") for one in both), abs=MEBIBYTE
    )
    workers[0].end()
    both[0].remove()
    measured.tick()
    measured.tick()
    before = both[1].read("cpuacct.usage")
    workers[1].tell("job", 0.03)
    sample = measured.tick()[group]
    assert _figures(sample).cpu_ns == sample.cpu_ns
    grown = both[1].read("cpuacct.usage") - before
    assert sample.cpu_ns == pytest.approx(grown, rel=0.1)
    assert grown > 30_000_000
    assert measured.finish(group)["oom_kills"] == 0


def test_processes_of_inner_cgroups_do_not_hide_the_container(
    cgroups: Any, measured: Measured
) -> None:
    """A container is found by its one process at the node, among many in inner cgroups."""
    container = cgroups.container()
    inner = cgroups.start(cgroups.below(container, "ef" * 32))
    for _ in range(8):
        inner.tell("sleeper")
    worker = cgroups.start(container)
    measured.start()
    inner.tell("burn", 0.03)
    sample = measured.tick()[_group(worker)]
    assert _figures(sample).cpu_ns == sample.cpu_ns
    assert sample.cpu_ns >= 30_000_000
    assert measured.exact.denied_count == 0


def test_a_node_does_not_count_what_its_pods_do(cgroups: Any, measured: Measured) -> None:
    """Containers of pods in a node that is a container: each counts by itself, none twice."""
    node = cgroups.container()
    kubelet = cgroups.start(cgroups.below(node, "kubelet.slice"))
    pods = [
        cgroups.start(
            cgroups.below(node, f"kubepods/burstable/pod{number}/{secrets.token_hex(32)}")
        )
        for number in range(2)
    ]
    measured.start()
    for worker in (kubelet, *pods):
        worker.tell("burn", 0.1)
    groups = measured.tick()
    assert len({_group(worker) for worker in (kubelet, *pods)}) == 3
    for worker in pods:
        assert 100_000_000 <= _figures(groups[_group(worker)]).cpu_ns < 150_000_000
    assert _figures(groups[_group(kubelet)]).cpu_ns is None  # the node's counter has all three
    assert 90_000_000 <= groups[_group(kubelet)].cpu_ns < 150_000_000


def test_the_command_and_its_container_do_not_count_twice(cgroups: Any, measured: Measured) -> None:
    """Counters of a cgroup the wrapped command runs in are not its container's, to the very end."""
    container = cgroups.container()
    parent = cgroups.start(container)
    group = _group(parent)
    measured.start()
    assert _figures(measured.tick()[group]).cpu_ns is not None
    measured.sampler.table.command_parent_pid = parent.pid
    sleeper = int(parent.tell("sleeper"))
    groups = measured.tick()
    assert groups[group].figures is None
    assert COMMAND_GROUP in groups
    parent.tell("job", 0.05)  # of the command, and never seen
    groups = measured.tick()
    assert groups[COMMAND_GROUP].cpu_ns + groups[group].cpu_ns == pytest.approx(5e7, rel=0.3)
    cgroups.end(sleeper)
    parent.tell("job", 0.05)
    groups = measured.tick()
    assert groups[group].figures is None
    assert groups[COMMAND_GROUP].cpu_ns + groups[group].cpu_ns == pytest.approx(5e7, rel=0.3)


# -- cgroups that are made again under the same path ---------------------------------------


KINDS = ("container", "service")


class Restarted:
    """A container, or service, that ends and starts again under the same path."""

    def __init__(self, cgroups: Any, measured: Measured, kind: str) -> None:
        self._cgroups = cgroups
        self._measured = measured
        self.cgroup = cgroups.container() if kind == "container" else cgroups.plain("ci.service")
        self.worker = cgroups.start(self.cgroup)
        self.group = _group(self.worker)
        measured.start()

    def end(self) -> int:
        """End it and remove its cgroup; return the CPU time the kernel has counted for it."""
        self.worker.end()
        used_ns = self.cgroup.read("cpuacct.usage")
        self.cgroup.remove()
        return int(used_ns)

    def begin(self) -> None:
        """Make it again."""
        self.cgroup = self._cgroups.again(self.cgroup)
        self.worker = self._cgroups.start(self.cgroup)

    def tick(self) -> GroupSample | None:
        """Take a snapshot."""
        return self._measured.tick().get(self.group)


@pytest.fixture(params=KINDS)
def restarted(request: pytest.FixtureRequest, cgroups: Any, measured: Measured) -> Restarted:
    """Return a container, or service, that can start again."""
    return Restarted(cgroups, measured, request.param)


@pytest.mark.parametrize("away", [0, 1, 2, 3])
@pytest.mark.parametrize("starts_more", [False, True])
def test_a_cgroup_made_again_counts_once(
    restarted: Restarted, away: int, starts_more: bool
) -> None:
    """Gone for no snapshot or some, it is counted once, from its counter in the next interval."""
    began_ns = restarted.cgroup.read("cpuacct.usage")
    restarted.worker.tell("burn", 0.05)
    total_ns = _cpu_ns(restarted.tick())
    ended_ns = restarted.end() - began_ns
    assert total_ns == pytest.approx(ended_ns, rel=0.2)
    total_ns += sum(_cpu_ns(restarted.tick()) for _ in range(away))
    restarted.begin()
    restarted.worker.tell("burn", 0.05)
    total_ns += _cpu_ns(restarted.tick())
    if starts_more:
        restarted.worker.tell("sleeper")
    before_ns = restarted.cgroup.read("cpuacct.usage")
    restarted.worker.tell("job", 0.05)
    sample = restarted.tick()
    assert sample is not None
    assert _figures(sample).cpu_ns == sample.cpu_ns
    used_ns = restarted.cgroup.read("cpuacct.usage")
    assert sample.cpu_ns == pytest.approx(used_ns - before_ns, rel=0.2)
    assert total_ns + sample.cpu_ns == pytest.approx(ended_ns + used_ns, rel=0.05)
    assert _figures(sample).memory_bytes == pytest.approx(
        restarted.cgroup.read("memory.usage_in_bytes"), abs=MEBIBYTE
    )


def test_a_cgroup_made_again_at_every_snapshot(
    restarted: Restarted, is_open: Callable[[str], int]
) -> None:
    """A service in a loop of restarts is counted once each time, and leaves no descriptor open."""
    total_ns, used_ns = 0, -restarted.cgroup.read("cpuacct.usage")
    for _ in range(4):
        restarted.worker.tell("burn", 0.03)
        total_ns += _cpu_ns(restarted.tick())
        used_ns += restarted.end()
        restarted.begin()
    total_ns += _cpu_ns(restarted.tick())
    used_ns += restarted.cgroup.read("cpuacct.usage")
    assert total_ns == pytest.approx(used_ns, rel=0.1)
    restarted.end()
    restarted.tick()
    restarted.tick()
    assert is_open(restarted.cgroup.path) == 0


def test_what_was_killed_in_a_cgroup_made_again_counts(
    restarted: Restarted, measured: Measured
) -> None:
    """OOM kills of the second cgroup count, also of the interval in which it was made."""
    restarted.tick()
    restarted.end()
    restarted.begin()
    restarted.cgroup.write("memory.limit_in_bytes", 50_000_000)
    assert restarted.worker.tell("jobhold", 100 * MEBIBYTE) == "9"
    restarted.tick()
    assert measured.finish(restarted.group)["oom_kills"] == 1


def _cpu_ns(sample: GroupSample | None) -> int:
    return sample.cpu_ns if sample else 0


# -- counters that are not what they claim ------------------------------------------------


class Counters:
    """A reader of exact figures only, with the use of living processes as an argument."""

    def __init__(self, worker: Any, root: str | Path = ROOT, keep_below: int = KEEP_BELOW) -> None:
        own = hierarchies(str(root))
        self.exact = CgroupUsage(PROC, own, TICK_NS, os.cpu_count() or 1, keep_below)
        table = Measured(str(root), {}).sampler.table
        table.scan()
        self.processes = [table.processes[worker.pid]]
        self.group = _group(worker)

    def figures(self, live_ns: int) -> CgroupFigures | None:
        """Return the figures of an interval in which living processes used so much."""
        self.exact.read()
        self.exact.discover(self.processes, ())
        live = {self.group: live_ns}
        found = self.exact.figures(lambda key: Group(key), live, 10**10, frozenset())
        return found.get(self.group)


def test_counters_below_their_processes_are_dropped(
    cgroups: Any, is_open: Callable[[], int]
) -> None:
    """Counters that hold less than living processes used are closed for good, and counted."""
    worker = cgroups.start(cgroups.container())
    before = is_open()
    counters = Counters(worker)
    counters.figures(0)
    worker.tell("burn", 0.02)
    assert counters.figures(20_000_000 + 3 * TICK_NS) is not None  # within what is tolerated
    assert counters.figures(10**9) is None
    assert counters.exact.denied_count == 1
    assert is_open() == before
    for _ in range(6):
        assert counters.figures(0) is None
    assert counters.exact.denied_count == 1


def test_too_few_descriptors_for_counters(cgroups: Any, is_open: Callable[[], int]) -> None:
    """If too few files may be open, the counters are not used; this is counted once."""
    worker = cgroups.start(cgroups.container())
    before = is_open()
    counters = Counters(worker, keep_below=3)
    for _ in range(3):
        assert counters.figures(0) is None
    assert (counters.exact.crowded_count, counters.exact.denied_count) == (1, 0)
    assert is_open() == before


def test_counters_read_too_early_are_read_again(cgroups: Any) -> None:
    """What processes used between the reading of counters and their own is no lack."""
    worker = cgroups.start(cgroups.container())
    counters = Counters(worker)
    counters.figures(0)
    counters.exact.read()
    worker.tell("burn", 0.2)  # the collector was delayed here
    live = {counters.group: 200_000_000}
    found = counters.exact.figures(lambda key: Group(key), live, 10**10, frozenset())
    assert found[counters.group].cpu_ns is not None
    assert found[counters.group].cpu_ns < 100_000_000
    assert counters.exact.denied_count == 0
    following = counters.figures(0)
    assert following is not None
    assert following.cpu_ns is not None
    assert following.cpu_ns >= 100_000_000  # and it is in the interval that follows


ASK = """
import sys
from runmeter.collector.processes.clock import read_process_clock
from runmeter.collector.processes.containers import Containers
from runmeter.collector.cgroups.discovery import hierarchies
from runmeter.collector.cgroups.usage import CgroupUsage
from runmeter.collector.sampling.sampler import Sampler
from runmeter.collector.summary.summary import Summary
from runmeter.procfs import ProcFS

pid, root = int(sys.argv[1]), sys.argv[2]
proc = ProcFS("/proc", 4096, 100)
exact = CgroupUsage(proc, hierarchies(root), 10**7, 2, 600)
summary = Summary(10**9, 10, lambda group: True)
sampler = Sampler(
    proc, Containers({}, lambda pid: None), summary,
    own_pid=0, clock=read_process_clock, cgroups=exact,
)
sampler.start(0)
for second in range(1, 8):
    sample = sampler.tick(second * 10**9)
group = sampler.table.processes[pid].group
print(exact.denied_count, sample.groups[group].figures, sampler.table.denied_count)
"""


def test_without_privilege_the_ledger_counts(
    cgroups: Any, sidecar_root: Path, tmp_path: Path
) -> None:
    """A container that cannot be read without privilege is counted once."""
    container = cgroups.container()
    worker = cgroups.start(container)
    for _ in range(6):  # more processes than are asked
        worker.tell("sleeper")
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    argv = [sys.executable, "-c", ASK, str(worker.pid), str(sidecar_root)]
    outcomes = {}
    for user, wrapper in {
        "root": [],
        "unprivileged": ["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
    }.items():
        answer = subprocess.run([*wrapper, *argv], check=True, capture_output=True, text=True)
        outcomes[user] = answer.stdout.split()
        assert answer.stderr == ""
    assert outcomes["root"][0] == "0"
    assert outcomes["root"][1].startswith("CgroupFigures(")
    assert outcomes["unprivileged"][1:] == ["None", "0"]
    assert int(outcomes["unprivileged"][0]) >= 1


def test_counters_are_found_when_a_process_is_moved_in(cgroups: Any, measured: Measured) -> None:
    """The first process of a container may come from elsewhere: its counters are used then."""
    container, other = cgroups.container(), cgroups.container()
    worker = cgroups.start(other)
    measured.start()
    measured.tick()
    for folder in container.folders:
        (folder / "cgroup.procs").write_text(str(worker.pid))
    worker.tell("burn", 0.02)
    measured.tick()
    worker.tell("burn", 0.02)
    assert measured.tick()[_group(worker)].figures is not None
