"""The guard in the root ``conftest.py``."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rig.repository import ROOT

pytestmark = pytest.mark.slow

SAMPLE = """
import pytest

def test_skipped():
    pytest.skip("needs a moon")

def test_listed():
    pytest.skip("needs chromium")
"""


def test_a_skip_for_another_reason_fails_in_ci(tmp_path: Path) -> None:
    """A skip whose reason is not listed is named and fails the session in CI, not elsewhere."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = {
        ci: subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_sample.py"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "CI": ci},
            capture_output=True,
            text=True,
            timeout=60,
        )
        for ci in ("true", "")
    }
    assert done["true"].returncode == 1
    assert "does not list: test_sample.py::test_skipped: needs a moon" in done["true"].stdout
    assert "test_listed" not in done["true"].stdout
    assert done[""].returncode == 0
