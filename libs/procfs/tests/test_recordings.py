"""The readers over recorded machines; expectations use the recording's units, not this machine's.

``expected.json`` holds what was known when a recording was made: the names the stage gave its
processes, the cgroups it made, figures worked out by hand. Figures that two files of a
recording tell independently must agree.
"""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runmeter.procfs import (
    ProcFS,
    VanishedError,
    decode_name,
    parse_cpuacct_usage,
    parse_events_oom_kill,
    parse_inactive_file,
    parse_loadavg,
    parse_meminfo,
    parse_memory_current,
    parse_memory_max_usage_in_bytes,
    parse_memory_peak,
    parse_memory_usage_in_bytes,
    parse_oom_control_kills,
    parse_throttled_time,
    parse_throttled_usec,
    parse_total_inactive_file,
    parse_usage_usec,
)

Recorded = Callable[[str], Any]
SCRIPTS = Path(__file__).parents[1] / "scripts"


def test_origin(recording: Any) -> None:
    """Every recording has its origin and its units."""
    origin = recording.origin
    assert origin["page_size"] in (4096, 16384, 65536)
    assert origin["ticks_per_second"] > 0
    if origin["how"] == "captured":
        assert origin["kernel"].startswith("Linux ")
        assert origin["command"].startswith("record.py ")
        assert origin["date"]
    else:
        assert origin["how"] == "constructed"
        assert origin["source"]


def test_machine(recording: Any) -> None:
    """The files of the machine are read and make sense together."""
    proc = recording.folder / "proc"
    stat = recording.procfs.stat()
    meminfo = parse_meminfo((proc / "meminfo").read_bytes())
    load = parse_loadavg((proc / "loadavg").read_bytes())
    assert stat.cpu_count == 2
    assert 0 < stat.cpu.busy < stat.cpu.total
    assert 0 < meminfo.available_kb < meminfo.total_kb  # available may be below free
    assert load.total > load.running


def test_processes(recording: Any) -> None:
    """Name, state and parent are those the processes were given, in both files."""
    procfs = recording.procfs
    assert procfs.pids() == sorted(
        [*map(int, recording.expected), *([4299] if recording.folder.name == "vanished" else [])]
    )
    for pid, expected in recording.expected.items():
        name = decode_name(bytes.fromhex(expected["comm_hex"]))
        stat, status = procfs.proc_stat(int(pid)), procfs.proc_status(int(pid))
        assert stat.pid == int(pid)
        assert stat.comm == status.name == name
        assert stat.state == status.state == expected["state"]
        assert stat.ppid == status.ppid == expected["ppid"]
        assert stat.num_threads == status.threads
        assert status.ns_pids[0] == int(pid)


def test_rss(recording: Any) -> None:
    """statm in pages of the recording equals VmRSS of status; without VmRSS it is 0."""
    procfs = recording.procfs
    for pid, expected in recording.expected.items():
        statm, status = procfs.proc_statm(int(pid)), procfs.proc_status(int(pid))
        rss = procfs.pages_bytes(statm.resident)
        assert rss == (status.vm_rss_kb or 0) * 1024
        assert rss == expected.get("rss_bytes", rss)
        anonymous = procfs.pages_bytes(statm.resident - statm.shared)
        assert anonymous == (status.rss_anon_kb or 0) * 1024


def test_cpu_time(recording: Any) -> None:
    """Ticks become seconds by the tick rate of the recording."""
    procfs = recording.procfs
    for pid, expected in recording.expected.items():
        if "cpu_seconds" in expected:
            stat = procfs.proc_stat(int(pid))
            assert procfs.ticks_nanoseconds(stat.utime + stat.stime) == int(
                expected["cpu_seconds"] * 1e9
            )
            assert procfs.ticks_nanoseconds(stat.cutime + stat.cstime) == 500_000_000


def path_of(procfs: ProcFS, pid: int, controller: str) -> str:
    """Return the path in the hierarchy of a controller, or in v2."""
    groups = procfs.proc_cgroup(pid)
    return next(g.path for g in groups if controller in (g.controllers or ("",)))


def test_host(recorded: Recorded) -> None:
    """A plain v1 host: paths, counters, a zombie, a kernel thread, hostile names."""
    host = recorded("host-v1")
    procfs = host.procfs
    for pid, expected in host.expected.items():
        assert path_of(procfs, int(pid), "memory") == expected["memory_path"]
        assert path_of(procfs, int(pid), "") == expected["unified_path"]
    names = {procfs.proc_stat(int(pid)).comm: int(pid) for pid in host.expected}
    assert {") R 1 (", r"a\x0ab\n) S 2", r"\xff\xfe\x01\xc3(", "  x  "} <= set(names)
    busy = procfs.proc_stat(names["busy"])
    assert procfs.ticks_nanoseconds(busy.utime + busy.stime) >= 290_000_000
    assert procfs.pages_bytes(procfs.proc_statm(names["busy"]).resident) > 8 << 20

    def read(name: str) -> bytes:
        raw: bytes = host.cgroup_file("/runmeter-recording/job.service", name)
        return raw

    assert parse_cpuacct_usage(read("cpuacct/cpuacct.usage")) >= 290_000_000
    used = parse_memory_usage_in_bytes(read("memory/memory.usage_in_bytes"))
    peak = parse_memory_max_usage_in_bytes(read("memory/memory.max_usage_in_bytes"))
    assert peak >= used > 8 << 20
    assert parse_total_inactive_file(read("memory/memory.stat")) < used
    assert parse_oom_control_kills(read("memory/memory.oom_control")) == 0
    assert parse_throttled_time(read("cpu/cpu.stat")) == 0
    assert parse_usage_usec(read("unified/cpu.stat")) >= 290_000
    assert parse_throttled_usec(read("unified/cpu.stat")) is None


@pytest.mark.parametrize("name", ["kubernetes-v1", "kubernetes-v1-cgroupns"])
def test_kubernetes_v1(recorded: Recorded, name: str) -> None:
    """Each container is one cgroup; with a cgroup namespace siblings stand beside the root."""
    pod = recorded(name)
    procfs = pod.procfs
    parents, ids = set(), set()
    for pid in pod.expected:
        paths = {path_of(procfs, int(pid), c) for c in ("memory", "cpuacct", "cpu", "")}
        assert len(paths) == 1
        parent, _, container = paths.pop().rpartition("/")
        parents.add(parent)
        ids.add(container)
        assert len(bytes.fromhex(container)) == 32
    assert len(ids) == len(pod.expected) == 3
    (parent,) = parents
    if name == "kubernetes-v1-cgroupns":
        assert parent == "/.."
    else:
        assert parent.startswith("/kubepods/burstable/pod")
        for container in ids:
            raw = pod.cgroup_file(f"{parent}/{container}", "cpuacct/cpuacct.usage")
            assert parse_cpuacct_usage(raw) > 0


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("docker-v2", ["/system.slice/docker-" + "a1" * 32 + ".scope", "x:y"]),
        ("podman-v2", ["/machine.slice/libpod-" + "a1" * 32 + ".scope/container", "container"]),
        ("kubernetes-v2-containerd", ["/kubepods.slice/", "/../cri-containerd-", ".scope"]),
    ],
)
def test_v2(recorded: Recorded, name: str, paths: list[str]) -> None:
    """Paths of container runtimes on v2, and all counters of the first container."""
    recording = recorded(name)
    procfs = recording.procfs
    found = [procfs.proc_cgroup(pid) for pid in procfs.pids()]
    assert all(len(groups) == 1 and groups[0].hierarchy_id == 0 for groups in found)
    assert all(wanted in groups[0].path for wanted, groups in zip(paths, found, strict=True))
    path = found[0][0].path

    def read(name: str) -> bytes:
        raw: bytes = recording.cgroup_file(path, name)
        return raw

    assert parse_usage_usec(read("cpu.stat")) == 2500000
    assert parse_throttled_usec(read("cpu.stat")) == 120000
    assert parse_memory_current(read("memory.current")) == 20971520
    assert parse_memory_peak(read("memory.peak")) == 31457280
    assert parse_inactive_file(read("memory.stat")) == 6291456
    assert parse_events_oom_kill(read("memory.events")) == 1


def test_removed_cgroup(recorded: Recorded) -> None:
    """The kernel's mark of a removed cgroup is not a part of the path."""
    (group,) = recorded("kubernetes-v2-containerd").procfs.proc_cgroup(21)
    assert group.deleted
    assert group.path.endswith(".scope")


def test_docker_v1(recorded: Recorded) -> None:
    """Docker with the cgroupfs driver, and all counters."""
    recording = recorded("docker-v1")
    path = "/docker/" + "a1" * 32
    assert path_of(recording.procfs, 4201, "cpuacct") == path

    def read(name: str) -> bytes:
        raw: bytes = recording.cgroup_file(path, name)
        return raw

    assert parse_cpuacct_usage(read("cpuacct/cpuacct.usage")) == 2_500_000_000
    assert parse_throttled_time(read("cpu/cpu.stat")) == 120_000_000
    used = parse_memory_usage_in_bytes(read("memory/memory.usage_in_bytes"))
    peak = parse_memory_max_usage_in_bytes(read("memory/memory.max_usage_in_bytes"))
    assert (used, peak) == (20971520, 31457280)
    assert parse_total_inactive_file(read("memory/memory.stat")) == 6291456
    assert parse_oom_control_kills(read("memory/memory.oom_control")) == 1


def test_large_pages(recorded: Recorded) -> None:
    """Pages of 64 KiB: the same count of pages is sixteen times the bytes."""
    procfs = recorded("pages-64k").procfs
    assert procfs.pages_bytes(procfs.proc_statm(4201).resident) == 6_553_600
    assert procfs.proc_status(4201).ns_pids == (4201, 1)


def test_vanished(recorded: Recorded) -> None:
    """A pid that is listed and gone raises VanishedError in every reader."""
    procfs = recorded("vanished").procfs
    assert 4299 in procfs.pids()
    for name in ("stat", "statm", "status", "cgroup", "mountinfo", "argv0"):
        with pytest.raises(VanishedError):
            getattr(procfs, f"proc_{name}")(4299)


def test_constructed_are_fresh(tmp_path: Path) -> None:
    """The committed constructed recordings are what the script constructs, byte by byte."""
    runpy.run_path(str(SCRIPTS / "construct.py"))["construct"](tmp_path)
    here = Path(__file__).with_name("recordings")
    names = [folder.name for folder in tmp_path.iterdir()]
    assert len(names) == 6
    for name in names:
        made, committed = (
            {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
            for root in (tmp_path / name, here / name)
        )
        assert made == committed
