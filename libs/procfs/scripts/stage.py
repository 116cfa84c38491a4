"""Stage real processes worth recording, and record them: needs root and cgroup v1.

    stage.py FOLDER

Makes ``host-v1``, ``kubernetes-v1`` and ``kubernetes-v1-cgroupns`` in FOLDER. Beside each
recording stands ``expected.json``: what the stage itself knows of its processes, not what
was read back from /proc. Everything started here is ended again.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
HIERARCHIES = ("cpu", "cpuacct", "memory", "pids", "unified")
RECORD = Path(__file__).with_name("record.py")
TARGET = "/dev/termination-log && exec sleep 600"
POD = "11111111-2222-3333-4444-555555555555"
HOSTILE = {
    "parenthesis": b") R 1 (",
    "newline": b"a\nb\\n) S 2",
    "bytes": b"\xff\xfe\x01\xc3(",
    "spaces": b"  x  ",
}
UNSHARE_POD = (
    *("unshare", "--pid", "--fork", "--kill-child"),
    *("--mount", "--propagation", "private", "--mount-proc"),
)
_PR_SET_NAME = 15


def join(path: str) -> None:
    """Move the calling process into a cgroup of every hierarchy."""
    for hierarchy in HIERARCHIES:
        (CGROUP / hierarchy / path / "cgroup.procs").write_text(str(os.getpid()))


@contextmanager
def cgroups(*paths: str) -> Iterator[None]:
    """Make cgroups in every hierarchy, and remove them with their parents."""
    folders = [CGROUP / hierarchy / path for hierarchy in HIERARCHIES for path in paths]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in folders:
            while folder.parent != CGROUP:
                try:
                    folder.rmdir()
                except OSError:
                    break
                folder = folder.parent


@contextmanager
def kubelet() -> Iterator[Path]:
    """Make the termination logs of a pod's containers, in a folder as the kubelet lays it out."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder, "var/lib/kubelet/pods", POD, "containers")
        for role in ("app", "worker"):
            (logs / role).mkdir(parents=True)
            (logs / role / "log").touch()
        yield logs


def fork(path: str, comm: bytes | None, body: Callable[[], None]) -> int:
    """Start a process in a cgroup, named as asked; returns when it is ready."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            join(path)
            if comm is not None:
                ctypes.CDLL(None).prctl(_PR_SET_NAME, comm, 0, 0, 0)
            os.write(writer, b".")
            body()
        finally:
            os._exit(0)
    os.close(writer)
    if os.read(reader, 1) != b".":
        raise RuntimeError("the process ended before it was ready")
    os.close(reader)
    return pid


def burn() -> None:
    """Use some CPU time and memory, then sleep."""
    kept = bytearray(8 << 20)
    deadline = time.process_time() + 0.3
    while time.process_time() < deadline:
        kept[::4096] = b"x" * len(kept[::4096])
    signal.pause()


def settled(pids: dict[str, int], states: str = "SZI") -> None:
    """Wait until the processes sleep or are dead: only then all files agree."""
    deadline = time.monotonic() + 10
    for pid in pids.values():
        while time.monotonic() < deadline:
            raw = Path(f"/proc/{pid}/stat").read_bytes()
            if raw[raw.rindex(b")") + 2 :][:1].decode() in states:
                break
            time.sleep(0.01)
        else:
            raise RuntimeError(f"process {pid} does not settle")


def stage_host(folder: Path) -> None:
    """A plain host: a busy process, a zombie, a kernel thread, hostile names."""
    path = "runmeter-recording/job.service"
    with cgroups(path):
        pids = {"busy": fork(path, b"busy", burn), "zombie": fork(path, b"gone", lambda: None)}
        pids |= {role: fork(path, comm, lambda: signal.pause()) for role, comm in HOSTILE.items()}
        kernel_thread = 2  # kthreadd
        try:
            settled(pids)
            _record(folder / "host-v1", [*pids.values(), kernel_thread])
        finally:
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    comms = {"busy": b"busy", "zombie": b"gone", **HOSTILE}
    processes = {
        str(pids[role]): {
            "comm_hex": comm.hex(),
            "state": "Z" if role == "zombie" else "S",
            "ppid": os.getpid(),
            "memory_path": "/" if role == "zombie" else f"/{path}",
            "unified_path": f"/{path}",
        }
        for role, comm in comms.items()
    }
    processes[str(kernel_thread)] = {
        "comm_hex": b"kthreadd".hex(),
        "state": "S",
        "ppid": 0,
        "memory_path": "/",
        "unified_path": "/",
    }
    _expect(folder / "host-v1", processes)


def stage_pod(folder: Path, name: str, cgroup_namespace: bool) -> None:
    """A pod of two containers and a recording sidecar, in one pid namespace.

    Paths as the kubelet makes them with the cgroupfs driver; with a cgroup namespace each
    container sees its own node as ``/`` and its siblings as ``/../<id>``.
    """
    base = f"kubepods/burstable/pod{POD}"
    ids = {role: f"{number:x}" * 64 for number, role in enumerate(("pause", "app", "worker"), 10)}
    sidecar = "d" * 64
    with cgroups(*(f"{base}/{i}" for i in (*ids.values(), sidecar))), kubelet() as logs:
        pause = subprocess.Popen(
            [*UNSHARE_POD, "sleep", "infinity"],
            preexec_fn=lambda: join(f"{base}/{ids['pause']}"),
        )
        started = [pause]
        mount = f"mount -t tmpfs tmpfs /dev && touch /dev/termination-log && mount --bind {logs}/"
        keep = [flag for role in ids for flag in ("--keep", role)]
        try:
            init = _only_child(pause.pid, b"sleep")
            enter = ["nsenter", "-t", str(init), "-p", "-m", "--", "unshare", "--mount"]
            enter += ["--propagation", "private", *(["--cgroup"] if cgroup_namespace else [])]
            for role in ("app", "worker"):
                started.append(
                    subprocess.Popen(
                        [*enter, "/bin/sh", "-c", f"{mount}{role}/log {TARGET}"],
                        preexec_fn=lambda role=role: join(f"{base}/{ids[role]}"),
                    )
                )
                _only_child(started[-1].pid, b"sleep")
            out = folder / name
            flags = ["--no-counters"] if cgroup_namespace else []
            subprocess.run(
                [*enter, *_recorder(out), *_pod_pids(init), *flags, *keep],
                preexec_fn=lambda: join(f"{base}/{sidecar}"),
                check=True,
            )
        finally:
            pause.kill()  # its child, pid 1 of the pod, goes with it, and so does the pod
            for process in started:
                process.wait(10)
    prefix = "/.." if cgroup_namespace else f"/{base}"
    processes = {
        pid: {
            "comm_hex": b"sleep".hex(),
            "state": "S",
            "ppid": 0,
            "container": role,
            "path_prefix": prefix,
        }
        for pid, role in zip(sorted(_recorded(folder / name), key=int), ids, strict=True)
    }
    _expect(folder / name, processes)


def _pod_pids(init: int) -> list[str]:
    """Return flags for the pids the pod itself gives its processes, in order of starting."""
    namespace = os.readlink(f"/proc/{init}/ns/pid")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "ns/pid") == namespace:
                    status = (entry / "status").read_text(errors="replace")
                    found.append(int(status.split("NSpid:")[1].split("\n")[0].split()[-1]))
            except OSError:
                continue
    return [flag for pid in sorted(found) for flag in ("--pid", str(pid))]


def _only_child(pid: int, comm: bytes) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_bytes() == comm + b"\n":
            return int(children[0])
        time.sleep(0.01)
    raise RuntimeError(f"{comm!r} did not start")


def _record(out: Path, pids: list[int]) -> None:
    flags = [flag for pid in pids for flag in ("--pid", str(pid))]
    subprocess.run([*_recorder(out), *flags], check=True)


def _recorder(out: Path) -> list[str]:
    return [sys.executable, "-I", str(RECORD), str(out)]


def _recorded(out: Path) -> list[str]:
    return [entry.name for entry in (out / "proc").iterdir() if entry.name.isdigit()]


def _expect(out: Path, processes: dict[str, dict[str, object]]) -> None:
    (out / "expected.json").write_text(json.dumps({"processes": processes}, indent=2) + "\n")


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    stage_host(target)
    stage_pod(target, "kubernetes-v1", cgroup_namespace=False)
    stage_pod(target, "kubernetes-v1-cgroupns", cgroup_namespace=True)
