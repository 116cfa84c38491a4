"""Rules about the repository's layout: each takes its root, and yields what breaks the rule.

A finding is ``path: what is wrong``. The root is a tree of the committed files, nothing built.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from .dependencies import project, settings
from .repository import PACKAGES, modules

LONGEST_MODULE = 300  # lines
LONG_FUNCTION = 30  # lines
LONG_FUNCTIONS = 0.05  # share of a package's functions that may be longer
SERVICES = tuple(folder for folder in PACKAGES if folder.startswith("services/"))
_OF_PACKAGES = ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "changes")
_PARTS = {
    "procfs": "stat meminfo proc_stat proc_status proc_statm proc_cgroup proc_mountinfo errors",
    "collector": "cli config app containers ledger sampler summary output spool push",
    "receiver": "cli config app server interceptors servicers ingest query writer records store "
    "migrations tokens wire",
    "gateway": "cli config app model api web receiver schemas openapi static",
}
_OF_THE_ROOT = (
    *("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "uv.lock", "tox.ini"),
    *(".importlinter", "docker-compose.yaml", ".ci/run", "docs/configuration.md", "docs/events.md"),
    *("docs/architecture.md", "docs/errors.md", "docs/releasing.md", "docs/limitations.md"),
    *("docs/background/cgroups-by-pid.md", "docs/background/proc-stat-in-containers.md"),
    *("docs/background/sampling.md", "tests/contract", "tests/e2e", "tests/architecture"),
    *("bench", "deploy/kubernetes"),
)
# what is fetched when the gateway is built, and what is written by generators
_FETCHED = re.compile(r"\.min\.(?:js|css)$|(?:^|/)(?:swagger-ui|node_modules)/|\.woff2?$")
_BUILT = re.compile(r"_pb2(?:_grpc)?\.pyi?$|\.(?:pyc|whl|pyz)$|^proto/src/")
# generated, but committed → the test that it is fresh, and a word of that test
_FRESH = {
    "uv.lock": ("tox.ini", "--locked"),
    "proto/golden/run.json": ("proto/tests/test_golden.py", "run.json"),
    "proto/released/SHA256SUMS": ("proto/tests/test_released.py", "SHA256SUMS"),
    "docs/openapi.json": ("tests/architecture/test_docs.py", '"openapi.py"'),
    "docs/performance.md": ("tests/docs/test_claims.py", "performance.md"),
    "docs/configuration.md": ("tests/architecture/test_docs.py", '"configuration.py"'),
}


def files(root: Path) -> list[str]:
    """Return every file below a root, by its path from there."""
    found = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return sorted(path.relative_to(root).as_posix() for path in found)


def packages_are_complete(root: Path) -> Iterator[str]:
    """Find what a package lacks: name, documents, changelog, tests, the image of a service."""
    for folder in PACKAGES:
        wanted = [*_OF_PACKAGES, "Dockerfile"] if folder in SERVICES else _OF_PACKAGES
        yield from (
            f"{folder}: no {name}" for name in wanted if not (root / folder / name).exists()
        )
        if not list((root / folder / "tests").glob("test_*.py")):
            yield f"{folder}: no tests"
        if (name := project(root / folder)["name"]) != f"runmeter-{Path(folder).name}":
            yield f"{folder}: is called {name}"


def packages_are_five(root: Path) -> Iterator[str]:
    """Find packages that the workspace does not have, or that are none of the five."""
    globs = settings(root / "pyproject.toml")["tool"]["uv"]["workspace"]["members"]
    members = {
        path.relative_to(root).as_posix()
        for one in globs
        for path in root.glob(one)
        if path.is_dir()
    }
    others = {
        Path(name).parent.as_posix() for name in files(root) if name.endswith("pyproject.toml")
    }
    for folder in members ^ set(PACKAGES) | (others - {"."}) ^ set(PACKAGES):
        yield f"{folder}: not one of the five packages of the workspace"


def namespace_is_shared(root: Path) -> Iterator[str]:
    """Find what breaks the namespace ``runmeter`` (PEP 420), and modules outside a portion."""
    for folder in PACKAGES[1:]:
        portion = f"src/runmeter/{Path(folder).name}/"
        program = f"src/_runmeter_{Path(folder).name}.py"
        for name in files(root / folder):
            if name.startswith("src/") and not name.startswith(portion) and name != program:
                yield f"{folder}/{name}: not in the portion of the package"


def tests_are_no_packages(root: Path) -> Iterator[str]:
    """Find ``__init__.py`` in folders of tests: they are imported by path, not by name."""
    for name in files(root):
        if re.search(r"(?:^|/)tests/(?:.*/)?__init__\.py$", name):
            yield f"{name}: tests are no package"


def parts_are_there(root: Path) -> Iterator[str]:
    """Find parts that the architecture names and the tree does not have."""
    for part, names in _PARTS.items():
        (folder,) = [folder for folder in PACKAGES if Path(folder).name == part]
        source = root / folder / "src" / "runmeter" / part
        for name in names.split():
            if not (source / name).is_dir() and not (source / f"{name}.py").is_file():
                yield f"{folder}: no {name}"
    yield from (f"{name}: missing" for name in _OF_THE_ROOT if not (root / name).exists())


def root_holds_no_code(root: Path) -> Iterator[str]:
    """Find modules in the root, other than pytest's own, and a root that could be built."""
    yield from (f"{p.name}: code" for p in root.glob("*.py") if p.name != "conftest.py")
    found = settings(root / "pyproject.toml")
    if "build-system" in found or found["tool"]["uv"].get("package") is not False:
        yield "pyproject.toml: is a package"


def modules_are_short(root: Path) -> Iterator[str]:
    """Find modules over 300 lines."""
    for folder in PACKAGES[1:]:
        for name, path in modules(root / folder / "src").items():
            if (count := len(path.read_text().splitlines())) > LONGEST_MODULE:
                yield f"{name}: {count} lines"


def functions_are_short(root: Path) -> Iterator[str]:
    """Find packages in which more than one function of twenty has over 30 lines."""
    for folder in PACKAGES[1:]:
        lengths = [
            length
            for path in modules(root / folder / "src").values()
            for length in _function_lengths(path.read_text())
        ]
        if sum(length > LONG_FUNCTION for length in lengths) > LONG_FUNCTIONS * len(lengths):
            yield f"{folder}: too many long functions"


@functools.cache
def _function_lengths(source: str) -> list[int]:
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def contract_is_one(root: Path) -> Iterator[str]:
    """Find a second contract: definitions elsewhere, or of another package than runmeter.v1."""
    for name in files(root):
        if name.endswith(".proto"):
            if not name.startswith("proto/runmeter/v1/"):
                yield f"{name}: outside of the contract"
            if "\npackage runmeter.v1;\n" not in (root / name).read_text():
                yield f"{name}: not of the package runmeter.v1"


def nothing_built_is_committed(root: Path) -> Iterator[str]:
    """Find generated code, built files and what others made for browsers."""
    for name in files(root):
        if _BUILT.search(name) or _FETCHED.search(name):
            yield f"{name}: made or fetched when something is built"


def generated_files_are_fresh(root: Path) -> Iterator[str]:
    """Find committed files that a generator writes and no test compares with it."""
    for name, (test, word) in _FRESH.items():
        if not (root / name).exists():
            yield f"{name}: missing"
        if not (root / test).exists() or word not in (root / test).read_text():
            yield f"{name}: nothing tests that it is fresh"


def releases_are_recorded(root: Path) -> Iterator[str]:
    """Find a version of the contract before the current one whose messages are not kept."""
    version = project(root / "proto")["version"]
    kept = {path.stem for path in (root / "proto" / "released").glob("*.binpb")}
    text = (root / "proto" / "CHANGELOG.md").read_text()
    released = set(re.findall(r"^## ([0-9.]+) ", text, re.MULTILINE))
    for one in released - kept:
        yield f"proto/released: no {one}"
    if not kept:
        yield f"proto/released: nothing to compare {version} with"
