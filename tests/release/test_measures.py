"""What `make coverage` and `make mutation` make of what was measured."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rig.repository import ROOT


def script(name: str) -> ModuleType:
    """Return a script as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(statements: int, branches: int, lines: int, arcs: int) -> dict[str, Any]:
    """Return what coverage says of a file."""
    counts = {"num_statements": statements, "num_branches": branches}
    return {
        "summary": {**counts, "covered_lines": lines, "covered_branches": arcs},
        "missing_lines": [3],
        "missing_branches": [[7, 9], [3, 4]],
    }


def test_statements_and_branches_are_added_up() -> None:
    """Of the files below a path, what was reached of both; missed lines are named once."""
    total = script("coverage_by_part").total
    files = {
        "a/x.py": report(10, 4, 9, 2),
        "a/y.py": report(6, 0, 6, 0),
        "b/z.py": report(9, 9, 0, 0),
    }
    found = total(files, "a/")
    assert (found.statements, found.branches, found.reached) == (16, 4, 17)
    assert found.percent == 85.0
    assert found.missed == ["a/x.py: 3, 7", "a/y.py: 3, 7"]
    assert total(files, "none/").percent == 100.0


@pytest.mark.parametrize("paths", script("coverage_by_part").PARTS.values())
def test_parts_are_there(paths: tuple[str, ...]) -> None:
    """Each part is made of files that exist: one that is moved would not be measured."""
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_change_is_told_by_its_lines() -> None:
    """Of a difference count what goes and what comes, not where."""
    diff = "--- a.py\n+++ a.py\n@@ -1,2 +1,2 @@\n def f():\n-    return 1\n+    return 2\n"
    mutation = script("mutation")
    assert mutation.survivor("a.py", diff) == mutation.Survivor("a.py", "return 1", "return 2")


def test_explained_lines_are_there() -> None:
    """Each explanation is of a part, and of a line that its module has."""
    modules = {part.module: part.package for part in script("mutation").PARTS.values()}
    entries = tomllib.loads((ROOT / "scripts/mutation-survivors.toml").read_text())["survivor"]
    for entry in entries:
        path = Path(ROOT, modules[entry["module"]], "src", entry["module"])
        assert entry["was"] in path.read_text()
        assert entry["was"] != entry["becomes"]
        assert len(entry["reason"]) > 10


@pytest.mark.parametrize("name", ["coverage_by_part", "mutation"])
def test_an_unknown_name_is_refused(name: str) -> None:
    """What is no package, or no part, is said before anything is measured."""
    command = [sys.executable, ROOT / "scripts" / f"{name}.py", "nobody"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "nobody" in done.stderr
