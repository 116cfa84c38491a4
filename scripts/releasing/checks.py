"""What has to hold before a release; each check returns sentences that say what to do."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import Version

from . import contract
from .commands import run
from .packages import THREE_NUMBERS, Package, packages


def problems(package: Package, version: str) -> list[str]:
    """Return everything that is in the way of a release, in the order of mending; `[]` if nothing.

    Tests are not among it: they are run when all of this holds.
    """
    if not THREE_NUMBERS.fullmatch(version):
        return [f"{version!r} is not a version: give three numbers, like 1.2.3"]
    found = [
        *_tree(package),
        *_version(package, version),
        *_fragments(package),
        *_dependants(package, version),
        *_dependencies(package),
    ]
    if package.name == "proto":
        found += _contract(package, version)
    return found


def _tree(package: Package) -> Iterator[str]:
    branch = run(["git", "rev-parse", "--abbrev-ref", "HEAD"], package.root)
    if branch != "main":
        yield f"releases are made on main, this is {branch}: git switch main"
    changed = run(["git", "status", "--porcelain"], package.root)
    if changed:
        yield f"the working tree is not clean, commit or stash first:\n{changed}"


def _version(package: Package, version: str) -> Iterator[str]:
    wanted = Version(version)
    if wanted < Version(package.version):
        yield f"{version} is below {package.version} of {package.folder}/pyproject.toml: go up"
    released = package.tags()
    if wanted in released:
        yield f"the tag {package.distribution}=={version} exists: a release never changes, go up"
    elif released and wanted < released[-1]:
        yield f"{version} is below {released[-1]}, the last release: go up"


def _fragments(package: Package) -> Iterator[str]:
    if not package.fragments():
        yield (
            f"{package.folder}/changes has no fragment, so there is nothing to release: "
            f'make change PACKAGE={package.name} KIND=fixed TEXT="…"'
        )


def _dependants(package: Package, version: str) -> Iterator[str]:
    for other in packages(package.root).values():
        admitted = other.range_of(package)
        if admitted is not None and version not in admitted:
            yield (
                f"{other.folder}/pyproject.toml declares {package.distribution}{admitted}, which "
                f"does not admit {version}: widen the range there, run `make lock test-lowest` and "
                "the tests, commit, and release again"
            )


def _dependencies(package: Package) -> Iterator[str]:
    for other in packages(package.root).values():
        admitted = package.range_of(other)
        if admitted is not None and not any(tag in admitted for tag in other.tags()):
            yield (
                f"{package.distribution} needs {other.distribution}{admitted}, of which nothing is "
                f"released: release {other.name} first"
            )


def warnings(package: Package) -> list[str]:
    """Return what is not in the way, but deserves a thought."""
    return [
        f"{other.distribution} has unreleased changes: if {package.name} needs one of them, "
        f"release {other.name} first and raise the lower bound in {package.folder}/pyproject.toml"
        for other in packages(package.root).values()
        if package.range_of(other) is not None and other.fragments()
    ]


def _contract(package: Package, version: str) -> Iterator[str]:
    broken = contract.incompatible_changes(package.root)
    for text in broken:
        yield (
            "the contract breaks released ones: take the change back, or reserve what was "
            f"removed (proto/README.md):\n{text}"
        )
    if not broken and contract.differs_from_record(package.root, version):
        yield f"{version} is recorded in proto/released with another contract: go up"
