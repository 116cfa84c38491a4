"""Where things are in the repository."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "proto" / "golden"
PACKAGES = (
    *("proto", "libs/procfs", "libs/service"),
    *("services/collector", "services/receiver", "services/gateway"),
)
"""Folders of the packages."""
SOURCES = tuple(ROOT / package / "src" for package in PACKAGES)
"""Source folders of the packages; ``proto`` holds generated code."""


def modules(*sources: Path) -> dict[str, Path]:
    """Return every module of ours by its name, without generated code unless asked for."""
    found = {}
    for source in sources or SOURCES[1:]:
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def committed_files() -> list[Path]:
    """Return the files git knows, as they are in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file()]
