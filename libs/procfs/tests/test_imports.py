"""Importing the package loads no heavy module."""

import subprocess
import sys

# typing loads re, enum and others on some versions: these count as its own
BASELINE = "import collections.abc, errno, os, typing"


def loaded(code: str) -> set[str]:
    """Return the modules that a new interpreter has loaded after running the code."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"{code}; import sys; print(*sys.modules)"],
        env={},  # a variable can make the interpreter load coverage tools
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_import_is_light() -> None:
    """Importing the package loads only its own modules, typing and os."""
    before = loaded(BASELINE)
    after = loaded(f"{BASELINE}; import runmeter.procfs")
    assert "runmeter.procfs.fs" in after
    assert {name for name in after - before if not name.startswith("runmeter")} == set()
