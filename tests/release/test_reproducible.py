"""Wheels and sdists are the same bytes, wherever and whenever they are built."""

import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest
from rig.repository import ROOT
from rig.scratch import git

pytestmark = pytest.mark.slow

PACKAGES = (
    "proto",
    "libs/procfs",
    "libs/service",
    "services/collector",
    "services/receiver",
    "services/gateway",
)
ASSETS = "services/gateway/src/runmeter/gateway/static/swagger-ui"


@pytest.fixture(scope="module")
def repositories(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two clones in folders of different names and depths, their files of different ages."""
    first = tmp_path_factory.mktemp("a") / "clone"
    second = tmp_path_factory.mktemp("b") / "deeper" / "and-longer"
    for folder in (first, second):
        git(everything, "clone", "--quiet", str(everything), str(folder))
    old = time.time() - 10**8
    for path in second.rglob("*.py"):
        os.utime(path, (old, old))
    return first, second


def digests(repository: Path, package: str, umask: int, out: Path) -> dict[str, str]:
    """Build sdist and wheel, dated as the last commit, and return their SHA-256 by name."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", out],
        cwd=repository / package,
        env={**os.environ, "SOURCE_DATE_EPOCH": git(repository, "log", "-1", "--format=%ct")},
        umask=umask,
        capture_output=True,
        timeout=120,
        check=True,
    )
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


@pytest.mark.parametrize("package", PACKAGES)
def test_two_builds_are_the_same(
    package: str, repositories: tuple[Path, Path], tmp_path: Path
) -> None:
    """Two folders, umasks and times of files give one wheel and one sdist."""
    first, second = repositories
    if package == "services/gateway":  # what its build would fetch; installed here by the same
        for repository in repositories:
            copy_assets(repository)
    one = digests(first, package, 0o022, tmp_path / "one")
    assert len(one) == 2
    assert digests(second, package, 0o077, tmp_path / "two") == one


def copy_assets(repository: Path) -> None:
    """Copy the assets of the docs page, which git does not know."""
    target = repository / ASSETS
    target.mkdir(parents=True)
    for path in (ROOT / ASSETS).iterdir():
        (target / path.name).write_bytes(path.read_bytes())
