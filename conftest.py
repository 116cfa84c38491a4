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
skips: list[str] = []
cases: list[None] = []


def pytest_runtest_logreport(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Collect skips and expected failures that have none of the reasons above, in CI."""
    if report.skipped and os.environ.get("CI"):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        reason = getattr(report, "wasxfail", text.removeprefix("Skipped: "))
        if not any(fnmatchcase(reason, one) for one in REASONS):
            skips.append(f"{report.nodeid}: {reason}")


pytest_collectreport = pytest_runtest_logreport


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that would otherwise have passed, for such a skip."""
    if skips and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skips; print how many cases of property tests ran."""
    for line in skips:
        terminalreporter.line(f"skipped for a reason that conftest.py does not list: {line}")
    if cases:
        terminalreporter.write_line(f"property tests ran {len(cases)} cases")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count the cases of each property test, once, however many parameters it has."""
    for test in {one for item in items if is_hypothesis_test(one := getattr(item, "obj", 0))}:
        test.hypothesis.inner_test = _counted(test.hypothesis.inner_test)


def _counted(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def count(*args: Any, **kwargs: Any) -> Any:
        cases.append(None)
        return inner(*args, **kwargs)

    return count


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory under tox, where there is enough of it."""
    if os.environ.get("TOX_ENV_NAME") not in IN_MEMORY or not os.path.isdir(MEMORY):
        return
    if shutil.disk_usage(MEMORY).free > 4 * 2**30:
        folder = tempfile.mkdtemp(prefix="runmeter-", dir=MEMORY)
        os.chmod(folder, 0o755)  # some tests become another user
        config.option.basetemp = f"{folder}/tests"
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
