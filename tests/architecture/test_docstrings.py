"""Everything public in the packages says what it does, and numbers say their unit."""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from rig.repository import modules

# migrations are named by what they do, and written once
MODULES = {name: path for name, path in modules().items() if ".migrations." not in name}
# what is measured: a name that ends in one of these lacks the unit behind it
QUANTITIES = {
    *("age", "delay", "duration", "elapsed", "grace", "interval"),
    *("latency", "rest", "size", "timeout", "ttl", "uptime"),
}
UNIT = re.compile(r"\b(?:(?:nano|milli)?seconds|bytes|ticks|pages)\b")
NUMBERS = {"int", "float"}


class Named(NamedTuple):
    """One public definition: its dotted name in the module, and its node."""

    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _definitions(body: list[ast.stmt], inside: str = "") -> Iterator[Named]:
    """Yield public functions and classes, and those in public classes."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        yield Named(inside + node.name, node)
        if isinstance(node, ast.ClassDef):
            yield from _definitions(node.body, f"{inside}{node.name}.")


def _is_said_elsewhere(node: ast.AST) -> bool:
    """Tell whether a definition takes over the docstring of what it overrides or repeats."""
    decorators = getattr(node, "decorator_list", [])
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in decorators}
    return bool(names & {"override", "overload", "setter"})


def undocumented(source: str) -> list[str]:
    """Return what is public and has no docstring; ``""`` is the module itself."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) or not tree.body else [""]
    return found + [
        named.name
        for named in _definitions(tree.body)
        if not ast.get_docstring(named.node) and not _is_said_elsewhere(named.node)
    ]


def _is_number(annotation: ast.expr | None) -> bool:
    if annotation is None:
        return False
    text = ast.unparse(annotation).strip("'\"")
    return bool(NUMBERS & set(re.split(r"\s*\|\s*", text)))


def without_unit(source: str) -> list[str]:
    """Return numbers whose name tells that they have a unit, but not which.

    Looks at parameters, fields and variables that are annotated as ``int`` or ``float``, and at
    functions that return one. Instead of the name the docstring of a function or class may say
    it, or a comment on the line of a field.
    """
    lines = source.splitlines()
    found: list[str] = []
    for name, annotation, said in _annotated(ast.parse(source), lines):
        if _is_number(annotation) and _lacks_unit(name) and not UNIT.search(said):
            found.append(name)
    return found


def _annotated(
    tree: ast.AST, lines: list[str], said: str = ""
) -> Iterator[tuple[str, ast.expr | None, str]]:
    """Yield names, their annotations, and what is said of them elsewhere."""
    for node in ast.iter_child_nodes(tree):
        inner = said
        if isinstance(node, ast.ClassDef):
            inner = ast.get_docstring(node) or ""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = ""
            yield node.name, node.returns, ast.get_docstring(node) or ""
        if isinstance(node, ast.arg):
            yield node.arg, node.annotation, ""
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name | ast.Attribute):
            name = ast.unparse(node.target).rpartition(".")[2]
            yield name, node.annotation, said + lines[node.lineno - 1].partition("#")[2]
        yield from _annotated(node, lines, inner)


def _lacks_unit(name: str) -> bool:
    return name.strip("_").lower().rpartition("_")[2] in QUANTITIES


@pytest.mark.parametrize("name", MODULES)
def test_public_things_have_docstrings(name: str) -> None:
    """A public module, class, function or method says what it does."""
    assert undocumented(MODULES[name].read_text()) == []


@pytest.mark.parametrize("name", MODULES)
def test_numbers_name_their_unit(name: str) -> None:
    """What is measured ends in its unit: ``_seconds``, ``_bytes``, not ``timeout`` or ``size``."""
    assert without_unit(MODULES[name].read_text()) == []


def test_what_is_undocumented() -> None:
    """Each kind of definition is found; private ones and overrides need no docstring."""
    source = (
        "class A:\n    def b(self): ...\n    def _c(self): ...\n    async def d(self): 'Do.'\n"
        "    @typing.override\n    def e(self): ...\ndef f(): ...\nclass _G:\n    def h(self): ..."
    )
    assert undocumented(source) == ["", "A", "A.b", "f"]
    assert undocumented("") == []


def test_what_lacks_its_unit() -> None:
    """Parameters, fields and results count; what is no number does not."""
    source = (
        "class A:\n    timeout: float\n    size_bytes: int\n    size: str\n"
        "    interval: int | None\n    uptime: int  # seconds\n"
        "class B:\n    'In pages.'\n    size: int\n"
        "def f(ttl: float, x: int) -> float: ...\n"
        "def age() -> float: ...\ndef delay() -> float:\n    'Return seconds.'\n"
    )
    assert sorted(without_unit(source)) == ["age", "interval", "timeout", "ttl"]
