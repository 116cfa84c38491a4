"""The program ``collector``, wherever it is installed: it and its pusher are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import _runmeter_collector
import pytest

from runmeter import collector, procfs

WAIT_SECONDS = 60
PROGRAM = "import sys; from _runmeter_collector import main; sys.exit(main())"
USER = "import site; print(site.getusersitepackages() if site.ENABLE_USER_SITE else '')"
PLACES = "import sys; print(*sys.path, sep='\\n')"
# an interpreter without the packages of these tests
PYTHON = str(getattr(sys, "_base_executable", sys.executable))


def say(code: str, *flags: str, **environment: str) -> list[str]:
    """Return the lines that code prints."""
    done = subprocess.run(
        [PYTHON, *flags, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def run(folder: Path, endpoint: str, **environment: str) -> str:
    """Run a command as the console script does; return the log."""
    flags = ("--interval=100ms", f"--push-endpoint={endpoint}", f"--spool-dir={folder}/spool")
    done = subprocess.run(
        [PYTHON, "-c", PROGRAM, *flags, "--shutdown-timeout=20s", "--", "sh", "-c", "exit 5"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "GITHUB_REPOSITORY": "my-org/my-repo",
            "GITHUB_WORKFLOW": "ci.yml",
            "GITHUB_JOB": "build",
            "COLLECTOR_PUSH_TOKEN": "t0ken",
            **environment,
        },
        cwd=folder, capture_output=True, text=True, timeout=WAIT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    return done.stderr


@pytest.mark.parametrize("variables", [{}, {"PYTHONPATH": "src"}], ids=["plain", "PYTHONPATH"])
def test_installed_for_one_user(tmp_path: Path, receiver: Any, variables: dict[str, str]) -> None:
    """Installed with ``pip install --user`` it measures and pushes."""
    [folder] = say(USER, HOME=str(tmp_path))
    assert folder.startswith(str(tmp_path))
    Path(folder).mkdir(parents=True)
    known = say(PLACES, "-I")
    places = [path for path in sys.path if path and path not in known]
    (Path(folder) / "ours.pth").write_text("\n".join(places))
    assert "run.pushed" in run(tmp_path, receiver.endpoint, **variables)
    assert receiver.pushes.qsize() == 1


def test_found_by_pythonpath_alone(tmp_path: Path, receiver: Any) -> None:
    """Installed with ``pip install --target`` and found by PYTHONPATH only, it measures and runs
    the command."""
    target = tmp_path / "target"
    (target / "runmeter").mkdir(parents=True)
    (target / "_runmeter_collector.py").symlink_to(_runmeter_collector.__file__)
    for package in (collector, procfs):
        place = Path(str(package.__file__)).parent
        (target / "runmeter" / place.name).symlink_to(place)
    assert "run.measured" in run(tmp_path, receiver.endpoint, PYTHONPATH=str(target))
