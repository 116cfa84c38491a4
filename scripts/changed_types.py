"""Check the types of the packages that hold the given files: a hook before commits.

mypy remembers what it has seen, so that all but the first run are quick.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def source_folders(names: list[str]) -> list[str]:
    """Return the src folders of the packages of some files, sorted."""
    return sorted({"/".join(Path(name).parts[:3]) for name in names})


def main(names: list[str]) -> int:
    """Run mypy where there is something to check, and return its exit code."""
    folders = source_folders(names)
    if not folders:
        return 0
    mypy = Path(sys.executable).with_name("mypy")
    return subprocess.run([mypy, *folders], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
