"""Rules about source code that import-linter cannot see: each takes a module, yields findings.

A finding is ``line: what is there``. Names are followed through ``import`` and ``from … import``,
also under ``as``.
"""

import ast
import sys
from collections.abc import Iterator

_ENVIRONMENT = frozenset(
    f"os.{name}" for name in ("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv")
)
_SIGNALS = frozenset(
    f"signal.{name}"
    for name in (
        "alarm",
        "pthread_sigmask",
        "set_wakeup_fd",
        "setitimer",
        "siginterrupt",
        "signal",
        "sigtimedwait",
        "sigwait",
        "sigwaitinfo",
    )
)
_CLOCKS = frozenset(
    (
        *(f"time.{name}{unit}" for name in ("time", "monotonic") for unit in ("", "_ns")),
        *("time.perf_counter", "time.perf_counter_ns", "time.clock_gettime"),
        *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    )
)
_MACHINE_FACTS = frozenset(("os.sysconf", "resource.getpagesize"))
_LOOP_SIGNALS = frozenset(("add_signal_handler", "remove_signal_handler"))
# what a value at the top of a module may not be computed by: the world outside the process
_OUTSIDE_MODULES = frozenset(
    (
        "asyncio",
        "http",
        "importlib",
        "logging",
        "multiprocessing",
        "os",
        "platform",
        "random",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
    )
)
_OUTSIDE_NAMES = frozenset(("__import__", "eval", "exec", "input", "open", "print"))
_OUTSIDE_METHODS = frozenset(
    ("connect", "exists", "mkdir", "open", "read_bytes", "read_text", "write_bytes", "write_text")
)


def environment_reads(source: str) -> Iterator[str]:
    """Find every use of the process environment."""
    return _uses(source, _ENVIRONMENT)


def signal_settings(source: str) -> Iterator[str]:
    """Find every place that handles, masks or waits for signals."""
    tree = ast.parse(source)
    yield from _uses(source, _SIGNALS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _LOOP_SIGNALS:
            yield f"{node.lineno}: {node.attr}"


def clock_reads(source: str) -> Iterator[str]:
    """Find every call of a clock; to hand one on is none."""
    return _calls(source, _CLOCKS)


def machine_facts(source: str) -> Iterator[str]:
    """Find what asks this machine for page size or tick rate, and a mount of proc by name."""
    yield from _calls(source, _MACHINE_FACTS)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value == "/proc":
            yield f"{node.lineno}: /proc"


def foreign_imports(source: str) -> Iterator[str]:
    """Find imports of anything but the standard library and the module's own package."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            own = name == "runmeter.procfs" or name.startswith("runmeter.procfs.")
            if not own and name.partition(".")[0] not in sys.stdlib_module_names:
                yield f"{node.lineno}: {name}"


def import_effects(source: str) -> Iterator[str]:
    """Find what happens when the module is imported, beyond making names.

    At the top of a module, and in the bodies of its classes, stand only imports, definitions,
    docstrings, assignments, ``if __name__`` and ``if TYPE_CHECKING``; values, defaults and
    decorators call nothing that reaches outside the process.
    """
    tree = ast.parse(source)
    yield from _effects(tree.body, _imported(tree))


def _effects(body: list[ast.stmt], imported: dict[str, str]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.If) and _is_guard(node.test):
            continue
        if isinstance(node, ast.Pass) or _is_constant(node):
            continue
        if isinstance(node, ast.ClassDef):
            yield from _effects(node.body, imported)
            outer: list[ast.expr] = [*node.decorator_list, *node.bases]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            defaults = [default for default in node.args.kw_defaults if default is not None]
            outer = [*node.decorator_list, *node.args.defaults, *defaults]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            outer = [node.value] if node.value is not None else []
        elif isinstance(node, ast.Import | ast.ImportFrom):
            outer = []
        else:
            yield f"{node.lineno}: {ast.unparse(node).splitlines()[0]}"
            continue
        for value in outer:
            yield from _outside_calls(value, imported)


def _is_guard(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "__name__ == '__main__'")


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _outside_calls(value: ast.expr, imported: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(value):
        if not isinstance(node, ast.Call):
            continue
        full = _full_name(node.func, imported)
        root = ast.unparse(node.func).partition(".")[0]
        reaches_out = (
            (root in imported and full.partition(".")[0] in _OUTSIDE_MODULES)
            or full in _OUTSIDE_NAMES
            or (isinstance(node.func, ast.Attribute) and node.func.attr in _OUTSIDE_METHODS)
        )
        if reaches_out:
            yield f"{node.lineno}: {full}(…)"


def _full_name(called: ast.expr, imported: dict[str, str]) -> str:
    root, _, rest = ast.unparse(called).partition(".")
    return f"{imported.get(root, root)}.{rest}".rstrip(".")


def _calls(source: str, wanted: frozenset[str]) -> Iterator[str]:
    """Find calls of ``module.name``, however they are imported."""
    tree = ast.parse(source)
    imported = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _full_name(node.func, imported) in wanted:
            yield f"{node.lineno}: {ast.unparse(node.func)}(…)"


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return what names mean that were imported: ``{"t": "time", "sleep": "time.sleep"}``."""
    meant: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                meant[name] = alias.name if alias.asname else name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            meant |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return meant


def _uses(source: str, wanted: frozenset[str]) -> Iterator[str]:
    """Find uses of ``module.name``, however they are imported."""
    tree = ast.parse(source)
    meant = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in wanted or (alias.name == "*" and _has_any(wanted, node.module)):
                    yield f"{node.lineno}: {full}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            full = f"{meant.get(node.value.id, '')}.{node.attr}"
            if full in wanted:
                yield f"{node.lineno}: {full}"


def _has_any(wanted: frozenset[str], module: str) -> bool:
    return any(name.rpartition(".")[0] == module for name in wanted)
