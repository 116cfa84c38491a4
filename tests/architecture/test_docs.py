"""Documents name every event; generated ones are fresh; no file names this machine."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from rig.repository import ROOT, committed_files, modules

from runmeter.service.events import LIBRARY_EVENTS

LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
EVENT = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_]*")
# absolute paths that begin like those of a developer's or a build machine
MACHINE = re.compile(rb"(?<![\w.~>}\])-])/(?:work|root)/")
PROGRAMS = ("collector", "receiver", "gateway")


# -- events -------------------------------------------------------------------------------


def declared_events(service: str) -> set[str]:
    """Return the events that are constants of the service's ``events`` module, or of libraries."""
    found = vars(importlib.import_module(f"runmeter.{service}.events"))
    return {v for k, v in found.items() if k.isupper() and isinstance(v, str)} | {*LIBRARY_EVENTS}


def logged_events(source: str) -> Iterator[str]:
    """Find the event of every log call: a literal, or a name that literals are assigned to.

    Log calls are ``log.write(level, event, …)`` and ``log.info(event, …)`` and so on, of
    anything whose name ends in ``log``. An event that cannot be found reads as ``?``.
    """
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                event = _event_argument(node, node.func)
                if event is not None:
                    yield from _texts(event, function)


def _event_argument(call: ast.Call, called: ast.Attribute) -> ast.expr | None:
    if not re.search(r"(?:\b|_)(?:log|logger|get_logger\(\))$", ast.unparse(called.value)):
        return None
    position = {"write": 1}.get(called.attr, 0 if called.attr in LEVELS else None)
    return None if position is None else call.args[position]


def _texts(event: ast.expr, function: ast.AST) -> set[str]:
    if isinstance(event, ast.Name):
        values = [
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == event.id
        ]
    else:
        values = [event]
    texts = {
        node.value
        for value in values
        for node in ast.walk(value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {text for text in texts if EVENT.fullmatch(text)} or {"?"}


def events_of(service: str) -> set[str]:
    """Return every event a service can log."""
    if service != "collector":
        return declared_events(service)
    ours = {n: p for n, p in modules().items() if n.startswith("runmeter.collector")}
    return {event for path in ours.values() for event in logged_events(path.read_text())}


@pytest.mark.parametrize("service", PROGRAMS)
def test_every_event_is_in_the_table(service: str) -> None:
    """The table of a service, from which docs/events.md is made, has each event it can log."""
    table = importlib.import_module(f"runmeter.{service}.events").EVENTS
    assert events_of(service) == set(table)


def test_collector_events_are_readable() -> None:
    """Every log call of the collector has an event that this test can find."""
    events = events_of("collector")
    assert "?" not in events
    assert {"run.started", "run.pushed", "run.kept", "run.rejected"} <= events


@pytest.mark.parametrize("service", ["receiver", "gateway"])
def test_services_log_declared_events_only(service: str) -> None:
    """Log calls name a constant of ``events``, never a literal."""
    ours = {n: p for n, p in modules().items() if n.startswith(f"runmeter.{service}.")}
    count = 0
    for name, path in ours.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                event = _event_argument(node, node.func)
                if event is not None:
                    count += 1
                    assert re.fullmatch(r"events\.[A-Z_]+", ast.unparse(event)), (name, node.lineno)
    assert count > 3


# -- what is generated --------------------------------------------------------------------


PAGES = ("configuration.py", "events.py", "metrics.py", "openapi.py")


@pytest.mark.parametrize("name", PAGES)
def test_document_is_fresh(name: str) -> None:
    """Each generated document is what its script writes now."""
    script = ROOT / "scripts" / name
    done = subprocess.run([sys.executable, script, "--check"], timeout=60, check=False)
    assert done.returncode == 0


# -- the machine --------------------------------------------------------------------------


def test_no_file_names_this_machine() -> None:
    """No committed file holds a path of the machine it was written on."""
    files = committed_files()
    assert len(files) > 100
    found = [str(p.relative_to(ROOT)) for p in files if MACHINE.search(p.read_bytes())]
    assert found == []
