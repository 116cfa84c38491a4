"""Commit hooks, installed into a repository of its own: what they let through and what not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rig.scratch import PERSON, git

pytestmark = pytest.mark.slow

FORMATTED = '"""A module."""\n\nNAME = "value"\n'
# put together here, so that this file passes the check that it tests
KEY = "AKIA" + "QZ7XJ4T2MNBV6WLD"


@pytest.fixture(scope="module")
def repository(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with hooks, and the programs of this environment as its .venv."""
    folder = tmp_path_factory.mktemp("hooks") / "clone"
    git(folder.parent, "clone", "--quiet", str(everything), str(folder))
    (folder / ".venv").symlink_to(sys.prefix)
    environment = {**os.environ, **PERSON, "PRE_COMMIT_HOME": str(folder.parent / "cache")}
    install = [folder / ".venv" / "bin" / "pre-commit", "install"]
    subprocess.run(install, cwd=folder, env=environment, check=True, capture_output=True)
    return folder


def commit(repository: Path, name: str, content: str) -> subprocess.CompletedProcess[str]:
    """Commit one file, through the hooks; then take back whatever is left of it."""
    path = repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    git(repository, "add", "--", name)
    done = subprocess.run(
        ["git", "commit", "--message", "One file"],
        cwd=repository,
        env={**os.environ, **PERSON, "PRE_COMMIT_HOME": str(repository.parent / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    git(repository, "reset", "--quiet", "--hard")
    return done


def count(repository: Path) -> int:
    """Return how many commits there are."""
    return int(git(repository, "rev-list", "--count", "HEAD"))


def test_a_good_file_is_committed(repository: Path) -> None:
    """What is formatted, typed and without a secret is let through."""
    before = count(repository)
    done = commit(repository, "libs/procfs/src/runmeter/procfs/good.py", FORMATTED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert count(repository) == before + 1


@pytest.mark.parametrize(
    ("name", "content", "hook"),
    [
        ("tests/odd.py", FORMATTED.replace('"value"', "'value'"), "ruff-format"),
        ("tests/odd.py", '"""A module."""\n\nimport os\n', "ruff"),
        ("libs/procfs/src/runmeter/procfs/odd.py", FORMATTED + "COUNT: int = NAME\n", "types"),
        ("docs/odd.md", f"Use the key {KEY} here.\n", "secrets"),
    ],
)
def test_what_is_refused(repository: Path, name: str, content: str, hook: str) -> None:
    """A file with an offence is not committed, and the one hook that minds it is named."""
    before = count(repository)
    done = commit(repository, name, content)
    assert done.returncode == 1
    assert count(repository) == before
    failed = [line for line in done.stderr.splitlines() if line.startswith("- hook id: ")]
    assert failed == [f"- hook id: {hook}"], done.stderr
    # the report has the place of a secret, not its text
    assert KEY not in done.stdout + done.stderr
