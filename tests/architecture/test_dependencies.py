"""Each package declares the distributions that its modules import, and no other."""

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rig.repository import PACKAGES, ROOT, modules

# distributions that share the first name of their packages
_PORTIONS = {
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
    "runmeter.v1": "runmeter-proto",
    "runmeter.procfs": "runmeter-procfs",
    "runmeter.service": "runmeter-service",
    "runmeter.collector": "runmeter-collector",
    "runmeter.receiver": "runmeter-receiver",
    "runmeter.gateway": "runmeter-gateway",
}


def declared(folder: Path) -> set[str]:
    """Return the distributions that a package declares."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return {Requirement(one).name for one in project["dependencies"]}


def imported(folder: Path) -> dict[str, str]:
    """Return the distributions that a package's modules import, each with one place."""
    found: dict[str, str] = {}
    for path in modules(folder / "src").values():
        for name, line in _imports(path.read_text()):
            if name.partition(".")[0].removeprefix("_runmeter_") == folder.name:
                continue
            for distribution in _distribution(name):
                found.setdefault(distribution, f"{path.name}:{line}")
    found.pop(f"runmeter-{folder.name}", None)
    return found


def _imports(source: str) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def _distribution(name: str) -> list[str]:
    """Return the packages with a module: none for the standard library, its name if unknown."""
    first, *rest = name.split(".")
    if first in sys.stdlib_module_names:
        return []
    portion = _PORTIONS.get(".".join([first, *rest[:1]]))
    if portion is not None:
        return [portion]
    return [_normal(one) for one in _installed().get(first, [first])]


@functools.cache
def _installed() -> Mapping[str, list[str]]:
    return packages_distributions()


def _normal(name: str) -> str:
    """Return the name of a distribution as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("folder", PACKAGES[1:])
def test_dependencies_are_those_imported(folder: str) -> None:
    """A package declares what it imports; proto, whose modules are generated, is not looked at."""
    found = imported(ROOT / folder)
    assert {n: place for n, place in found.items() if n not in declared(ROOT / folder)} == {}
    assert declared(ROOT / folder) - found.keys() == set()
