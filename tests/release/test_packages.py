"""What every package has for its releases."""

import tomllib
from pathlib import Path

import pytest
from rig.repository import PACKAGES, ROOT

KINDS = {"added", "changed", "fixed", "removed", "security"}


@pytest.mark.parametrize("folder", PACKAGES)
def test_the_licence_is_that_of_the_repository(folder: str) -> None:
    """Each package names Apache-2.0, and has the text, which goes into wheel and sdist."""
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert (ROOT / folder / "LICENSE").read_text() == text


@pytest.mark.parametrize("folder", PACKAGES)
def test_the_changelog_is_written_by_releases(folder: str) -> None:
    """What is not released stands in changes/, one fragment each, not in CHANGELOG.md."""
    text = (ROOT / folder / "CHANGELOG.md").read_text()
    assert text.count("<!-- releases -->\n") == 1
    assert "unreleased" not in text.lower()
    above, below = text.split("<!-- releases -->\n")
    assert "\n## " not in above
    assert below.strip() == "" or below.strip().startswith("## ")


@pytest.mark.parametrize("folder", PACKAGES)
def test_fragments_are_of_a_kind(folder: str) -> None:
    """Each fragment is +name.kind.md, of a kind that towncrier.toml knows, and says something."""
    declared = tomllib.loads((ROOT / "towncrier.toml").read_text())["tool"]["towncrier"]["type"]
    assert {kind["directory"] for kind in declared} == KINDS
    for path in Path(ROOT, folder, "changes").glob("[!.]*"):
        name, kind, ending = path.name.rsplit(".", 2)
        assert name.startswith("+"), path
        assert kind in KINDS, path
        assert ending == "md", path
        assert path.read_text().strip(), path
