"""Private names of Tortoise: used in the store only, and all of them are listed here."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import runmeter.receiver

SOURCE = Path(runmeter.receiver.__path__[0])
SQLITE = "tortoise.backends.sqlite.client"
ASYNCPG = "tortoise.backends.asyncpg.client"
# name → the module of Tortoise that has it
NAMES = {
    "_conn": SQLITE,
    "_connection": SQLITE,
    "_enable_global_fallback": "tortoise",
    "_in_transaction": SQLITE,
    "_lock": SQLITE,
    "_meta": "tortoise.models",
    "_no_comments": "tortoise.models",
    "_parent": SQLITE,
    "_pool_init_lock": ASYNCPG,
    "_post_connect": SQLITE,
    "_schema_editor": "tortoise.migrations.executor",
    "_trxlock": SQLITE,
}
# of SQLite's client, and of named tuples
OURS = {"_address", "_asdict", "_client", "_descriptor", "_fields", "_file", "_replace"}
# of the pool of PostgreSQL, and of the connections that it hands out
OURS |= {"_acquire", "_connect", "_connect_seconds", "_end_transaction", "_held", "_leave", "_most"}
OURS |= {"_is_behind_pooler", "_permits", "_pool", "_setting", "_statement_seconds", "_token"}
OURS |= {"_url"}
OVERRIDDEN = {"_close", "_in_transaction", "_no_comments"}


def private_names(path: Path) -> set[str]:
    """Return the private names that a module uses of objects, or passes as arguments."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg:
            found.add(node.arg)
        elif isinstance(node, ast.ClassDef):
            parts = [getattr(part, "name", "") for part in node.body]
            parts += [t.id for p in node.body if isinstance(p, ast.Assign) for t in p.targets]
            found |= OVERRIDDEN & set(parts)
    return {name for name in found if re.match(r"_[^_]", name)}


def test_private_names_are_listed() -> None:
    """What the store uses of Tortoise is the table above; an upgrade has to keep these names."""
    modules = [path for path in (SOURCE / "store").rglob("*.py") if "tortoise" in path.read_text()]
    assert set().union(*map(private_names, modules)) - OURS == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_tortoise_has_them(name: str) -> None:
    """Each is still there in the installed Tortoise."""
    source = inspect.getsource(import_module(NAMES[name]))
    assert re.search(rf"\b{name}\b", source), f"{NAMES[name]} has no {name} any more"
