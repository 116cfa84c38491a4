"""The smaller scripts around a release: fragments, and a tag built again."""

import subprocess
import sys
from pathlib import Path

import pytest
from rig.scratch import git

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone to write fragments and tags into."""
    folder = tmp_path_factory.mktemp("scripts") / "clone"
    git(folder.parent, "clone", "--quiet", str(everything), str(folder))
    return folder


def run(repository: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository."""
    return subprocess.run(
        [sys.executable, repository / "scripts" / script, *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_fragment_is_written_once(repository: Path) -> None:
    """change.py names the file after the first words, prints its path, and overwrites none."""
    text = "A `--new` flag, and what it's for."
    done = run(repository, "change.py", "receiver", "added", text)
    path = "services/receiver/changes/+a-new-flag-and-what.added.md"
    assert (done.returncode, done.stdout) == (0, f"{path}\n")
    assert (repository / path).read_text() == f"{text}\n"
    again = run(repository, "change.py", "receiver", "added", f"{text} Really.")
    assert again.returncode == 1
    assert f"{path} exists: edit that" in again.stderr
    assert (repository / path).read_text() == f"{text}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("receiver", "add", "Text."),
            "KIND=add is no kind of change: give one of added, changed, fixed, removed, security",
        ),
        (("receiver", "", "Text."), "KIND= is missing: give one of added, changed"),
        (("receiver", "added", " "), "TEXT= is missing: give one sentence"),
        (("sender", "added", "Text."), "there is no package 'sender': give one of collector, "),
        (("", "added", "Text."), "PACKAGE= is missing: give one of collector, "),
    ],
)
def test_no_fragment(repository: Path, arguments: tuple[str, ...], said: str) -> None:
    """With an unknown kind or package, or without text, the error says what to write."""
    done = run(repository, "change.py", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"change.py: {said}")


def test_only_what_a_tag_names_is_built_again(repository: Path) -> None:
    """dist.py refuses a tag that is not checked out, and one on another version."""
    assert (
        "is not what is checked out" in run(repository, "dist.py", "runmeter-proto==0.1.0").stderr
    )
    git(repository, "tag", "runmeter-proto==9.9.9")
    done = run(repository, "dist.py", "runmeter-proto==9.9.9")
    assert done.returncode == 1
    assert "is a tag on version " in done.stderr
    assert not (repository / "dist").exists()
