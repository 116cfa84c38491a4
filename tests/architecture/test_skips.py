"""The guard in the root ``conftest.py``: a skip nobody has listed fails CI."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rig.repository import ROOT

SAMPLE = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_skipped(n):
    pytest.skip(f"needs a moon, phase {n}")

def test_passes():
    pass
"""
LISTED = '[[skip]]\ntest = "test_sample.py::test_skipped"\nreason = "needs a moon, *"\n'


def session(folder: Path, sample: str, listed: str, ci: str = "true") -> tuple[int, str]:
    """Run pytest on a sample beside the guard; return its exit status and output."""
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "tests").mkdir()
    (folder / "tests" / "skips.toml").write_text(listed)
    (folder / "test_sample.py").write_text(sample)
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_sample.py"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_unlisted_skip_fails(tmp_path: Path) -> None:
    """In CI a skip that is not listed fails the session and is named with its reason."""
    status, output = session(tmp_path, SAMPLE, "")
    assert status == 1
    assert "1 passed, 2 skipped" in output
    assert "test_sample.py::test_skipped[2]: needs a moon, phase 2" in output


def test_listed_skip_passes(tmp_path: Path) -> None:
    """A skip that is listed with its reason passes."""
    status, output = session(tmp_path, SAMPLE, LISTED)
    assert "1 passed, 2 skipped" in output
    assert status == 0


def test_skips_pass_outside_ci(tmp_path: Path) -> None:
    """On a developer's machine nothing is asked of skips."""
    status, _ = session(tmp_path, SAMPLE, "", ci="")
    assert status == 0


@pytest.mark.parametrize(
    "listed",
    [
        LISTED.replace("moon", "sun"),
        LISTED.replace("test_skipped", "test_skip"),
        LISTED.replace("test_sample", "test_samples"),
    ],
    ids=["reason", "name", "file"],
)
def test_entry_must_match(listed: str, tmp_path: Path) -> None:
    """An entry of another test, or with another reason, does not excuse a skip."""
    status, _ = session(tmp_path, SAMPLE, listed)
    assert status == 1


def test_entry_may_name_a_file(tmp_path: Path) -> None:
    """An entry may stand for all tests of a file."""
    listed = '[[skip]]\ntest = "test_sample.py"\nreason = "needs a moon, phase ?"\n'
    status, _ = session(tmp_path, SAMPLE, listed)
    assert status == 0


def test_skipped_module_fails(tmp_path: Path) -> None:
    """A module that skips itself as a whole is noticed too."""
    sample = "import pytest\npytest.importorskip('no_such_module')\n\ndef test_a(): ...\n"
    (tmp_path / "test_other.py").write_text("def test_b(): ...\n")
    status, output = session(tmp_path, sample, "")
    assert status != 0
    assert "not in tests/skips.toml" in output


def test_expected_failure_fails(tmp_path: Path) -> None:
    """An expected failure is a test that does not hold: it has to be listed as well."""
    sample = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_a():\n    assert 0\n"
    status, output = session(tmp_path, sample, "")
    assert status == 1
    assert "test_sample.py::test_a: known" in output


def test_list_is_well_formed() -> None:
    """Entries of the list name files that exist and say why."""
    entries = tomllib.loads((ROOT / "tests" / "skips.toml").read_text())["skip"]
    for entry in entries:
        assert entry.keys() == {"test", "reason"}
        assert (ROOT / entry["test"].partition("::")[0]).is_file(), entry
        assert len(entry["reason"].strip("* ")) > 10
