"""Fixtures that start the real programs."""

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import is_hypothesis_test, settings
from hypothesis import seed as seeded

# these tests start programs while they hold channels: gRPC shall not mind
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from rig.losses import Losses
from rig.places import Place, PostgresPlace, SqlitePlace
from rig.postgres import running_postgres as running_postgres
from rig.programs import Stage, staged
from rig.service import Service
from rig.stack import Scope, Stack

RUN_COUNT = int(os.environ.get("LOSSES_RUNS", "10"))  # `make soak` says how many of each
LOAD_SECONDS = int(os.environ.get("LOSSES_SECONDS", "10"))  # and for how long to overload
SEED = os.environ.get("LOSSES_SEED", "0")
# without a database of examples: a seed gives the same cases everywhere
settings.register_profile(
    "losses", max_examples=max(100, 2 * RUN_COUNT), deadline=None, database=None
)
tallies = pytest.StashKey[dict[str, Counter[str]]]()
SHOWN_LINES = 20
SHOWN_PROGRAMS = 10
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the cases of property tests come from the seed: fixed unless `make soak` gives one."""
    for test in {item.obj for item in items if is_hypothesis_test(getattr(item, "obj", None))}:
        seeded(SEED)(test)


def pytest_report_header() -> str:
    """Say what all that is random comes from."""
    return f"LOSSES_RUNS={RUN_COUNT} LOSSES_SEED={SEED}"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage for programs of one test."""
    with staged(tmp_path) as stage:
        yield stage


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One receiver and gateway for all tests; each test uses a scope of its own."""
    with staged(tmp_path_factory.mktemp("stack")) as stage:
        stack = Stack(stage)
        yield stack
        stack.close()


@pytest.fixture
def own_stack(stage: Stage) -> Iterator[Stack]:
    """A receiver and gateway that the test may break."""
    stack = Stack(stage)
    yield stack
    stack.close()


@pytest.fixture
def scope() -> Scope:
    """A scope no other test uses, in canonical names."""
    organization = f"org-{next(_numbers)}"
    return Scope(organization, f"{organization}/repo", "ci.yml", "build")


@pytest.fixture
def losses(stack: Stack, stage: Stage, scope: Scope) -> Losses:
    """Collectors of a scope of their own, to be ended in many ways."""
    return Losses(stack, stage, scope)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database, of either kind."""
    if request.param == "sqlite":
        return SqlitePlace(tmp_path / "metrics.db")
    server = request.getfixturevalue("postgres")
    return PostgresPlace(server, server.create_database())


@pytest.fixture
def service(stage: Stage, place: Place) -> Iterator[Service]:
    """One receiver that the test may kill."""
    service = Service(stage, place.url)
    yield service
    service.close()


@pytest.fixture
def run_count() -> int:
    """How many runs a test of random ends makes."""
    return RUN_COUNT


@pytest.fixture
def load_seconds() -> int:
    """For how long a test asks for more than a service can do."""
    return LOAD_SECONDS


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> str:
    """What the random numbers of this test come from."""
    return f"{SEED} {request.node.name}"


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Counter[str]:
    """Counts of this test, shown at the end of the session."""
    shown = request.config.stash.setdefault(tallies, {})
    return shown.setdefault(request.node.name, Counter())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the tallies."""
    for name, counts in terminalreporter.config.stash.get(tallies, {}).items():
        text = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        terminalreporter.write_line(f"{name} (seed {SEED}): {text}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Attach the logs of all programs of a test that failed."""
    report = yield
    if report.failed:
        held = getattr(item, "funcargs", {}).values()
        stages = {v if isinstance(v, Stage) else v.stage for v in held if _has_programs(v)}
        for program in [p for stage in stages for p in stage.programs[-SHOWN_PROGRAMS:]]:
            lines = program.text.splitlines()[-SHOWN_LINES:]
            report.sections.append((f"{program.name} {program.process.pid}", "\n".join(lines)))
    return report


def _has_programs(value: object) -> bool:
    return isinstance(value, Stage | Stack | Service)
