"""Write docs/configuration.md from what the three programs say of themselves.

``--check`` writes nothing and exits 1 if the file is stale.
"""

import os
import subprocess
import sys
from pathlib import Path

RECEIVER = ("receiver", *(f"receiver {name}" for name in ("migrate", "prune", "export", "import")))
PROGRAMS = ("collector", "collector push", "collector spool", *RECEIVER, "gateway")
TARGET = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
HEAD = """\
# Configuration

What `--help` of each program says: every flag, its variable and its default. A flag counts over
its variable, a variable over the default.
"""


def document() -> str:
    """Return the file's content as it should be."""
    parts = [HEAD]
    for name in PROGRAMS:
        program, *command = name.split()
        done = subprocess.run(
            [str(Path(sys.executable).parent / program), *command, "--help"],
            env={**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100"},
            capture_output=True,
            text=True,
            check=True,
        )
        text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
        parts.append(f"## {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def main() -> int:
    """Write or check; return the exit code."""
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(document(), encoding="utf-8")
        return 0
    return TARGET.read_text(encoding="utf-8") != document()


if __name__ == "__main__":
    sys.exit(main())
