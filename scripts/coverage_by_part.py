"""Measure which branches the tests of each package reach, in the programs they start as well.

Prints a table of the packages and of the parts that matter most, with the lines that are missed
there. The exit status is 1 if a part is below 95 %, or a test fails. Arguments name packages;
without any, all.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FLOOR_PERCENT = 95.0
PACKAGES = {
    "procfs": "libs/procfs",
    "service": "libs/service",
    "collector": "services/collector",
    "receiver": "services/receiver",
    "gateway": "services/gateway",
}
PARTS = {
    "procfs": ("libs/procfs/src/",),
    "ledger": ("services/collector/src/runmeter/collector/sampling/ledger.py",),
    "summary": ("services/collector/src/runmeter/collector/summary/summary.py",),
    "tokens": ("services/receiver/src/runmeter/receiver/tokens.py",),
    "wire": (
        "services/receiver/src/runmeter/receiver/wire/",
        "services/gateway/src/runmeter/gateway/receiver/",
    ),
}
SETTINGS = """\
[run]
branch = true
patch = subprocess
source =
    {source}
data_file = {folder}/data
[report]
exclude_also =
    if TYPE_CHECKING:
    ^    \\.\\.\\.$
"""


class Coverage(NamedTuple):
    """Statements and branches of some files, and how many of both were reached."""

    statements: int
    branches: int
    reached: int
    missed: list[str]

    @property
    def percent(self) -> float:
        """Reached statements and branches of all, in percent."""
        count = self.statements + self.branches
        return 100.0 * self.reached / count if count else 100.0


def measure(package: str, folder: Path) -> tuple[dict[str, Any], bool]:
    """Run the tests of a package.

    Returns coverage's report of its files by their path, and whether every test passed.
    """
    settings = folder / "coveragerc"
    source = ROOT / PACKAGES[package] / "src"
    settings.write_text(SETTINGS.format(source=source, folder=folder))
    coverage = [sys.executable, "-m", "coverage"]
    common = f"--rcfile={settings}"
    tests = ["-m", "pytest", "-q", f"{PACKAGES[package]}/tests"]
    done = subprocess.run([*coverage, "run", common, *tests], cwd=ROOT, check=False)
    report = folder / "report.json"
    for command in (["combine", "--quiet"], ["json", "--quiet", f"-o{report}"]):
        subprocess.run([*coverage, command[0], common, *command[1:]], cwd=ROOT, check=True)
    files: dict[str, Any] = json.loads(report.read_text())["files"]
    return files, done.returncode == 0


def total(files: dict[str, Any], *prefixes: str) -> Coverage:
    """Add up the files below some paths."""
    chosen = {name: found for name, found in files.items() if name.startswith(prefixes)}
    summaries = [found["summary"] for found in chosen.values()]
    return Coverage(
        sum(one["num_statements"] for one in summaries),
        sum(one["num_branches"] for one in summaries),
        sum(one["covered_lines"] + one["covered_branches"] for one in summaries),
        [one for name, found in chosen.items() for one in _missed(name, found)],
    )


def _missed(name: str, found: dict[str, Any]) -> Iterator[str]:
    lines = set(found["missing_lines"]) | {line for line, _ in found["missing_branches"]}
    if lines:
        yield f"{name}: {', '.join(map(str, sorted(lines)))}"


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=", ".join(PACKAGES))
    chosen = parser.parse_args().packages or list(PACKAGES)
    if unknown := set(chosen) - PACKAGES.keys():
        parser.error(f"no package {', '.join(sorted(unknown))}: there are {', '.join(PACKAGES)}")
    files: dict[str, Any] = {}
    failed = []
    for package in chosen:
        with tempfile.TemporaryDirectory(prefix="coverage-") as folder:
            reported, passed = measure(package, Path(folder))
        files |= reported
        if not passed:
            failed.append(package)
    packages = {name: total(files, f"{PACKAGES[name]}/src/") for name in chosen}
    parts = {name: total(files, *prefixes) for name, prefixes in PARTS.items()}
    parts = {name: found for name, found in parts.items() if found.statements}
    for title, rows in (("package", packages), ("part", parts)):
        print(f"\n{title:12}{'statements':>12}{'branches':>10}{'reached':>10}")
        for name, found in rows.items():
            print(f"{name:12}{found.statements:12}{found.branches:10}{found.percent:8.1f} %")
    low = [name for name, found in parts.items() if found.percent < FLOOR_PERCENT]
    print(*(one for found in parts.values() for one in found.missed), sep="\n")
    if low:
        print(f"below {FLOOR_PERCENT:.0f} %: {', '.join(low)}")
    if failed:
        print(f"tests fail: {', '.join(failed)}")
    return 1 if low or failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
