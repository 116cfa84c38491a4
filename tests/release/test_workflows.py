"""Workflows and templates of the forges: their schema, pinned actions, targets that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from rig.repository import ROOT

pytestmark = pytest.mark.slow

WORKFLOWS = [
    ROOT / name
    for name in (
        *(".github/workflows/test.yaml", ".github/workflows/release.yaml"),
        *(".forgejo/workflows/test.yaml", ".forgejo/workflows/release.yaml"),
        ".forgejo/workflows/containers.yaml",
    )
]
FORMS = [ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yaml" for name in ("bug", "feature")]
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)


def check(schema: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Compare files with a schema that check-jsonschema carries: nothing is fetched."""
    program = Path(sys.executable).with_name("check-jsonschema")
    return subprocess.run(
        [program, "--builtin-schema", f"vendor.{schema}", *paths],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_schema_of_workflows() -> None:
    """Every workflow is one, of GitHub's schema; Forgejo's are written in the same words."""
    assert sorted(ROOT.glob(".*/workflows/*")) == sorted(WORKFLOWS)
    done = check("github-workflows", *WORKFLOWS)
    assert done.returncode == 0, done.stdout


def test_schema_of_issue_forms() -> None:
    """The forms of issues are of GitHub's schema, which Forgejo reads, too."""
    done = check("github-issue-forms", *FORMS)
    assert done.returncode == 0, done.stdout


def test_a_wrong_workflow_is_found(tmp_path: Path) -> None:
    """A workflow with a misspelt key is not one."""
    path = tmp_path / "test.yaml"
    path.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "run-on:"))
    assert check("github-workflows", path).returncode == 1


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.parts[-3] + "-" + path.stem)
def test_actions_are_pinned(path: Path) -> None:
    """Each action has a full version, three numbers."""
    used = re.findall(r"uses: *(\S+)", path.read_text())
    assert used
    assert [one for one in used if not re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", one)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.parts[-3] + "-" + path.stem)
def test_what_is_run_exists(path: Path) -> None:
    """Each `make` target and each script of a workflow is there."""
    text = path.read_text()
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    lines = re.findall(r"run: make ((?:[a-z-]+ ?)+)", text)
    wanted = {word for line in lines for word in line.split()}
    assert wanted or ".ci/run" in text
    assert wanted <= targets
    assert (ROOT / ".ci" / "run").exists()


def test_programs_of_the_tests_are_read_from_ci() -> None:
    """The list that workflows take out of .ci/run by sed is there in that form."""
    (listed,) = re.findall(r'^packages="(.*)"$', (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert "postgresql" in listed.split()


def test_no_expression_in_a_command() -> None:
    """Names that others choose reach commands as variables, never as text of the script."""
    for path in WORKFLOWS:
        for line in path.read_text().splitlines():
            assert not ("run:" in line and "${{" in line), (path, line)
