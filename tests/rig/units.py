"""The units of deploy/systemd: what systemd makes of their lines, done for a process of a test."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rig.programs import BIN
from rig.repository import ROOT

FOLDER = ROOT / "deploy" / "systemd"
INSTALLED = "/opt/runmeter/bin"
NOBODY = 65532


class Machine(NamedTuple):
    """Where on a machine things are; folders of a test instead of those below the root."""

    root: Path

    def path(self, name: str) -> Path:
        """Return what stands for an absolute path."""
        return self.root / name.lstrip("/")

    def write(self, name: str, text: str) -> None:
        """Write a file that only its owner may read."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)


class Unit:
    """One unit: its settings by section and key, each as often as it is written."""

    def __init__(self, name: str, instance: str = "") -> None:
        self._name = name
        self._instance = instance
        self._values: dict[tuple[str, str], list[str]] = {}
        self.add((FOLDER / name).read_text())

    def add(self, text: str) -> None:
        """Read its lines, or those of a drop-in."""
        section = ""
        for line in text.splitlines():
            assert not line.endswith("\\"), "a line that goes on is not understood here"
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                key, _, value = line.partition("=")
                self._values.setdefault((section, key), []).append(value)

    def values(self, key: str, section: str = "Service") -> list[str]:
        """Return every value of a key, specifiers as they are."""
        return self._values.get((section, key), [])

    def value(self, key: str, section: str = "Service") -> str:
        """Return the value of a key that is written once."""
        (found,) = self.values(key, section)
        return found

    def command(self, key: str, pid: int | None = None) -> list[str]:
        """Return a command line, of the programs under test; ``pid``: ``$MAINPID``."""
        line = self.value(key).replace(INSTALLED, str(BIN)).replace("$MAINPID", str(pid))
        return shlex.split(line)

    def enter(self, machine: Machine) -> dict[str, str]:
        """Make its folders and the copies of its secrets; return the environment."""
        credentials = machine.path(f"/run/credentials/{self._name}")
        specifiers = {"%d": credentials, "%S": machine.path("/var/lib"), "%i": self._instance}
        shutil.rmtree(credentials, ignore_errors=True)
        credentials.mkdir(parents=True)
        for loaded in self.values("LoadCredential"):
            name, _, source = loaded.partition(":")
            shutil.copyfile(machine.path(_replaced(source, specifiers)), credentials / name)
            (credentials / name).chmod(0o400)
        for name in self.values("StateDirectory"):
            mode = int(self.value("StateDirectoryMode"), 8)
            machine.path(f"/var/lib/{name}").mkdir(mode, parents=True, exist_ok=True)
        lines = [_replaced(line, specifiers) for line in self.values("Environment")]
        for name in self.values("EnvironmentFile"):
            path = machine.path(name.removeprefix("-"))
            lines += path.read_text().splitlines() if path.exists() else []
        pairs = [word.partition("=") for line in lines for word in shlex.split(line)]
        return {key: value for key, _, value in pairs}


def _replaced(text: str, specifiers: Mapping[str, object]) -> str:
    for specifier, value in specifiers.items():
        text = text.replace(specifier, str(value))
    return text


def missing() -> str:
    """Say why nothing can be run without privileges; empty if it can."""
    if subprocess.run([*nobody(), "true"], capture_output=True, check=False).returncode == 0:
        return ""
    return "needs a user who is not root, or user namespaces"


def nobody() -> list[str]:
    """Return what to write before a command line to run it without any privilege.

    Root becomes, in a user namespace, a user who has no capability, but still owns its files.
    """
    if os.geteuid() != 0:
        return []
    user = [f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
    return ["unshare", "--user", *user, "setpriv", "--no-new-privs"]
