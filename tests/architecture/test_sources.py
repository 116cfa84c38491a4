"""Rules about what modules do: on every module of ours, and each seen to find an offence."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

import pytest
from rig import rules
from rig.repository import SOURCES, modules

Rule = Callable[[str], Iterator[str]]

# where a rule does not apply
EXEMPT: dict[Rule, tuple[str, ...]] = {
    # before anything of runmeter may be imported
    rules.environment_reads: ("runmeter.*.config", "_runmeter_collector"),
    rules.signal_settings: (
        "runmeter.*.app",
        "runmeter.gateway.signals",
        # a program of its own: the sampling process replaces itself by it, signals blocked
        "runmeter.collector.push",
        # sets none for us: puts back what the collector changed, then becomes the command
        "runmeter.collector.command",
    ),
    # the sampling loop, deliveries with a deadline, times and durations of logs and metrics;
    # what counts, decides or stores is told the time
    rules.clock_reads: (
        "runmeter.*.app",
        *(f"runmeter.collector.{name}" for name in ("measurement", "checkpoints", "keeping")),
        *(f"runmeter.collector.{name}" for name in ("handover", "emptying", "delivery", "push")),
        *(f"runmeter.collector.{name}" for name in ("output", "pushlog", "transport_http")),
        *(f"runmeter.receiver.{name}" for name in ("interceptors", "writer", "ops")),
    ),
    rules.machine_facts: (
        "runmeter.collector.config",
        "runmeter.collector.measurement",
        # how many files this process may open: of nobody's /proc
        "runmeter.collector.descriptors",
    ),
    # run by `python -m`, never imported
    rules.import_effects: ("runmeter.*.__main__",),
    rules.foreign_imports: (
        "runmeter.collector*",
        "runmeter.receiver*",
        "runmeter.gateway*",
        "_runmeter_collector",
    ),
}

BROKEN: list[tuple[Rule, str]] = [
    (rules.environment_reads, "import os\nhome = os.environ['HOME']"),
    (rules.environment_reads, "import os as o\ndef f():\n    return o.getenv('HOME')"),
    (rules.environment_reads, "from os import environ"),
    (rules.environment_reads, "from os import getenv as g"),
    (rules.environment_reads, "from os import *"),
    (rules.environment_reads, "def f():\n    import os\n    os.putenv('A', 'b')"),
    (rules.signal_settings, "import signal\nsignal.signal(15, print)"),
    (rules.signal_settings, "from signal import pthread_sigmask as m"),
    (rules.signal_settings, "def f(loop):\n    loop.add_signal_handler(15, print)"),
    (rules.signal_settings, "import signal as s\ndef f():\n    s.sigwait({15})"),
    (rules.clock_reads, "import time\ndef f():\n    return time.monotonic()"),
    (rules.clock_reads, "from time import time_ns as now\nx = now()"),
    (rules.clock_reads, "import datetime as d\ndef f():\n    return d.datetime.now(None)"),
    (rules.clock_reads, "from datetime import datetime\nx = datetime.utcnow()"),
    (rules.machine_facts, "import os\ndef f():\n    return os.sysconf('SC_CLK_TCK')"),
    (rules.machine_facts, "from resource import getpagesize\nSIZE = getpagesize()"),
    (rules.machine_facts, "def f(mount='/proc'): ..."),
    (rules.import_effects, "print('hello')"),
    (rules.import_effects, "for n in range(3):\n    x = n"),
    (rules.import_effects, "try:\n    import a\nexcept ImportError:\n    a = None"),
    (rules.import_effects, "if DEBUG:\n    x = 1"),
    (rules.import_effects, "with open('/etc/hosts') as f:\n    pass"),
    (rules.import_effects, "import time\nSTART = time.time()"),
    (rules.import_effects, "from time import monotonic as now\nSTART = now()"),
    (rules.import_effects, "import os\nclass A:\n    pid = os.getpid()"),
    (rules.import_effects, "import os\ndef f(pid=os.getpid()): ..."),
    (rules.import_effects, "from pathlib import Path\nTEXT = Path('x').read_text()"),
    (rules.import_effects, "x = [open(n) for n in ('a', 'b')]"),
    (rules.foreign_imports, "import psutil"),
    (rules.foreign_imports, "def f():\n    from structlog import get_logger"),
    (rules.foreign_imports, "import runmeter.collector"),
    (rules.foreign_imports, "import runmeter.procfs_more"),
]
GOOD = '''"""Docstring."""
from __future__ import annotations
import re
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import typing

PATTERN = re.compile("a+")
TABLE = {name: len(name) for name in ("a", "b")}


class A(NamedTuple):
    """Docstring."""

    x: int = 1

    def now(self, clock=time.time) -> float:
        """Docstring."""
        return clock()


def main(xs: tuple[int, ...] = tuple([1, 2])) -> None:
    print(open)


if __name__ == "__main__":
    main()
'''


def name_of(value: object) -> str | None:
    """Return the test id of a rule."""
    return getattr(value, "__name__", None)


@pytest.mark.parametrize("rule", EXEMPT, ids=name_of)
def test_every_module_obeys(rule: Rule) -> None:
    """No module breaks the rule where it applies."""
    checked = {
        name: path
        for name, path in modules().items()
        if not any(fnmatchcase(name, pattern) for pattern in EXEMPT[rule])
    }
    assert len(checked) > 10
    findings = [f"{n}:{f}" for n, path in checked.items() for f in rule(path.read_text())]
    assert findings == []


@pytest.mark.parametrize("rule", EXEMPT, ids=name_of)
def test_every_exemption_is_needed(rule: Rule) -> None:
    """What is exempt from a rule would break it: no exemption outlives its reason."""
    for pattern in EXEMPT[rule]:
        exempt = [path for name, path in modules().items() if fnmatchcase(name, pattern)]
        assert [f for path in exempt for f in rule(path.read_text())], pattern


@pytest.mark.parametrize(("rule", "source"), BROKEN, ids=lambda value: name_of(value) or value)
def test_rule_finds_an_offence(rule: Rule, source: str) -> None:
    """A broken sample is found."""
    assert list(rule(source)), source


@pytest.mark.parametrize("rule", EXEMPT, ids=name_of)
def test_rule_passes_what_is_good(rule: Rule) -> None:
    """A module that does what modules do breaks no rule."""
    assert list(rule(GOOD)) == []


def test_all_packages_are_looked_at() -> None:
    """The list of modules holds every package and more than its ``__init__``."""
    for package in ("procfs", "collector", "receiver", "gateway"):
        assert sum(name.startswith(f"runmeter.{package}.") for name in modules()) > 5
    assert "runmeter.v1.run_pb2" in modules(*SOURCES)
