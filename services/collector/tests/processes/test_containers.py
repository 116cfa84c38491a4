"""From cgroup lines to containers and their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.model import COMMAND_GROUP, ROOT_KEY, Group, Key
from runmeter.collector.processes.containers import (
    Containers,
    container_key,
    is_real,
    kubernetes_name,
)
from runmeter.procfs import Mount, ProcFS, parse_proc_cgroup, parse_proc_mountinfo

A, B = "a1" * 32, "b2" * 32
POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f0e.slice"


def _key(*lines: str) -> Key:
    return container_key(parse_proc_cgroup("".join(f"{line}\n" for line in lines).encode()))


def _containers(process_map: dict[str, str] | None = None) -> Containers:
    return Containers(process_map or {}, lambda pid: None)


@pytest.mark.parametrize(
    "path",
    [
        f"{POD}/cri-containerd-{A}.scope",
        f"/system.slice/docker-{A}.scope",
        f"{POD}/crio-{A}.scope",
        f"/machine.slice/libpod-{A}.scope/container",
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container",
        f"/libpod_parent/libpod-{A}",
        f"/libpod_parent/{B}/libpod-{A}",
        f"/docker/{A}/libpod_parent/{B}/libpod-{B}",
        f"/docker/{A}",
        f"/kubepods/burstable/pod0f0e/{A}",
        f"/../{A}",
        f"/../cri-containerd-{A}.scope",
        f"/../cri-containerd-{A}",
        f"/docker/{A}/docker/{B}",
        f"{POD}/cri-containerd-{A}.scope/system.slice/docker-{B}.scope",
        f"/docker/{A}/init.scope",
        f"/kubepods-besteffort-pod0f0e.slice:cri-containerd:{A}",
        f"/system.slice/containerd.service/kubepods-pod0f0e.slice:cri-containerd:{A}",
        f"/user.slice:podman:{A}",
        f"/system.slice/job.service/libpod-payload-{A}",
        f"/system.slice/nerdctl-{A}.scope",
        f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope/container",
        f"/actions_job/{A}",
        # a node of Kubernetes that is a container: kind, minikube
        f"/docker/{B}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0.slice/"
        f"cri-containerd-{A}.scope",
        f"/system.slice/docker-{B}.scope/kubepods/besteffort/pod0f0e/{A}",
        f"/kubepods/pod0f0e/{A}/kubelet/kubepods/pod1a1b/{B}",
    ],
)
def test_the_outermost_container_id_is_the_key(path: str) -> None:
    """Every runtime's form has the id; what runs in Docker inside counts to the outer one."""
    assert _key(f"0::{path}") == Key(A, "")
    assert _key(f"4:memory:{path}", "3:cpu,cpuacct:/x", "1:name=systemd:/y") == Key(A, "")


@pytest.mark.parametrize(
    "path",
    [
        "/user.slice/user-0.slice/session-10.scope",
        "/system.slice/cafe",
        "/system.slice/docker-cafe.scope",
        f"/system.slice/{A[:-1]}",
        f"/system.slice/{A}0",
        f"/system.slice/{A.upper()}",
        f"/system.slice/{A}{B}",
        f"/system.slice/{A}-{B}.scope",
        f"/system.slice/{A}.service",
        f"/system.slice/{A}-5f2a.timer",
        f"/system.slice/var-lib-docker-overlay2-{A}-merged.mount",
        f"/machine.slice/machine-libpod_pod_{A}.slice",
        f"/machine.slice/libpod-conmon-{A}.scope",
        f"/kubepods.slice/crio-conmon-{A}.scope",
        f"/libpod_parent/{A}",
        "/system.slice/docker.service",
    ],
)
def test_what_only_resembles_an_id_is_a_path(path: str) -> None:
    """Other lengths, two ids, monitors, pods, and units other than scopes are no containers."""
    assert _key(f"0::{path}") == Key("", path)


def test_a_bare_host_is_known_by_its_path() -> None:
    """The first hierarchy that names a place counts: CPU, memory, then v2."""
    v1 = ("5:cpu,cpuacct:/job", "4:memory:/other", "1:name=systemd:/unit", "0::/unit")
    assert _key(*v1) == Key("", "/job")
    assert _key("5:cpu,cpuacct:/", *v1[1:]) == Key("", "/other")
    assert _key("5:cpu,cpuacct:/", "4:memory:/", "1:name=systemd:/", "0::/unit") == Key("", "/unit")
    assert _key("12:misc:/odd", "5:cpu:/") == Key("", "/odd")


@pytest.mark.parametrize("lines", [(), ("0::/",), ("5:cpu,cpuacct:/", "4:memory:/", "0::/")])
def test_no_place_is_the_root(lines: tuple[str, ...]) -> None:
    """Without any hierarchy, or with / in all of them, the place is the root."""
    assert _key(*lines) == ROOT_KEY


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker-v1", {4201: Key(A, ""), 4202: Key("", "/user.slice")}),
        ("docker-v2", {4201: Key(A, ""), 4202: Key(A, "")}),
        ("podman-v2", {4201: Key(A, ""), 4202: Key(B, "")}),
        ("kubernetes-v2-containerd", {7: Key(A, ""), 20: Key(B, ""), 21: Key(B, "")}),
    ],
)
def test_recordings_give_their_containers(
    recordings: Path, name: str, expected: dict[int, Key]
) -> None:
    """Recorded trees of the runtimes are read as the containers they are of."""
    proc = ProcFS(str(recordings / name / "proc"), 4096, 100)
    assert {pid: container_key(proc.proc_cgroup(pid)) for pid in proc.pids()} == expected


@pytest.mark.parametrize("name", ["kubernetes-v1", "kubernetes-v1-cgroupns"])
def test_a_recorded_pod_has_three_containers(recordings: Path, name: str) -> None:
    """Three containers of one pod are three keys, in and out of a cgroup namespace."""
    proc = ProcFS(str(recordings / name / "proc"), 4096, 100)
    keys = [container_key(proc.proc_cgroup(pid)) for pid in proc.pids()]
    assert len(set(keys)) == 3
    assert all(key.container_id for key in keys)


def test_a_recorded_pod_gives_its_names(recordings: Path) -> None:
    """The mounts of recorded processes hold the names Kubernetes gave their containers."""
    proc = ProcFS(str(recordings / "kubernetes-v1" / "proc"), 4096, 100)
    containers = Containers({}, proc.proc_mountinfo)
    groups = []
    for pid in proc.pids():
        key = container_key(proc.proc_cgroup(pid))
        containers.see(key, pid, "sleep", "")
        groups.append(containers.group(key))
    names = list(containers.names(groups).values())
    assert names[1:] == ["app", "worker"]
    assert len(names[0]) == 12  # the pause container has no such mount


def _mount(root: str, mount_point: str = "/dev/termination-log") -> Mount:
    line = f"510 500 8:1 {root} {mount_point} rw - ext4 /dev/disk1 rw\n"
    return parse_proc_mountinfo(line.encode())[0]


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("/var/lib/kubelet/pods/0f0e/containers/app/0bad", "app"),
        ("/containers/app/0bad", "app"),
        ("/deep/below/var/lib/kubelet/pods/0f0e/containers/work\\040er/0bad", "work er"),
        ("/var/lib/kubelet/pods/0f0e/etc-hosts", ""),
        ("/var/lib/containers/storage/overlay", ""),
        ("/containers/app", ""),
        ("/", ""),
    ],
)
def test_kubernetes_names_come_from_mounts(root: str, name: str) -> None:
    """The name is in the root of the mount that the kubelet made, and only there."""
    assert kubernetes_name([_mount("/"), _mount(root)]) == name
    assert kubernetes_name([_mount(root, "/etc/hosts")]) == name
    elsewhere = name if "/pods/" in root else ""  # terminationMessagePath is the user's choice
    assert kubernetes_name([_mount(root, "/run/why")]) == elsewhere


def test_names_by_kubernetes_then_id_then_path() -> None:
    """A name is Kubernetes', else 12 digits of the id, else the path's last segment."""
    mounts = {7: [_mount("/containers/app/0bad")]}
    containers = Containers({}, mounts.get)
    groups = [Group(Key(A, "")), Group(Key(B, "")), Group(Key("", "/x/job.service")),
              Group(ROOT_KEY), Group(mapped_name="runner"), COMMAND_GROUP]  # fmt: skip
    containers.see(Key(A, ""), 7, "x", "")
    containers.see(Key(B, ""), 8, "x", "")
    found = [containers.base_name(group) for group in groups]
    assert found == ["app", B[:12], "job.service", "/", "runner", "command"]


def test_mounts_are_asked_until_known_and_not_for_ever() -> None:
    """A container's mounts are read a few times at most, and never after it has a name."""
    asked: list[int] = []

    def read_mounts(pid: int) -> list[Mount] | None:
        asked.append(pid)
        return [_mount("/containers/app/0bad")] if pid == 3 else None

    containers = Containers({}, read_mounts)
    for pid in range(1, 100):
        containers.see(Key(A, ""), pid, "x", "")
    assert asked == [1, 2, 3]
    for pid in range(100, 200):
        containers.see(Key(B, ""), pid, "x", "")
    assert len(asked) <= 3 + 10
    containers.see(Key("", "/bare"), 5, "x", "")
    assert 5 not in asked[3:]


@pytest.mark.parametrize(
    ("mapped", "comm", "argv0"),
    [
        ("node", "node", ""),
        ("node", "MainThread", "/usr/local/bin/node"),
        ("node", "MainThread", "node"),
        ("a-very-long-process-name", "a-very-long-pro", ""),
        ("a-very-long-process-name", "x", "/bin/a-very-long-process-name"),
        ("vierzehn-zeiché", "vierzehn-zeich\\xc3", ""),
    ],
)
def test_the_map_identifies_a_cgroup_by_one_of_its_processes(
    mapped: str, comm: str, argv0: str
) -> None:
    """A name of the map matches comm, both cut to 15 bytes, or the base name of argv[0]."""
    containers = _containers({mapped: "runner"})
    key = Key(A, "")
    containers.see(key, 1, "sh", "sh")
    assert containers.group(key) == Group(key=key)
    containers.see(key, 2, comm, argv0)
    assert containers.group(key) == Group(mapped_name="runner")
    assert containers.take_identified() == {Group(key=key): Group(mapped_name="runner")}
    assert containers.take_identified() == {}


@pytest.mark.parametrize(
    ("comm", "argv0"), [("nod", ""), ("nodejs", ""), ("x", "/node/x"), ("", ""), ("NODE", "NODE")]
)
def test_other_names_identify_nothing(comm: str, argv0: str) -> None:
    """Neither part of a name, nor a folder of that name, nor another case matches."""
    containers = _containers({"node": "runner"})
    containers.see(Key(A, ""), 1, comm, argv0)
    assert containers.group(Key(A, "")) == Group(key=Key(A, ""))


def test_cgroups_identified_by_one_name_are_one_container() -> None:
    """Two cgroups of one mapped name are one group, also when two process names give it."""
    containers = _containers({"node": "runner", "dotnet": "runner", "pg": "db"})
    containers.see(Key(A, ""), 1, "node", "")
    containers.see(Key("", "/x"), 2, "dotnet", "")
    containers.see(Key(B, ""), 3, "pg", "")
    assert containers.group(Key(A, "")) == containers.group(Key("", "/x"))
    assert containers.group(Key(B, "")) == Group(mapped_name="db")


def test_the_first_identification_of_a_cgroup_stays() -> None:
    """A cgroup with processes of two mapped names belongs to the one seen first."""
    containers = _containers({"node": "runner", "pg": "db"})
    containers.see(Key(A, ""), 1, "pg", "")
    containers.see(Key(A, ""), 2, "node", "")
    assert containers.group(Key(A, "")) == Group(mapped_name="db")


def test_clashes_are_numbered_by_first_sight() -> None:
    """The first of several groups of one name keeps it, the others follow as #2, #3."""
    containers = _containers()
    groups = [Group(Key("", f"/{parent}/job")) for parent in ("a", "b", "c")]
    assert list(containers.names(groups).values()) == ["job", "job#2", "job#3"]
    assert list(containers.names(groups[:1]).values()) == ["job"]


def test_a_number_never_takes_a_real_name() -> None:
    """A cgroup that is really called job#2 and a numbered one stay apart."""
    containers = _containers()
    groups = [Group(Key("", path)) for path in ("/a/job#2", "/a/job", "/b/job")]
    assert list(containers.names(groups).values()) == ["job#2", "job", "job#3"]


def test_a_container_is_not_a_bare_cgroup() -> None:
    """Containers by id, mapped names and the command are listed beside a command; cgroups not."""
    assert is_real(Group(Key(A, "")))
    assert is_real(Group(mapped_name="runner"))
    assert is_real(COMMAND_GROUP)
    assert not is_real(Group(Key("", "/system.slice/cron.service")))


@given(st.lists(st.sampled_from(["/a/x", "/b/x", "/x#2", "/c/x#2", "/x#3"]), unique=True))
def test_names_are_always_unique(paths: list[str]) -> None:
    """Whatever cgroups are called, every group has a name of its own."""
    groups = [Group(Key("", path)) for path in paths]
    names: dict[Any, str] = _containers().names(groups)
    assert len(set(names.values())) == len(groups)
