"""A pod without a container engine: one pid namespace, a cgroup per container.

What matters to a collector is as Kubernetes makes it: all containers see each other's processes
in /proc, each has a cgroup of its own whose path holds a 64-digit id, a mount namespace and, if
wanted, a cgroup namespace. The network is the machine's.

Needs root, cgroup hierarchies of version 1 that can be written, and util-linux.
"""

import os
import secrets
import shutil
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from rig.programs import Program, Stage

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "memory", "pids")
Driver = Literal["cgroupfs", "systemd"]
WAIT_SECONDS = 10.0
# enters the cgroups named before `--`, then becomes what is named behind it
_ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'


class Container(NamedTuple):
    """One container of a pod; ``path`` of its cgroup below each hierarchy's mount."""

    program: Program
    container_id: str
    path: str

    def pid(self, comm: str) -> int:
        """Return the machine's pid of the container's process with this name.

        Raises:
            LookupError: it has not appeared in time.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            for pid in (CGROUPS / "cpuacct" / self.path / "cgroup.procs").read_text().split():
                try:
                    if Path(f"/proc/{pid}/comm").read_text().strip() == comm:
                        return int(pid)
                except (FileNotFoundError, ProcessLookupError):
                    continue
            time.sleep(0.01)
        raise LookupError(f"no process {comm} in {self.path}: {self.program.text}")

    def cpu_seconds(self) -> float:
        """Return the CPU time the kernel has counted for the container's cgroup."""
        usage = CGROUPS / "cpuacct" / self.path / "cpuacct.usage"
        return int(usage.read_text()) / 1e9


def missing() -> str:
    """Say what of this machine does not allow pods; empty if nothing."""
    if os.geteuid() != 0:
        return "not root"
    for program in ("unshare", "nsenter"):
        if shutil.which(program) is None:
            return f"no {program}"
    for controller in CONTROLLERS:
        probe = CGROUPS / controller / f"runmeter-{uuid.uuid4()}"
        try:
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            return f"{CGROUPS / controller}: {error.strerror}"
    if not (CGROUPS / "cpuacct" / "cpuacct.usage").exists():
        return "no cpuacct.usage"
    return ""


class Pod:
    """A running pod; leaves nothing behind when it is closed.

    ``init``: pid 1 of its namespace, ``first``: the container of that process.
    """

    def __init__(
        self,
        stage: Stage,
        driver: Driver,
        *,
        cgroup_namespace: bool,
        init: Sequence[str | Path] = ("sleep", "infinity"),
    ) -> None:
        self._stage = stage
        self._driver = driver
        self._cgroup_namespace = cgroup_namespace
        self._folders: list[Path] = []
        self._base = _base(driver, str(uuid.uuid4()))
        self._init_pid = 0
        try:
            self.first = self._start(
                *("unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation"),
                *("private", "--mount-proc", *init),
            )
            self._init_pid = self.first.pid(Path(init[0]).name)
        except Exception:
            self.close()
            raise

    def start(
        self,
        *argv: str | Path,
        environment: Mapping[str, str] | None = None,
        limits: Mapping[str, str] | None = None,
        inside: Container | None = None,
    ) -> Container:
        """Start a container; ``argv[0]`` is an absolute path.

        ``limits``: cgroup files, ``controller/file``, and what they shall hold. ``inside``: the
        container whose cgroup is to hold the new one's, as with Docker in Docker.
        """
        namespaces = ["--mount", "--propagation", "private"]
        if self._cgroup_namespace:
            namespaces.append("--cgroup")
        return self._start(
            *("nsenter", f"--target={self._init_pid}", "--pid", "--mount", "--"),
            *("unshare", *namespaces, *argv),
            environment=environment,
            limits=limits,
            base=inside.path if inside else self._base,
        )

    def _start(
        self,
        *argv: str | Path,
        environment: Mapping[str, str] | None = None,
        limits: Mapping[str, str] | None = None,
        base: str = "",
    ) -> Container:
        container_id = secrets.token_hex(32)
        leaf = (
            container_id if self._driver == "cgroupfs" else f"cri-containerd-{container_id}.scope"
        )
        path = f"{base or self._base}/{leaf}"
        hierarchies = [CGROUPS / name for name in (*CONTROLLERS, "unified")]
        folders = [root / path for root in hierarchies if root.is_dir()]
        for folder in folders:
            folder.mkdir(parents=True)
            self._folders.append(folder)
        for name, value in (limits or {}).items():
            controller, _, file = name.partition("/")
            (CGROUPS / controller / path / file).write_text(value)
        entries = [folder / "cgroup.procs" for folder in folders]
        program = self._stage.start(
            "sh", "-c", _ENTER, "sh", *entries, "--", *argv, environment=environment
        )
        return Container(program, container_id, path)

    def close(self) -> None:
        """Kill the pod's init, and with it all its processes; remove its cgroups."""
        if self._init_pid:
            os.kill(self._init_pid, signal.SIGKILL)
        deadline = time.monotonic() + WAIT_SECONDS
        for folder in reversed(self._folders):  # those inside of others first
            if not folder.exists():  # was the empty parent of one inside of it
                continue
            while any((folder / "cgroup.procs").read_text().split()):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"processes are left in {folder}")
                time.sleep(0.01)
            folder.rmdir()
            _remove_empty_parents(folder)


def _remove_empty_parents(folder: Path) -> None:
    for parent in folder.parents:
        if parent.parent == CGROUPS:
            return
        try:
            parent.rmdir()
        except OSError:  # another pod's, or a container of this one
            return


def _base(driver: Driver, uid: str) -> str:
    """Return the cgroup of a burstable pod as the kubelet's cgroup driver names it."""
    if driver == "cgroupfs":
        return f"kubepods/burstable/pod{uid}"
    inner = f"kubepods-burstable-pod{uid.replace('-', '_')}.slice"
    return f"kubepods.slice/kubepods-burstable.slice/{inner}"


def peak_rss_bytes(pid: int) -> int:
    """Return the highest RSS of a process, as the kernel says."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} has no VmHWM")


def link(folder: Path, name: str, program: str) -> Path:
    """Make a program known to the kernel by another name."""
    path = folder / name
    path.symlink_to(Path(program).resolve())
    return path
