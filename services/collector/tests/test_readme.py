"""The tables of the README say what the program says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from runmeter.collector.config import flags, settings

README = (Path(__file__).parents[1] / "README.md").read_text()


def _rows(heading: str) -> list[list[str]]:
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows]


def _flags() -> dict[str, list[str]]:
    return {row[0].strip("`"): row[1:] for row in _rows("Settings") if row[0].startswith("`--")}


def test_the_flags_are_those_of_the_program() -> None:
    """The table has the flags of --help, in its order, and the variable of each."""
    shown = subprocess.run(
        [sys.executable, "-I", "-m", "runmeter.collector", "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    flags = [flag for flag in re.findall(r"^  (--[a-z-]+)", shown, re.MULTILINE)]
    flags.remove("--version")
    assert list(_flags()) == flags
    for flag, row in _flags().items():
        assert row[0] == f"`COLLECTOR_{flag.removeprefix('--').replace('-', '_').upper()}`"


def test_the_defaults_are_those_of_the_program() -> None:
    """Where the table gives a value as default, giving it changes nothing."""
    plain = settings.load([], {"HOME": "/h"})
    values = {
        flag: default.strip("`")
        for flag, (_, default, _) in _flags().items()
        if re.fullmatch(r"`[^`$~]+`", default)
    }
    # the spool lies below the home folder
    have_one = [f for f in _flags() if getattr(plain, _field(f)) and f != "--spool-dir"]
    assert list(values) == have_one
    given = [f"{flag}={value}" for flag, value in values.items()]
    assert settings.load(given, {"HOME": "/h"}) == plain
    for flag, (_, default, _) in _flags().items():
        if default in ("none", "off"):
            assert not getattr(plain, _field(flag))


def _field(flag: str) -> str:
    name = flag.removeprefix("--").replace("-", "_")
    name = {"push_endpoint": "endpoint", "push_token_file": "push_token"}.get(name, name)
    return name if name in settings.Config._fields else f"{name}_ns"


def test_the_examples_of_variables_are_taken() -> None:
    """Labels, process map and limits of the table can be given as they stand."""
    rows = {row[0].strip("`"): row[1] for row in _rows("Settings") if len(row) == 2}
    names = ("COLLECTOR_LABELS", "CGROUP_PROCESS_MAP", "CGROUP_LIMITS")
    values = {name: re.findall("`(.*?)`", rows[name])[0] for name in names}
    found = settings.load([], values)
    assert found.labels == {"os": "debian", "python": "3.13"}
    assert found.process_map == {"node": "runner"}
    assert found.limits["runner"] == (2.0, 2**30)
    for quantity in re.findall("`(.*?)`", rows["CGROUP_LIMITS"])[1:]:
        limits = json.dumps({"x": {"cpu": quantity, "memory": quantity}})
        assert settings.load([], {"CGROUP_LIMITS": limits}).limits["x"].cpu_cores


def test_the_exit_codes_are_in_the_help() -> None:
    """The table and --help name the same codes."""
    codes = [row[0] for row in _rows("Exit codes")][2:]
    assert codes == ["0", "2", "3", "4", "126", "127", "128 + n"]
    shown = flags.EPILOG.split("exit codes:")[1]
    assert {code.replace(" ", "") for code in codes} <= set(re.findall(r"\d+\+n|\d+", shown))
