"""What a release does, step by step: each says what it would do, and does it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from . import contract, sbom
from .commands import ReleaseError, run
from .packages import Package, set_version


class Release(NamedTuple):
    """One release to be made."""

    package: Package
    version: str
    has_image: bool
    """Build an image, where an engine answers."""

    @property
    def tag(self) -> str:
        """The tag in git."""
        return f"{self.package.distribution}=={self.version}"

    @property
    def output(self) -> Path:
        """The folder that what is built goes to."""
        return self.package.root / "dist" / self.tag


class Step(NamedTuple):
    """A step, and the sentence that announces it."""

    text: str
    do: Callable[[Release], None]


def steps(release: Release) -> list[Step]:
    """Return what is to be done, in order: the tag comes last, when everything is built."""
    package, version, folder = release.package, release.version, release.package.folder
    held = ", ".join(str(path.relative_to(package.root)) for path, _ in package.copies())
    count = len(package.fragments())
    found = [
        Step(f"write {folder}/CHANGELOG.md from {count} fragments in {folder}/changes", _changelog),
        Step(f"set the version {version} in {held}, uv.lock", _bump),
    ]
    if package.name == "proto":
        found.append(Step(f"record the contract as proto/released/{version}.binpb", _record))
    return [
        *found,
        Step(f"commit as {_subject(release)!r}", _commit),
        *building(release),
        Step(f"tag as {release.tag}", _tag),
    ]


def building(release: Release) -> list[Step]:
    """Return the steps that build what is committed, and change no committed file."""
    package, version = release.package, release.version
    found = [
        Step(f"build wheel and sdist into {release.output.relative_to(package.root)}", _build),
        Step("list its dependencies there, as an SBOM", _sbom),
    ]
    if release.has_image and (package.path / "Dockerfile").exists():
        if _engine_answers():
            found.append(Step(f"build the image {package.distribution}:{version}", _image))
        else:
            found.append(Step("build no image: no Docker engine answers", _nothing))
    if package.name == "collector":
        found.append(Step("build collector.pyz", _pyz))
    return found


def draft(release: Release) -> str:
    """Return what the changelog would get."""
    return run([*_towncrier(release), "--draft"], release.package.root).strip()


def start(root: Path) -> str:
    """Return the commit that a failed release goes back to."""
    return run(["git", "rev-parse", "HEAD"], root)


def _program(name: str) -> str:
    """Find a program beside this Python, else on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ReleaseError(f"the program {name} is missing: make setup")
    return found


def _towncrier(release: Release) -> list[str]:
    package = release.package
    return [
        *(_program("towncrier"), "build", "--config", "towncrier.toml"),
        *("--dir", package.folder, "--name", package.distribution),
        *("--version", release.version, "--date", datetime.now(UTC).date().isoformat()),
    ]


def _subject(release: Release) -> str:
    return f"Release {release.package.distribution} {release.version}"


def _changelog(release: Release) -> None:
    run([*_towncrier(release), "--yes"], release.package.root)


def _bump(release: Release) -> None:
    set_version(release.package, release.version)
    run([_program("uv"), "lock", "--quiet"], release.package.root)


def _record(release: Release) -> None:
    contract.record(release.package.root, release.version)


def _commit(release: Release) -> None:
    run(["git", "add", "--all"], release.package.root)
    run(["git", "commit", "--quiet", "--message", _subject(release)], release.package.root)


def _build(release: Release) -> None:
    """Build the sdist, and the wheel from it, dated as the commit: the same bytes anywhere."""
    root, package = release.package.root, release.package
    epoch = run(["git", "log", "-1", "--format=%ct"], root)
    command = [_program("uv"), "build", "--quiet", "--package", package.distribution]
    run([*command, "--out-dir", release.output], root, {"SOURCE_DATE_EPOCH": epoch})
    (release.output / ".gitignore").unlink(missing_ok=True)  # uv's: dist/ is ignored anyway


def _sbom(release: Release) -> None:
    package = release.package
    sbom.write(package, release.output / f"{package.distribution}-{release.version}.cdx.json")


def _image(release: Release) -> None:
    package = release.package
    image = f"{package.distribution}:{release.version}"
    dockerfile = f"{package.folder}/Dockerfile"
    run(["docker", "build", "--file", dockerfile, "--tag", image, "."], package.root)


def _pyz(release: Release) -> None:
    """Build the collector as one file by `make pyz`, which leaves it in dist/."""
    root = release.package.root
    run(["make", "pyz"], root)
    shutil.copy2(root / "dist" / "collector.pyz", release.output)


def _tag(release: Release) -> None:
    message = f"{release.package.distribution} {release.version}"
    run(["git", "tag", "--annotate", "--message", message, release.tag], release.package.root)


def _nothing(release: Release) -> None:
    """Do nothing: the step says why."""


def _engine_answers() -> bool:
    try:
        run(["docker", "version"], Path.cwd())
    except ReleaseError:
        return False
    return True
