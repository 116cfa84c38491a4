"""Documents and the commands in them: which there are, and what a shell says to them.

A command stands in a fence marked ``sh``. It is run, or the line above says why it is not:
``<!-- not run: needs a Docker engine -->``. A fence of another kind that follows at once is the
answer: ``json``, ``http`` (headers, perhaps a body) or ``text``; after ``<!-- shape only -->``
names and kinds of values are compared, not the values.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rig.repository import ROOT, committed_files

COMMANDS = ("sh", "bash", "console", "shell")
NOT_RUN = re.compile(r"<!-- not run: (\S.*\S) -->")
SHAPE_ONLY = "<!-- shape only -->"
FENCE = re.compile(r"( *)(`{3,}|~{3,})(.*)")
BETWEEN = "\f"
RUN_SECONDS = 120.0
END_SECONDS = 30.0


class Fence(NamedTuple):
    """One fenced block; ``above`` is the line over it, ``line`` the number of its first line."""

    line: int
    indent: str
    language: str
    text: str
    above: str

    @property
    def reason(self) -> str | None:
        """Why the commands are not run; None: they are."""
        found = NOT_RUN.fullmatch(self.above)
        return found and found[1]


class Example(NamedTuple):
    """Commands, where they stand, and what they answer; an empty kind: whatever it is."""

    line: int
    commands: str
    kind: str = ""
    answer: str = ""
    is_shape: bool = False


def documents() -> list[str]:
    """Return every document of the repository, by its path in it."""
    found = [str(path.relative_to(ROOT)) for path in committed_files() if path.suffix == ".md"]
    return sorted(found)


def fences(text: str) -> list[Fence]:
    """Return the fenced blocks of a document in order."""
    found: list[Fence] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opened = FENCE.fullmatch(lines[number])
        if opened is None:
            number += 1
            continue
        start, number = number, number + 1
        while number < len(lines) and lines[number].strip() != opened[2]:
            number += 1
        content = "".join(f"{line}\n" for line in lines[start + 1 : number])
        above = lines[start - 1].strip() if start else ""
        found.append(Fence(start + 1, opened[1], opened[3].strip(), content, above))
        number += 1
    return found


def examples(text: str) -> list[Example]:
    """Return the commands of a document that are run, each with its answer."""
    lines = text.splitlines()
    found: list[Example] = []
    end = None  # the line behind the fence before, if that one is run
    for fence in fences(text):
        if fence.language in COMMANDS:
            if fence.reason is None:
                found.append(Example(fence.line, fence.text))
        elif end is not None and all(
            line.strip() in ("", SHAPE_ONLY) for line in lines[end : fence.line - 1]
        ):
            is_shape = fence.above == SHAPE_ONLY
            found[-1] = Example(*found[-1][:2], fence.language, fence.text, is_shape)
        is_run = fence.language in COMMANDS and fence.reason is None
        end = fence.line + fence.text.count("\n") + 1 if is_run else None
    return found


def run(commands: list[str], folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Run commands in one shell, and end what they left behind; return what each wrote.

    Raises:
        AssertionError: one of them failed, the text holds all that was written.
    """
    script = f"\nprintf '{BETWEEN}'\n".join(commands)
    output, errors = folder / "shell.output", folder / "shell.errors"
    alive, held = os.pipe()  # open until the last process of the shell ends
    with output.open("wb") as out, errors.open("wb") as err:
        shell = subprocess.Popen(
            ["sh", "-eu", "-c", script],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=[held],
            start_new_session=True,
        )
    os.close(held)
    try:
        code = shell.wait(RUN_SECONDS)
    finally:
        _end(shell, alive)
    written = output.read_text(encoding="utf-8").split(BETWEEN)
    said = errors.read_text(encoding="utf-8")
    assert code == 0, f"{said}\n{written[-1]}\nended with {code}:\n{commands[len(written) - 1]}"
    assert len(written) == len(commands)
    return written


def _end(shell: subprocess.Popen[bytes], alive: int) -> None:
    """End a shell and every process it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGTERM)
    is_over, _, _ = select.select([alive], [], [], END_SECONDS)
    os.close(alive)
    if not is_over:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
