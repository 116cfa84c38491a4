"""Write docs/configuration.md from what the three programs say of themselves.

``--check`` writes nothing and exits 1 if the file is stale.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from generated import DOCS, write_or_check

RECEIVER = ("receiver", *(f"receiver {name}" for name in ("migrate", "prune", "export", "import")))
PROGRAMS = ("collector", "collector push", "collector spool", *RECEIVER, "gateway")
HEAD = """\
# Configuration

What `--help` of each program says: every flag, its variable and its default. A flag counts over
its variable, a variable over the default.
"""


def section(name: str) -> str:
    """Return what a program or subcommand says of itself, below its name."""
    program, *command = name.split()
    done = subprocess.run(
        [str(Path(sys.executable).parent / program), *command, "--help"],
        env={**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
    return f"## {name}\n\n```text\n{text}\n```\n"


def document() -> str:
    """Return the file's content as it should be."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return "\n".join([HEAD, *pool.map(section, PROGRAMS)])


if __name__ == "__main__":
    sys.exit(write_or_check(DOCS / "configuration.md", document))
