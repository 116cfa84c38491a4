"""What holds for the tests of every package: skips in CI, and how many property cases ran."""

import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import is_hypothesis_test

# why a test may be skipped in CI; any other skip, and any expected failure, fails the session
REASONS = (
    "needs [0-9]* open files",
    "needs 2500 files at once",
    "needs a Docker engine: *",
    "needs Podman: *",
    "needs a user who is not root, or user namespaces",
    "needs cgroups, version 1",
    "needs chromium",
    "needs curl, jq, openssl and make",
    "needs haproxy",
    "needs kubectl",
    "needs nginx",
    "needs root and *",  # loop devices, writable cgroups, a mount, unshare
    "needs root, *",
    "needs systemd-analyze",
    "needs the program pgbouncer",
    "needs the program wrk",
    "needs writable cgroups, version 1: *",
)

# in the background of a script SIGINT is ignored, under nohup SIGHUP: not in what tests start
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


MEMORY = "/dev/shm"
IN_MEMORY = ("collector", "receiver", "gateway")  # not what starts pods: those have their own


class SkipGuard:
    """Collects skips that have none of the reasons above; they fail the session."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """See a test that was skipped, or failed as expected."""
        if report.skipped:
            text = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            reason = getattr(report, "wasxfail", text.removeprefix("Skipped: "))
            if not any(fnmatchcase(reason, one) for one in REASONS):
                self.found.append(f"{report.nodeid}: {reason}")

    pytest_collectreport = pytest_runtest_logreport

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that would otherwise have passed."""
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the skips."""
        for line in self.found:
            terminalreporter.line(f"skipped for a reason that conftest.py does not list: {line}")


class PropertyCases:
    """Counts the cases of property tests, and prints how many ran."""

    count = 0

    def _counting(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return inner(*args, **kwargs)

        return counted

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Wrap each property test once, however many parameters it has."""
        for test in {one for item in items if is_hypothesis_test(one := getattr(item, "obj", 0))}:
            test.hypothesis.inner_test = self._counting(test.hypothesis.inner_test)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print how many cases ran."""
        if self.count:
            terminalreporter.write_line(f"property tests ran {self.count} cases")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Count property cases; watch skips in CI; under tox, keep the tests' files in memory."""
    config.pluginmanager.register(PropertyCases(), "property-cases")
    if os.environ.get("CI"):
        config.pluginmanager.register(SkipGuard(), "skip-guard")
    if os.environ.get("TOX_ENV_NAME") in IN_MEMORY and _free_bytes(MEMORY) > 4 * 2**30:
        folder = tempfile.mkdtemp(prefix="runmeter-", dir=MEMORY)
        os.chmod(folder, 0o755)  # some tests become another user
        config.option.basetemp = f"{folder}/tests"
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def _free_bytes(folder: str) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize
