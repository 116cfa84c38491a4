"""Construct the recordings of systems that cannot be staged here, from their documentation.

    construct.py FOLDER

Each recording's origin.json names its source; expected.json holds the figures in seconds and
bytes, worked out by hand from the page size and tick rate of the recording.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

ID_A, ID_B = "a1" * 32, "b2" * 32
POD = "0f0e0d0c_0b0a_0908_0706_050403020100"
KERNEL_FORMATS = "proc_pid_stat(5), proc_pid_status(5), proc_pid_mountinfo(5), cgroups(7)"
MACHINE = {
    "stat": "cpu  400 10 300 9000 50 5 15 20 40 4\ncpu0 200 5 150 4500 25 3 7 10 20 2\n"
    "cpu1 200 5 150 4500 25 2 8 10 20 2\nintr 900\nctxt 7000\nbtime 1700000000\n"
    "processes 4300\nprocs_running 1\nprocs_blocked 0\nsoftirq 500\n",
    "meminfo": "MemTotal:        8000000 kB\nMemFree:         1000000 kB\n"
    "MemAvailable:    6000000 kB\nBuffers:          100000 kB\nCached:          4500000 kB\n"
    "SwapTotal:             0 kB\nSwapFree:              0 kB\n",
    "loadavg": "0.50 0.25 0.10 1/200 4300\n",
}
MEMORY_V2 = {
    "memory.current": "20971520\n",
    "memory.peak": "31457280\n",
    "memory.max": "1073741824\n",
    "memory.stat": "anon 12582912\nfile 8388608\nkernel 0\nshmem 4096\nactive_file 2097152\n"
    "inactive_file 6291456\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n",
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 40\n"
    "nr_throttled 4\nthrottled_usec 120000\n",
    "cpu.max": "200000 100000\n",
    "memory.pressure": "some avg10=0.10 avg60=0.05 avg300=0.01 total=1234\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=34\n",
}
MEMORY_V1 = {
    "cpu/{}/cpu.stat": "nr_periods 40\nnr_throttled 4\nthrottled_time 120000000\n",
    "cpuacct/{}/cpuacct.usage": "2500000000\n",
    "memory/{}/memory.usage_in_bytes": "20971520\n",
    "memory/{}/memory.max_usage_in_bytes": "31457280\n",
    "memory/{}/memory.limit_in_bytes": "9223372036854771712\n",
    "memory/{}/memory.stat": "cache 1\nrss 2\ninactive_file 3\ntotal_cache 8388608\n"
    "total_rss 12582912\ntotal_active_file 2097152\ntotal_inactive_file 6291456\n",
    "memory/{}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
}


class Process(NamedTuple):
    """What differs between the processes of the recordings; ticks and pages."""

    pid: int
    comm: str
    cgroup: str  # the whole file
    mounts: str = ""  # lines of mountinfo behind the root
    ppid: int = 0
    utime: int = 150
    stime: int = 50
    pages: tuple[int, int, int] = (4000, 1000, 400)  # size, resident, shared
    ns_pids: tuple[int, ...] = ()

    def files(self, page_size: int) -> dict[str, str]:
        """Return the text of each file."""
        size, resident, shared = self.pages
        kilobytes = page_size // 1024
        pids = "\t".join(map(str, self.ns_pids or (self.pid,)))
        return {
            "comm": f"{self.comm}\n",
            "cmdline": f"{self.comm}\0",
            "cgroup": self.cgroup,
            "mountinfo": f"500 400 0:50 / / rw,relatime - overlay overlay rw\n{self.mounts}",
            "statm": f"{size} {resident} {shared} 10 0 300 0\n",
            "stat": f"{self.pid} ({self.comm}) S {self.ppid} {self.pid} {self.pid} 0 -1 4194560 "
            f"93 0 0 0 {self.utime} {self.stime} 30 20 20 0 1 0 5000 {size * page_size} "
            f"{resident - 7} 18446744073709551615 " + "0 " * 26 + "0\n",
            "status": f"Name:\t{self.comm}\nUmask:\t0022\nState:\tS (sleeping)\n"
            f"Tgid:\t{self.pid}\nNgid:\t0\nPid:\t{self.pid}\nPPid:\t{self.ppid}\n"
            "TracerPid:\t0\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n"
            f"NSpid:\t{pids}\nVmHWM:\t{resident * kilobytes + 8:>8} kB\n"
            f"VmRSS:\t{resident * kilobytes:>8} kB\n"
            f"RssAnon:\t{(resident - shared) * kilobytes:>8} kB\nThreads:\t1\n"
            "SigIgn:\t0000000000010000\n",
        }


def v1(path: str) -> str:
    """Return ``/proc/<pid>/cgroup`` of a host with v1 hierarchies and systemd."""
    named = ("memory", "cpu,cpuacct", "pids", "name=systemd")
    lines = [f"{number}:{name}:{path}" for number, name in zip((9, 5, 4, 1), named, strict=True)]
    return "\n".join(lines) + "\n0::/system.slice/containerd.service\n"


def v2(path: str) -> str:
    """Return ``/proc/<pid>/cgroup`` of a host with the unified hierarchy."""
    return f"0::{path}\n"


def termination_log(name: str) -> str:
    """Return the mounts by which Kubernetes names a container."""
    root = f"/var/lib/kubelet/pods/{POD.replace('_', '-')}"
    name = name.replace(" ", r"\040")
    return (
        f"510 500 8:1 {root}/containers/{name}/0badcafe /dev/termination-log rw,relatime"
        f" - ext4 /dev/disk1 rw\n"
        f"511 500 8:1 {root}/etc-hosts /etc/hosts rw,relatime - ext4 /dev/disk1 rw\n"
    )


DOCKER_V1 = f"/docker/{ID_A}"
DOCKER_V2 = f"/system.slice/docker-{ID_A}.scope"
PODMAN = f"/machine.slice/libpod-{ID_A}.scope/container"
ROOTLESS = f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID_B}.scope/container"
KUBERNETES = (
    "/kubepods.slice/kubepods-burstable.slice"
    f"/kubepods-burstable-pod{POD}.slice/cri-containerd-{{}}.scope"
)
DOCKER_DOC = "docs.docker.com, Runtime metrics, Find the cgroup for a given container"
KUBERNETES_DOC = (
    "kubernetes.io, About cgroup v2; kubelet cgroup_manager_linux.go (systemd driver); "
    "containerd CRI, Runtime config (SystemdCgroup)"
)
RECORDINGS = {
    "docker-v1": (
        f"{DOCKER_DOC} (cgroup v1, cgroupfs driver); {KERNEL_FORMATS}",
        4096,
        [Process(4201, "server", v1(DOCKER_V1)), Process(4202, "shell", v1("/user.slice"))],
        {name.format(DOCKER_V1[1:]): text for name, text in MEMORY_V1.items()},
    ),
    "docker-v2": (
        f"{DOCKER_DOC} (cgroup v2, systemd driver); {KERNEL_FORMATS}",
        4096,
        [Process(4201, "server", v2(DOCKER_V2)), Process(4202, "inner", v2(f"{DOCKER_V2}/x:y"))],
        {f"{DOCKER_V2[1:]}/{name}": text for name, text in MEMORY_V2.items()},
    ),
    "podman-v2": (
        "podman-run(1), --cgroup-parent; podman(1), --cgroup-manager (systemd); crun(1), "
        f"subgroup container; {KERNEL_FORMATS}",
        4096,
        [Process(4201, "server", v2(PODMAN)), Process(4202, "rootless", v2(ROOTLESS))],
        {f"{PODMAN[1:]}/{name}": text for name, text in MEMORY_V2.items()},
    ),
    "kubernetes-v2-containerd": (
        f"{KUBERNETES_DOC}; {KERNEL_FORMATS}",
        4096,
        [
            Process(7, "app", v2(KUBERNETES.format(ID_A)), termination_log("app")),
            Process(20, "worker", v2("/../cri-containerd-" + ID_B), termination_log("work er")),
            Process(21, "dead", v2(KUBERNETES.format(ID_B) + " (deleted)"), ppid=20),
        ],
        {f"{KUBERNETES.format(ID_A)[1:]}/{name}": text for name, text in MEMORY_V2.items()},
    ),
    "pages-64k": (
        f"kernel Documentation/arch/arm64/memory.rst (64 KiB pages); {KERNEL_FORMATS}",
        65536,
        [Process(4201, "server", v2(DOCKER_V2), pages=(400, 100, 40), ns_pids=(4201, 1))],
        {},
    ),
    "vanished": (
        f"proc_pid(5): the folder of a process that ends while it is read; {KERNEL_FORMATS}",
        4096,
        [Process(4201, "server", v2("/"))],
        {},
    ),
}
EXPECTED_RSS_BYTES = {4096: 4_096_000, 65536: 6_553_600}


def construct(folder: Path) -> None:
    """Write all constructed recordings."""
    for name, (source, page_size, processes, counters) in RECORDINGS.items():
        out = folder / name
        origin = {"how": "constructed", "source": source, "page_size": page_size}
        origin["ticks_per_second"] = 100
        files = {"origin.json": json.dumps(origin, indent=2) + "\n"}
        files |= {f"proc/{file}": text for file, text in MACHINE.items()}
        files |= {f"cgroup/{file}": text for file, text in counters.items()}
        for process in processes:
            for file, text in process.files(page_size).items():
                files[f"proc/{process.pid}/{file}"] = text
        if name == "vanished":
            files["proc/4299/absent.txt"] = "git carries no empty folder: the process is gone\n"
        expected = {
            "processes": {
                str(process.pid): {
                    "comm_hex": process.comm.encode().hex(),
                    "state": "S",
                    "ppid": process.ppid,
                    "rss_bytes": EXPECTED_RSS_BYTES[page_size],
                    "cpu_seconds": 2.0,
                }
                for process in processes
            }
        }
        files["expected.json"] = json.dumps(expected, indent=2) + "\n"
        for file, text in files.items():
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (out / file).write_bytes(text.encode())


if __name__ == "__main__":
    construct(Path(sys.argv[1]))
