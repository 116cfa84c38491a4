"""Podman, with images and pods of its own, as a stand-in for the kubelet: ``podman play kube``."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml
from rig.pod import CGROUPS

# a machine may lack systemd and the right to raise limits: neither is needed
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def missing() -> str:
    """Say what keeps pods from being played here; empty if nothing does."""
    if os.geteuid() != 0:
        return "not root"
    for program in ("podman", "runc", "catatonit"):
        if shutil.which(program) is None:
            return f"no {program}"
    if not (CGROUPS / "memory" / "memory.oom_control").exists():
        return "no cgroups, version 1"
    return ""


class Podman:
    """A Podman whose images and containers are in a folder that the test owns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        configuration = folder / "containers.conf"
        configuration.write_text(CONFIGURATION)
        self._environment = {**os.environ, "CONTAINERS_CONF": str(configuration)}
        self._program = ["podman", f"--root={folder / 'root'}", f"--runroot={folder / 'run'}"]
        self._pods: list[str] = []

    def run(self, *arguments: str | Path) -> str:
        """Run ``podman …``; return what it prints."""
        done = subprocess.run(
            [*self._program, *arguments],
            env=self._environment,
            cwd=self._folder,  # conmon leaves a file there when it sees an OOM kill
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if arguments[0] == "logs" else "")

    def load(self, *images: str) -> None:
        """Take images over from the Docker engine."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
            subprocess.run(
                [*self._program, "load", "--quiet"],
                env=self._environment,
                stdin=saving.stdout,
                stdout=subprocess.DEVNULL,
                timeout=120,
                check=True,
            )
        assert saving.returncode == 0

    def play(self, pod: dict[str, Any]) -> dict[str, "Container"]:
        """Start a Pod; return its containers by their names in it."""
        name = pod["metadata"]["name"]
        manifest = self._folder / f"{name}.yaml"
        manifest.write_text(yaml.safe_dump(pod))
        self._pods.append(name)
        self.run("play", "kube", manifest)
        names = [one["name"] for one in pod["spec"]["containers"]]
        return {one: Container(self, f"{name}-{one}") for one in names}

    def close(self) -> None:
        """Remove pods and images."""
        for name in self._pods:
            self.run("pod", "rm", "--force", "--time=0", name)
        self.run("rmi", "--all", "--force")


class Container:
    """A container of a pod that is played."""

    def __init__(self, podman: Podman, name: str) -> None:
        self._podman = podman
        self.name = name
        (self._inspected,) = json.loads(podman.run("inspect", name))
        self.id = str(self._inspected["Id"])

    @property
    def pid(self) -> int:
        """Its process, as the machine numbers it."""
        return int(self._inspected["State"]["Pid"])

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines it wrote."""
        text = self._podman.run("logs", self.name)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of its log with this event."""
        return [line for line in self.lines if line.get("event") == name]

    def wait(self) -> int:
        """Wait for its end; return the exit code."""
        return int(self._podman.run("wait", self.name))

    def counter(self, controller: str, name: str, key: str = "") -> int:
        """Read a number of its cgroup, version 1, from outside; of several the one after `key`."""
        (found,) = (CGROUPS / controller / "libpod_parent").glob(f"*/libpod-{self.id}/{name}")
        words = found.read_text().split()
        return int(words[words.index(key) + 1 if key else 0])
