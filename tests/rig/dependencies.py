"""What a package declares to need, and what its modules import."""

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from .repository import modules

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


def settings(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds; not to be changed."""
    return _parsed(path.read_text())


@functools.cache
def _parsed(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


def project(folder: Path) -> dict[str, Any]:
    """Return the table ``project`` of a package's ``pyproject.toml``."""
    return settings(folder / "pyproject.toml")["project"]  # type: ignore[no-any-return]


def declared(folder: Path) -> dict[str, Requirement]:
    """Return the requirements of a package by distribution."""
    found = map(Requirement, project(folder)["dependencies"])
    return {one.name: one for one in found}


def imported(folder: Path) -> dict[str, str]:
    """Return the distributions that a package's modules import, each with one place."""
    found: dict[str, str] = {}
    for path in modules(folder / "src").values():
        for name, line in _imports(path.read_text()):
            if name.partition(".")[0].removeprefix("_runmeter_") == folder.name:
                continue
            for distribution in _distribution(name):
                found.setdefault(distribution, f"{path.name}:{line}")
    found.pop(project(folder)["name"], None)
    return found


@functools.cache
def _imports(source: str) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def _distribution(name: str) -> list[str]:
    """Return who has a module; an empty list for the standard library, itself if nobody has."""
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
