"""Run programs; one that fails is one sentence, with what it printed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class ReleaseError(Exception):
    """Something is not as a release needs it; the text says what to do."""


def run(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Return what a program printed, without the last newline.

    Raises:
        ReleaseError: it cannot be started, or it ended with another code than 0.
    """
    shown = " ".join(map(str, command))
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise ReleaseError(f"cannot start `{shown}`: {error.strerror}") from error
    if done.returncode:
        said = "\n".join(part.strip() for part in (done.stdout, done.stderr) if part.strip())
        raise ReleaseError(f"`{shown}` ended with {done.returncode}:\n{said}")
    return done.stdout.rstrip("\n")
