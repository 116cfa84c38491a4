"""Write a fragment of a changelog: ``change.py PACKAGE KIND TEXT``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from releasing.commands import ReleaseError
from releasing.packages import package_of

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("added", "changed", "fixed", "removed", "security")  # as in towncrier.toml
USAGE = f'usage: make change PACKAGE=receiver KIND={"|".join(KINDS)} TEXT="One sentence."'


def write(package: str, kind: str, text: str) -> Path:
    """Write a fragment, named after the first words of its text.

    Raises:
        ReleaseError: there is no such package or kind, no text, or this fragment exists.
    """
    if kind not in KINDS:
        what = f"KIND={kind} is no kind of change" if kind else "KIND= is missing"
        raise ReleaseError(f"{what}: give one of {', '.join(KINDS)}")
    if not text.strip():
        raise ReleaseError('TEXT= is missing: give one sentence, like TEXT="A `--new` flag."')
    words = re.findall(r"[a-z0-9]+", text.lower())[:5]
    path = package_of(ROOT, package).path / "changes" / f"+{'-'.join(words)}.{kind}.md"
    path.parent.mkdir(exist_ok=True)
    try:
        with path.open("x") as file:
            file.write(f"{text.strip()}\n")
    except FileExistsError as error:
        raise ReleaseError(f"{path.relative_to(ROOT)} exists: edit that") from error
    return path


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(USAGE)
    try:
        print(write(*sys.argv[1:]).relative_to(ROOT))
    except ReleaseError as error:
        sys.exit(f"change.py: {error}")
