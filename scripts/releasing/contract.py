"""The contract of the working tree: is it compatible with the released ones, and record it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .commands import ReleaseError, run


def incompatible_changes(root: Path) -> list[str]:
    """Return what the contract breaks of a released one; one sentence each, `[]` if nothing."""
    with _generated(root) as code:
        try:
            _record_release(root, code, "--check")
        except ReleaseError as error:
            return [str(error)]
    return []


def differs_from_record(root: Path, version: str) -> bool:
    """Tell whether a version is recorded with another contract than that of the working tree."""
    if not _recorded(root, version).exists():
        return False
    with _generated(root) as code:
        return _record_release(root, code, "--same", version) != "same"


def record(root: Path, version: str) -> None:
    """Record the contract as that of a version, unless it is recorded already."""
    if not _recorded(root, version).exists():
        with _generated(root) as code:
            _record_release(root, code, version)


def _recorded(root: Path, version: str) -> Path:
    return root / "proto" / "released" / f"{version}.binpb"


def _record_release(root: Path, code: Path, *arguments: str) -> str:
    """Run proto/scripts/record_release.py with the code of this tree, not what is installed."""
    script = root / "proto" / "scripts" / "record_release.py"
    return run([sys.executable, script, *arguments], root, {"PYTHONPATH": str(code)})


@contextmanager
def _generated(root: Path) -> Iterator[Path]:
    """Generate the code of the contract into a folder that is gone afterwards."""
    hook = "import runpy, sys, pathlib; hook = runpy.run_path(sys.argv[1] + '/hatch_build.py')"
    code = f"{hook}; hook['_generate'](*map(pathlib.Path, sys.argv[1:]))"
    with TemporaryDirectory() as folder:
        run([sys.executable, "-c", code, root / "proto", folder], root)
        yield Path(folder)
