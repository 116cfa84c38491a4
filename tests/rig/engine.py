"""A Docker engine and compose, as a user has them: by their command lines."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rig.repository import ROOT

WAIT_SECONDS = 60.0
SERVICES = ("collector", "receiver", "gateway")
BASE = "python:3.13-slim"
CGROUPS = Path("/sys/fs/cgroup")
T = TypeVar("T")


def missing() -> str:
    """Say what keeps containers from being run here; empty if nothing does."""
    if shutil.which("docker") is None:
        return "no docker"
    if _run(["docker", "version"], check=False).returncode:
        return "no engine answers"
    if not compose_command():
        return "no compose"
    return ""


def compose_command() -> list[str]:
    """Return how compose is called here: version 2, else version 1; empty without either."""
    if _run(["docker", "compose", "version"], check=False).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else []


def _run(
    argv: list[str | Path],
    environment: Mapping[str, str] | None = None,
    check: bool = True,
    folder: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        argv,
        env={**os.environ, **(environment or {})},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if check and done.returncode:
        raise AssertionError(
            f"{argv}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    return done


def docker(*arguments: str | Path, check: bool = True) -> str:
    """Run ``docker …`` and return its output, both streams of a container's log in order."""
    done = _run(["docker", *arguments], check=check)
    return done.stdout + (done.stderr if arguments[0] == "logs" else "")


def build(name: str, dockerfile: Path, context: Path = ROOT) -> str:
    """Build an image; return its id."""
    docker("build", "--quiet", "--tag", name, "--file", dockerfile, context)
    return str(image(name)["Id"])


def image(name: str) -> dict[str, Any]:
    """Return what ``docker image inspect`` says of an image."""
    (found,) = json.loads(docker("image", "inspect", name))
    return dict(found)


def within(what: str, ask: Callable[[], T | None], seconds: float = WAIT_SECONDS) -> T:
    """Ask until there is an answer other than None, False or empty."""
    until = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.2)
    return answer


class Container:
    """A container that exists."""

    def __init__(self, identifier: str) -> None:
        self.id = identifier

    @property
    def state(self) -> dict[str, Any]:
        """What the engine says of its process."""
        return dict(json.loads(docker("inspect", "--format", "{{json .State}}", self.id)))

    @property
    def log(self) -> str:
        """What it wrote to standard output and error."""
        return docker("logs", self.id)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON lines of its log with this event."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def await_event(self, name: str, count: int = 1) -> dict[str, Any]:
        """Wait for a line of its log."""
        return within(f"{name} of {self.id[:12]}", lambda: self.events(name)[count - 1 :])[0]

    def await_health(self) -> None:
        """Wait until its own check says that it is well."""
        within("healthy", lambda: self.state.get("Health", {}).get("Status") == "healthy")

    def crash(self) -> None:
        """Kill its process behind the engine's back, as a defect or the kernel would."""
        before = self.state
        os.kill(int(before["Pid"]), signal.SIGKILL)
        within(
            "seen dead",
            lambda: self.state["StartedAt"] != before["StartedAt"] or not self.state["Running"],
        )

    def stop(self) -> int:
        """Send SIGTERM and wait; return the exit code."""
        docker("stop", "--time", "30", self.id)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; return the exit code."""
        return int(docker("wait", self.id))

    def counter(self, controller: str, name: str, key: str = "") -> int:
        """Read a number of its cgroup, version 1, from outside; of several the one after `key`."""
        words = (CGROUPS / controller / "docker" / self.id / name).read_text().split()
        return int(words[words.index(key) + 1 if key else 0])


class Project:
    """A compose file that is brought up, and taken down at the end."""

    def __init__(self, name: str, *files: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._files = files
        self.environment = dict(environment)

    def run(self, *arguments: str, **more: str) -> str:
        """Run ``docker compose …`` on it."""
        return self._call(arguments, more, check=True).stdout

    def refuse(self, *arguments: str) -> str:
        """Run ``docker compose …``, which must fail; return what it says."""
        done = self._call(arguments, {}, check=False)
        assert done.returncode != 0
        return done.stdout + done.stderr

    def _call(
        self, arguments: tuple[str, ...], more: Mapping[str, str], check: bool
    ) -> subprocess.CompletedProcess[str]:
        files = [part for file in self._files for part in ("--file", str(file))]
        return _run(
            [*compose_command(), "--project-name", self.name, *files, *arguments],
            {**self.environment, **more},
            check=check,
        )

    def container(self, service: str) -> Container:
        """Return the container of a service."""
        return Container(self.run("ps", "--quiet", service).strip())

    def logs(self) -> str:
        """Return what all containers wrote."""
        return self.run("logs", "--no-color")

    def down(self) -> None:
        """Remove containers, networks and volumes."""
        self.run("down", "--volumes", "--timeout", "1")
