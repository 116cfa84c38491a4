"""What a distribution runs with, as a CycloneDX bill of materials."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from .commands import run
from .packages import Package, packages


def write(package: Package, path: Path) -> None:
    """Write the dependencies of a package, at the versions of uv.lock with their hashes.

    Raises:
        ReleaseError: uv.lock is not up to date.
    """
    uv = Path(sys.executable).with_name("uv")
    exported = run(
        [
            *(uv, "export", "--quiet", "--locked", "--no-dev", "--no-emit-workspace"),
            *("--no-header", "--no-annotate", "--package", package.distribution),
        ],
        package.root,
    )
    ours = [f"{other.distribution}=={other.version}" for other in _needed(package)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text("\n".join([*ours, exported, ""]))
        run(
            [
                *(Path(sys.executable).with_name("cyclonedx-py"), "requirements"),
                *("--pyproject", package.path / "pyproject.toml", "--mc-type", "application"),
                *("--output-reproducible", "--of", "JSON", "--output-file", path, requirements),
            ],
            package.root,
        )


def _needed(package: Package) -> list[Package]:
    """Return the packages of ours that a package needs; none of them needs another."""
    return [p for p in packages(package.root).values() if package.range_of(p) is not None]
