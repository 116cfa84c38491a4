"""A repository of its own, made of the files that git knows here: to commit and release in."""

import os
import shutil
import subprocess
from pathlib import Path

from .repository import ROOT, committed_files

PERSON = {
    **{f"GIT_{role}_NAME": "Somebody" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "somebody@example.org" for role in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}
"""Environment of git: who commits, and no settings of the machine."""


def copy_tree(folder: Path) -> None:
    """Copy every file that git knows, as it is in the working tree."""
    for path in committed_files():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target, follow_symlinks=False)


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints.

    Raises:
        CalledProcessError: git failed.
    """
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **PERSON},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def scratch_repository(folder: Path) -> Path:
    """Make a repository with one commit on main, and return its folder."""
    copy_tree(folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit_all(folder, "Everything")
    return folder


def commit_all(folder: Path, message: str) -> None:
    """Commit what is there, past any hook."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--message", message)
