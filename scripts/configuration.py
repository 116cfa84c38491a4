"""Write docs/configuration.md from the settings of receiver and gateway and the collector's help.

``--check`` writes nothing and exits 1 if the file is stale.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from generated import DOCS, write_or_check

from runmeter.gateway.settings import SETTINGS as GATEWAY
from runmeter.receiver.settings import SETTINGS as RECEIVER
from runmeter.service.settings import Setting

HEAD = """\
# Configuration

Every flag with its environment variable. A flag overrides its variable, a variable the default. An
empty variable counts as not set. `--help` of each program and command has examples.

Durations are written `500ms`, `25s`, `1m30s`, ages also `90d`, `1d12h`; sizes in bytes or `64Ki`,
`1MiB`. A secret is given as a value or as a file; one newline at its end is dropped. A
value that cannot be used is one sentence and exit code 2.
"""
FLAGS = "| flag | variable | |\n|---|---|---|\n"
OPTION = re.compile(r"^  (--[a-z-]+)( [A-Z]+)?\s+(.*?)(?=^  -|\Z)", re.M | re.S)
VARIABLE = re.compile(r"^  ([A-Z][A-Z_, \n]*[A-Z])\s+(.*)$", re.M)


def shown(*command: str) -> str:
    """Return the help of a command of the collector."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "collector"), *command, "--help"],
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def collector(*command: str) -> str:
    """Return the table of a command's flags."""
    options = shown(*command).partition("options:\n")[2].partition("\n\n")[0] + "\n"
    rows = []
    for flag, metavar, text in OPTION.findall(options):
        variable = "COLLECTOR_" + flag.removeprefix("--").replace("-", "_").upper()
        has_variable = bool(metavar) or not command
        if flag != "--version":
            cell = f"`{variable}`" if has_variable else ""
            rows.append(f"| `{flag}{metavar}` | {cell} | {' '.join(text.split())} |\n")
    return FLAGS + "".join(rows)


def variables() -> str:
    """Return the table of the collector's variables that are no flags."""
    text = re.search(r"^variables.*?\n(.*?)\n\n", shown(), re.M | re.S)
    assert text is not None
    rows = [f"| `{names}` | {what} |\n" for names, what in VARIABLE.findall(text[1])]
    return "| variable | |\n|---|---|\n" + "".join(rows)


def service(settings: Iterable[Setting]) -> str:
    """Return the table of a service's settings."""
    rows = []
    for one in settings:
        flag = f"{one.flag} {one.metavar}".strip()
        others = ", ".join(f"`{name}`" for name in one.commands if name != "serve")
        only = "Only of" if "serve" not in one.commands else "Also of"
        text = [one.help]
        if one.default:
            text.append(f"Default: `{one.default}`.")
        if others:
            text.append(f"{only} {others}.")
        rows.append(f"| `{flag}` | `{one.variable}` | {' '.join(text)} |\n")
    return FLAGS + "".join(rows)


def document() -> str:
    """Return the file's content as it should be."""
    parts = [
        HEAD,
        "## collector\n",
        collector(),
        variables(),
        "### collector push\n",
        collector("push"),
        "### collector spool\n",
        collector("spool"),
        "## receiver\n",
        service(RECEIVER),
        "## gateway\n",
        service(GATEWAY),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(write_or_check(DOCS / "configuration.md", document))
