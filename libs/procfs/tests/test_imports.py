"""What the package imports: the standard library, and little of it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import runmeter.procfs

SOURCES = sorted(Path(runmeter.procfs.__file__).parent.glob("**/*.py"))
# typing itself loads re, enum and others on some versions: these are counted as its own
BASELINE = "import collections.abc, errno, os, typing"
HEAVY = {"logging", "dataclasses", "asyncio", "json", "datetime", "pathlib", "inspect", "shutil"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_standard_library_only(path: Path) -> None:
    """Every import is of the standard library or of this package."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module or "")
    foreign = {
        name
        for name in imported
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not name.startswith("runmeter.procfs")
    }
    assert not foreign
    assert not imported & (HEAVY | {"re", "enum"})


def loaded(code: str) -> set[str]:
    """Return the modules a fresh interpreter has after running the code."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"{code}; import sys; print(*sys.modules)"],
        env={},  # whoever measures what is reached loads something, too
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_import_is_light() -> None:
    """Importing the package loads its own modules and nothing else beyond typing and os."""
    before = loaded(BASELINE)
    after = loaded(f"{BASELINE}; import runmeter.procfs")
    assert "runmeter.procfs.fs" in after
    assert {name for name in after - before if not name.startswith("runmeter")} == set()
    assert not HEAVY & after


def test_all_is_complete_and_sorted() -> None:
    """What __all__ names is there, sorted, and nothing public of the records is missing."""
    names = runmeter.procfs.__all__
    assert names == sorted(names)
    assert all(hasattr(runmeter.procfs, name) for name in names)
    assert {"ProcFS", "ParseError", "decode_name"} <= set(names)
