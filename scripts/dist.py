"""Build what a tag names, into dist/: ``dist.py runmeter-proto==1.2.3``, with the tag checked out.

The same bytes as those of the release: the dates inside are those of the commit.
"""

from __future__ import annotations

import sys
from pathlib import Path

from releasing.commands import ReleaseError, run
from releasing.packages import package_of
from releasing.steps import Release, building

ROOT = Path(__file__).resolve().parents[1]


def tagged(tag: str) -> Release:
    """Return the release that a tag names.

    Raises:
        ReleaseError: it names none, or is not what is checked out.
    """
    distribution, _, version = tag.partition("==")
    package = package_of(ROOT, distribution)
    if tag not in run(["git", "tag", "--points-at", "HEAD"], ROOT).split():
        raise ReleaseError(f"{tag} is not what is checked out: git switch --detach '{tag}'")
    if package.version != version:
        raise ReleaseError(
            f"{tag} is a tag on version {package.version}: only `make release` makes tags, "
            "delete this one"
        )
    return Release(package, version, has_image=False)


def main(arguments: list[str]) -> str | None:
    """Build, and return the text of a failure."""
    if len(arguments) != 1:
        return "usage: dist.py TAG"
    try:
        release = tagged(arguments[0])
        for step in building(release):
            print(step.text)
            step.do(release)
    except ReleaseError as error:
        return f"dist.py: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
