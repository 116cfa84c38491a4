"""Change the code in hundreds of small ways, and see whether a test fails for each: ``mutmut``.

A change that no test notices, a survivor, has to be explained in scripts/mutation-survivors.toml:
``becomes`` is the line as it then reads, ``was`` the line as it is. The exit status is 1 if one is
not, or if an explanation is of no survivor. Arguments name parts; without any, all of them run.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
EXPLAINED = ROOT / "scripts" / "mutation-survivors.toml"
CAUGHT = ("killed", "timeout")
RESULT = re.compile(r"^ +(\S+): (.+)$", re.MULTILINE)
SETTINGS = """\
[mutmut]
source_paths = src
only_mutate = src/{module}
also_copy =
    src
    tests
pytest_add_cli_args =
    --import-mode=importlib
    --override-ini=pythonpath={rig}
pytest_add_cli_args_test_selection =
    {tests}
"""


class Part(NamedTuple):
    """What is changed, and the tests that are to notice."""

    package: str
    module: str
    tests: tuple[str, ...]


PARTS = {
    "ledger": Part(
        "services/collector",
        "runmeter/collector/sampling/ledger.py",
        ("sampling/test_ledger.py",),
    ),
    "summary": Part(
        "services/collector", "runmeter/collector/summary/summary.py", ("summary/test_summary.py",)
    ),
    "tokens": Part("services/receiver", "runmeter/receiver/tokens.py", ("test_tokens.py",)),
}


class Survivor(NamedTuple):
    """One change of one line that no test notices."""

    module: str
    was: str
    becomes: str


def workplace(part: Part, folder: Path) -> Path:
    """Copy the package to where mutmut may write, with what its tests read beside it."""
    for name in ("proto", "libs"):
        (folder / name).symlink_to(ROOT / name)
    place = folder / "package"
    for name in ("src", "tests"):
        shutil.copytree(ROOT / part.package / name, place / name)
    tests = "\n    ".join(f"tests/{name}" for name in part.tests)
    text = SETTINGS.format(module=part.module, tests=tests, rig=ROOT / "tests")
    (place / "setup.cfg").write_text(text)
    return place


def mutmut(place: Path, *arguments: str) -> str:
    """Run mutmut and return what it prints.

    Raises:
        SystemExit: it failed, for instance because a test fails on the code as it is.
    """
    command = [Path(sys.executable).with_name("mutmut"), *arguments]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mutmut {arguments[0]} failed:\n{done.stdout[-2000:]}{done.stderr}")
    return done.stdout


def survivor(module: str, diff: str) -> Survivor:
    """Return what a difference of one function changes."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    was = [line[1:].strip() for line in lines if line.startswith("-")]
    becomes = [line[1:].strip() for line in lines if line.startswith("+")]
    return Survivor(module, "\n".join(was), "\n".join(becomes))


def survivors(part: Part, children: int) -> Iterator[Survivor]:
    """Run all changes of a part; say how many were caught, and yield the others."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        place = workplace(part, Path(folder))
        mutmut(place, "run", "--max-children", str(children))
        results = dict(RESULT.findall(mutmut(place, "results", "--all", "true")))
        counts = Counter(results.values())
        if not counts["killed"]:
            raise SystemExit(f"{part.module}: no change was caught: {dict(counts)}")
        summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        print(f"{part.module}: {len(results)} changes: {summary}", flush=True)
        for name, status in results.items():
            if status not in CAUGHT:
                yield survivor(part.module, mutmut(place, "show", name))


def explained() -> set[Survivor]:
    """Read the explanations."""
    entries = tomllib.loads(EXPLAINED.read_text()).get("survivor", [])
    assert all(entry["reason"] for entry in entries)
    return {Survivor(entry["module"], entry["was"], entry["becomes"]) for entry in entries}


def main() -> int:
    """Run the parts and compare; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--max-children", type=int, default=2)
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    parts = [PARTS[name] for name in arguments.parts or PARTS]
    found = {one for part in parts for one in survivors(part, arguments.max_children)}
    known = {one for one in explained() if one.module in {part.module for part in parts}}
    for one in sorted(found - known):
        print(f"\nnot noticed, not explained: {one.module}\n- {one.was}\n+ {one.becomes}")
    for one in sorted(known - found):
        print(f"\nexplained, but noticed or gone: {one.module}\n- {one.was}\n+ {one.becomes}")
    return 1 if found != known else 0


if __name__ == "__main__":
    raise SystemExit(main())
