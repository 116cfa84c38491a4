"""What holds for the tests of every package: skips in CI, and how many property cases ran.

In CI a skipped test fails the session, unless tests/skips.toml lists it with its reason. A test
that is skipped everywhere is a test nobody has. Expected failures count like skips.
"""

import functools
import os
import signal
import tomllib
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import is_hypothesis_test

LIST = Path(__file__).parent / "tests" / "skips.toml"


# in the background of a script SIGINT is ignored, under nohup SIGHUP: not in what tests start
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


class Skip(NamedTuple):
    """A test and why it did not run; in the list ``reason`` may hold ``*``."""

    test: str
    reason: str


def listed_skips(path: Path) -> list[Skip]:
    """Read the list: one ``[[skip]]`` per entry, with ``test`` and ``reason``, nothing else."""
    entries = tomllib.loads(path.read_text()).get("skip", [])
    return [Skip(**entry) for entry in entries]


def is_listed(skip: Skip, listed: list[Skip]) -> bool:
    """Tell whether an entry names the test, its function, file or folder, and its reason."""
    return any(
        (skip.test == entry.test or skip.test.startswith((f"{entry.test}[", f"{entry.test}:")))
        and fnmatchcase(skip.reason, entry.reason)
        for entry in listed
    )


class SkipGuard:
    """Collects what was skipped; at the end of the session, what of it is not listed."""

    def __init__(self, listed: list[Skip]) -> None:
        self._listed = listed
        self.unlisted: list[Skip] = []

    def _see(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped:
            return
        reason = getattr(report, "wasxfail", None)
        if reason is None and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
        skip = Skip(report.nodeid, reason or "")
        if not is_listed(skip, self._listed):
            self.unlisted.append(skip)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """See a test that was skipped before or while it ran."""
        self._see(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """See a module that was skipped as a whole."""
        self._see(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that would otherwise have passed."""
        if self.unlisted and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which skips have to be listed, or rather to be made tests again."""
        if self.unlisted:
            terminalreporter.section("skipped, but not in tests/skips.toml", red=True)
        for skip in self.unlisted:
            terminalreporter.line(f"{skip.test}: {skip.reason}")


def pytest_configure(config: pytest.Config) -> None:
    """Count property cases; watch skips where the environment says that this is CI."""
    config.pluginmanager.register(PropertyCases(), "property-cases")
    if os.environ.get("CI"):
        config.pluginmanager.register(SkipGuard(listed_skips(LIST)), "skip-guard")


class PropertyCases:
    """Counts every case of the property tests, and says at the end how many ran."""

    def __init__(self) -> None:
        self._count = 0
        self._has_tests = False

    def _counting(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._count += 1
            return inner(*args, **kwargs)

        return counted

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Wrap each property test once, however many parameters it has."""
        seen = set()
        for item in items:
            test = getattr(item, "obj", None)
            if is_hypothesis_test(test) and id(test) not in seen:
                seen.add(id(test))
                test.hypothesis.inner_test = self._counting(test.hypothesis.inner_test)
        self._has_tests = bool(seen)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many cases ran."""
        if self._has_tests:
            terminalreporter.write_line(f"property tests ran {self._count} cases")
