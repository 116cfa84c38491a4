"""Rules about the tools: each takes the root of a tree, and yields what breaks the rule.

A finding is ``path: what is wrong``, as in ``layout``.
"""

import ast
import configparser
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from .dependencies import declared, imported, project, settings
from .layout import SERVICES, files
from .repository import PACKAGES, modules

PYTHON = "3.11"
_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_TARGETS = (
    *("setup", "demo", "up", "test", "test-containers", "soak", "bench", "coverage", "mutation"),
    *("lint", "docs"),
)
_STUBS = ("types-grpcio", "types-protobuf")
_GENERATORS = ("protobuf", "grpcio")
_UV_NUMBER = re.compile(r"\buv==\d")
_NOW = re.compile(r"SOURCE_DATE_EPOCH\W+\$\(?(?:shell )?date")


def dependencies_are_those_imported(root: Path) -> Iterator[str]:
    """Find what a package imports and does not declare, and the other way round."""
    for folder in PACKAGES:
        wanted, needed = declared(root / folder), imported(root / folder)
        if folder == "proto":  # its modules are generated, where it is built
            needed = dict.fromkeys(_GENERATORS, "generated code")
        for name in needed.keys() - wanted.keys():
            yield f"{folder}: {needed[name]} imports {name}, which is not declared"
        yield from (f"{folder}: {name} is not imported" for name in wanted.keys() - needed.keys())


def dependencies_have_bounds(root: Path) -> Iterator[str]:
    """Find dependencies without a lowest version, and floors of gRPC that are not proto's."""
    floors = declared(root / "proto")
    for folder in PACKAGES:
        for name, one in declared(root / folder).items():
            if not any(part.operator == ">=" for part in one.specifier):
                yield f"{folder}: {name} has no lowest version"
            if name in floors and one.specifier != floors[name].specifier:
                yield f"{folder}: {name}{one.specifier}, but proto needs {floors[name].specifier}"


def ranges_of_dependants_fit(root: Path) -> Iterator[str]:
    """Find ranges of ours that end elsewhere than at the next breaking version, or lack ours."""
    versions = {f"runmeter-{Path(one).name}": project(root / one)["version"] for one in PACKAGES}
    for folder in PACKAGES:
        for name, one in declared(root / folder).items():
            if name in versions:
                major, minor, _ = Version(versions[name]).release
                end = f"<{major + 1}" if major else f"<0.{minor + 1}"
                if end not in map(str, one.specifier) or versions[name] not in one.specifier:
                    yield f"{folder}: {name}{one.specifier} for {versions[name]}"


def versions_are_semantic(root: Path) -> Iterator[str]:
    """Find versions that are not three numbers, and labels of images that say another one."""
    for folder in PACKAGES:
        version = project(root / folder)["version"]
        if not _SEMVER.fullmatch(version):
            yield f"{folder}: version {version}"
        if folder in SERVICES:
            text = (root / folder / "Dockerfile").read_text()
            if f'org.opencontainers.image.version="{version}"' not in text:
                yield f"{folder}/Dockerfile: its label is not {version}"


def python_is_one(root: Path) -> Iterator[str]:
    """Find a lowest Python other than that of the rest."""
    for folder in (".", *PACKAGES):
        if (found := project(root / folder)["requires-python"]) != f">={PYTHON}":
            yield f"{folder}: Python {found}"
    tools = settings(root / "pyproject.toml")["tool"]
    if tools["ruff"]["target-version"] != f"py{PYTHON.replace('.', '')}":
        yield "pyproject.toml: another Python for ruff"
    if tools["mypy"]["python_version"] != PYTHON:
        yield "pyproject.toml: another Python for mypy"


def lock_is_one(root: Path) -> Iterator[str]:
    """Find a second lock, and packages of ours that are taken from elsewhere than here."""
    yield from (f"{n}: a second lock" for n in files(root) if re.search(r"./uv\.lock$", n))
    sources = settings(root / "pyproject.toml")["tool"]["uv"]["sources"]
    locked = {one["name"]: one for one in settings(root / "uv.lock")["package"]}
    for folder in PACKAGES:
        name = f"runmeter-{Path(folder).name}"
        if sources.get(name) != {"workspace": True}:
            yield f"{folder}: not taken from the workspace"
        if locked.get(name, {}).get("source") != {"editable": folder}:
            yield f"{folder}: not in uv.lock as a part of the workspace"


def build_requirements_are_pinned(root: Path) -> Iterator[str]:
    """Find build requirements that are not exact, or not those of the whole workspace."""
    listed = settings(root / "pyproject.toml")["tool"]["uv"]["build-constraint-dependencies"]
    pinned = {Requirement(one).name: one for one in listed}
    for folder in PACKAGES:
        for one in settings(root / folder / "pyproject.toml")["build-system"]["requires"]:
            if "==" not in one or pinned.get(Requirement(one).name) != one:
                yield f"{folder}: {one} is not pinned for all"
    for one in re.findall(r'"(nodejs[\w-]+)(\S*)"', _text(root, "services/gateway/hatch_build.py")):
        if pinned.get(one[0]) != "".join(one):
            yield f"services/gateway: {''.join(one)} is not pinned for all"
    generator = pinned.get("grpcio-tools", "").partition("==")[2]
    if str(declared(root / "proto")["grpcio"].specifier) != f">={generator}":
        yield "proto: grpcio is not that of grpcio-tools"


def generated_code_reaches_the_wheel(root: Path) -> Iterator[str]:
    """Find a package with a build hook whose wheel, or uv's cache, forgets what the hook makes."""
    for folder in PACKAGES:
        tool = settings(root / folder / "pyproject.toml")["tool"]
        if (root / folder / "hatch_build.py").exists():
            if "custom" not in tool["hatch"]["build"].get("hooks", {}):
                yield f"{folder}: its build hook is not used"
            if not tool["hatch"]["build"]["targets"]["wheel"].get("artifacts"):
                yield f"{folder}: no artifacts in the wheel"
            keys = json.dumps(tool.get("uv", {}).get("cache-keys", []))
            watched = "*.proto" if folder == "proto" else "package-lock.json"
            if "hatch_build.py" not in keys or watched not in keys:
                yield f"{folder}: uv does not see a change"


def tox_takes_the_lock(root: Path) -> Iterator[str]:
    """Find environments of tox that are missing, or installed past the lock."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(root / "tox.ini")
    wanted = {
        "runner": "uv-venv-runner",
        "skip_install": "true",
    }
    yield from (f"tox.ini: {k}" for k, v in wanted.items() if parser["testenv"].get(k) != v)
    environment = parser["testenv"].get("set_env", "")
    for line in ("UV_PROJECT_ENVIRONMENT = {env_dir}", "UV_PYTHON_DOWNLOADS = never"):
        if line not in environment:
            yield f"tox.ini: no {line}"
    names = set(re.split(r",\s*", parser["tox"]["env_list"]))
    for name in {"lint", "typing", "across", *(Path(one).name for one in PACKAGES)} - names:
        yield f"tox.ini: no environment {name}"
    for name in parser.sections():
        command = parser[name].get("commands_pre", "")
        if "uv sync" in command and ("--locked" not in command or "--frozen" in command):
            yield f"tox.ini: {name} does not hold to the lock"


def uv_is_that_of_the_lock(root: Path) -> Iterator[str]:
    """Find a version of uv that is not read from uv.lock, and a uv that may fetch a Python."""
    dockerfiles = [f"{folder}/Dockerfile" for folder in SERVICES]
    for name in ("Makefile", *dockerfiles):
        text = _text(root, name)
        if _UV_NUMBER.search(text) or "uv.lock" not in text:
            yield f"{name}: a uv of its own"
        if not re.search(r"UV_PYTHON_DOWNLOADS *:?= *never", text):
            yield f"{name}: uv may fetch a Python"


def types_are_strict(root: Path) -> Iterator[str]:
    """Find source folders that mypy does not see, and settings that are not strict."""
    found = settings(root / "pyproject.toml")
    mypy = found["tool"]["mypy"]
    for name in ("strict", "namespace_packages", "explicit_package_bases"):
        if mypy.get(name) is not True:
            yield f"pyproject.toml: mypy is not {name}"
    sources = [f"{folder}/src" for folder in PACKAGES]
    if mypy["mypy_path"].split(":") != sources:
        yield "pyproject.toml: mypy_path is not every source folder"
    if f"mypy {' '.join(sources)}\n" not in _text(root, "tox.ini"):
        yield "tox.ini: mypy does not see every source folder"
    linting = {Requirement(one).name for one in found["dependency-groups"]["lint"]}
    yield from (f"pyproject.toml: no {name}" for name in _STUBS if name not in linting)


def tests_are_strict(root: Path) -> Iterator[str]:
    """Find settings of pytest that let something pass: warnings, unknown marks, lost failures."""
    pytest = settings(root / "pyproject.toml")["tool"]["pytest"]["ini_options"]
    if pytest.get("filterwarnings") != ["error"]:
        yield "pyproject.toml: warnings are no errors"
    if pytest.get("xfail_strict") is not True:
        yield "pyproject.toml: an expected failure may pass"
    for flag in ("--import-mode=importlib", "--strict-markers"):
        if flag not in pytest["addopts"]:
            yield f"pyproject.toml: no {flag}"
    for folder in PACKAGES:
        if "pytest" in settings(root / folder / "pyproject.toml")["tool"]:
            yield f"{folder}: settings of pytest of its own"
    for name in files(root):
        if name.endswith(".py") and re.search(r"mark\.filterwarnings\(", _text(root, name)):
            yield f"{name}: a warning is let pass"


def layers_are_checked(root: Path) -> Iterator[str]:
    """Find packages that import-linter does not see, and layers that may leave a module out."""
    parser = configparser.ConfigParser()
    parser.read(root / ".importlinter")
    roots = parser["importlinter"]["root_packages"].split()
    for folder in PACKAGES:
        name = "v1" if folder == "proto" else Path(folder).name
        if f"runmeter.{name}" not in roots:
            yield f".importlinter: no runmeter.{name}"
    for folder in SERVICES:
        section = f"importlinter:contract:{Path(folder).name}-layers"
        if section not in parser or not parser[section].getboolean("exhaustive"):
            yield f".importlinter: layers of {folder} are not whole"


def programs_start_apart(root: Path) -> Iterator[str]:
    """Find commands ``python -m`` of the programs that take modules from the job's folder.

    ``-I``, or ``-E -P`` where a user's own installation is to be found, stands before ``-m``.
    """
    for folder in SERVICES:
        for path in modules(root / folder / "src").values():
            yield from (f"{path.name}: {one}" for one in _starts(path.read_text()))


@functools.cache
def _starts(source: str) -> list[str]:
    tree = ast.parse(source)
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    apart = "-I" in values or {"-E", "-P"} <= {one for one in values if isinstance(one, str)}
    return ["starts a module that may be another's"] if "-m" in values and not apart else []


def tortoise_is_held(root: Path) -> Iterator[str]:
    """Find a Tortoise that may become 1.2: migrations are of 1.1."""
    one = declared(root / "services/receiver")["tortoise-orm"]
    if "1.2" in one.specifier or "1.1.9" not in one.specifier:
        yield f"services/receiver: {one}"


def api_is_described_by_us(root: Path) -> Iterator[str]:
    """Find sanic-ext, and a document of another OpenAPI than 3.1."""
    locked = {one["name"] for one in settings(root / "uv.lock")["package"]}
    if "sanic-ext" in locked:
        yield "uv.lock: sanic-ext"
    version = json.loads(_text(root, "docs/openapi.json"))["openapi"]
    if not version.startswith("3.1."):
        yield f"docs/openapi.json: OpenAPI {version}"


def browser_files_are_pinned(root: Path) -> Iterator[str]:
    """Find packages for browsers without an exact version, or without their lock."""
    folder = root / "services/gateway"
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    lock = json.loads((folder / "package-lock.json").read_text())["packages"]
    for name, version in wanted.items():
        if not _SEMVER.fullmatch(version):
            yield f"services/gateway/package.json: {name} {version}"
        if "integrity" not in lock.get(f"node_modules/{name}", {}):
            yield f"services/gateway/package-lock.json: {name}"


def time_of_a_build_is_fixed(root: Path) -> Iterator[str]:
    """Find a build whose time is the moment it runs."""
    for name in files(root):
        if name.endswith((".yaml", ".ini", "Makefile", ".ci/run")) and _NOW.search(
            _text(root, name)
        ):
            yield f"{name}: SOURCE_DATE_EPOCH is now"


def targets_are_there(root: Path) -> Iterator[str]:
    """Find targets of ``make`` that are missing or not explained, and what README must name."""
    text = _text(root, "Makefile")
    phony = re.sub(r"\\\n", "", text).partition(".PHONY:")[2].partition("\n")[0].split()
    for name in _TARGETS:
        if not re.search(rf"^{name}:.*## ", text, re.MULTILINE) or name not in phony:
            yield f"Makefile: no {name}"
    for command in ("make demo", "make test"):
        if command not in _text(root, "README.md"):
            yield f"README.md: no {command}"


def _text(root: Path, name: str) -> str:
    return (root / name).read_text()
