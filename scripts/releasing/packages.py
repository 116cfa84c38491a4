"""The packages of the workspace, their versions, and who declares which range of whom."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from .commands import ReleaseError, run

PREFIX = "runmeter-"
# where else than in pyproject.toml a version stands; each pattern is found exactly once
COPIES = {
    "pyproject.toml": r'(?m)^(version = ")[^"]+(")$',
    "Dockerfile": r'(org\.opencontainers\.image\.version=")[^"]+(")',
    "src/runmeter/{name}/version.py": r'(?m)^(VERSION = ")[^"]+(")$',
}
THREE_NUMBERS = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}")


class Package(NamedTuple):
    """One distribution of the repository."""

    root: Path
    """Root of the repository."""
    folder: str
    """Folder of the package, from the root: ``services/receiver``."""
    version: str
    """What its pyproject.toml says."""
    requirements: tuple[Requirement, ...]
    """What it declares of packages of ours."""

    @property
    def name(self) -> str:
        """Its short name: ``receiver``."""
        return Path(self.folder).name

    @property
    def distribution(self) -> str:
        """Its name on a package index: ``runmeter-receiver``."""
        return PREFIX + self.name

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.root / self.folder

    def fragments(self) -> list[Path]:
        """Return the fragments of its next changelog, sorted."""
        return sorted((self.path / "changes").glob("*.md"))

    def copies(self) -> Iterator[tuple[Path, str]]:
        """Yield each file that holds the version, and the pattern that finds it there."""
        for name, pattern in COPIES.items():
            path = self.path / name.format(name=self.name)
            if path.exists():
                yield path, pattern

    def tags(self) -> list[Version]:
        """Return the versions that git has tags of, ascending."""
        listed = run(["git", "tag", "--list", f"{self.distribution}==*"], self.root)
        return sorted(Version(tag.partition("==")[2]) for tag in listed.split())

    def range_of(self, other: Package) -> SpecifierSet | None:
        """Return the versions of another package that this one admits, None if it needs it not."""
        for requirement in self.requirements:
            if requirement.name == other.distribution:
                return requirement.specifier
        return None


def packages(root: Path) -> dict[str, Package]:
    """Return the packages of the workspace by their short names."""
    workspace = tomllib.loads((root / "pyproject.toml").read_text())
    found = {}
    for member in workspace["tool"]["uv"]["workspace"]["members"]:
        for path in sorted(root.glob(f"{member}/pyproject.toml")):
            project = tomllib.loads(path.read_text())["project"]
            declared = map(Requirement, project.get("dependencies", []))
            package = Package(
                root,
                path.parent.relative_to(root).as_posix(),
                project["version"],
                tuple(one for one in declared if one.name.startswith(PREFIX)),
            )
            found[package.name] = package
    return found


def package_of(root: Path, name: str) -> Package:
    """Return a package by its short or its distribution's name.

    Raises:
        ReleaseError: there is none.
    """
    known = packages(root)
    package = known.get(name.removeprefix(PREFIX))
    if package is None:
        what = f"there is no package {name!r}" if name else "PACKAGE= is missing"
        raise ReleaseError(f"{what}: give one of {', '.join(sorted(known))}")
    return package


def set_version(package: Package, version: str) -> list[Path]:
    """Write the version where it stands, and return the files that hold it.

    Raises:
        ReleaseError: a file does not hold it exactly once.
    """
    written = []
    for path, pattern in package.copies():
        text, count = re.subn(pattern, rf"\g<1>{version}\g<2>", path.read_text())
        if count != 1:
            raise ReleaseError(f"{path.relative_to(package.root)} holds {count} versions, not one")
        path.write_text(text)
        written.append(path)
    return written
