"""The programs from beginning to end with every warning an error: none is given, none is lost."""

import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rig.places import Place
from rig.programs import Program, Stage, staged
from rig.stack import Scope, Stack

pytestmark = pytest.mark.slow

OURS = ("collector", "receiver", "gateway")
# PYTHONWARNINGS would be ignored: programs are started with -I, as in their images
STRICT = ("-W", "error", "-I")


class StrictStage(Stage):
    """Starts our programs with warnings as errors, those included that are hidden by default."""

    def start(
        self,
        program: str | Path,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        kind: type[Program] = Program,
    ) -> Any:
        """Start a program of ours as a module; others as they are."""
        if program in OURS:
            arguments = (*STRICT, "-m", f"runmeter.{program}", *arguments)
            program = sys.executable
        return super().start(program, *arguments, environment=environment, kind=kind)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Stage]:
    """A stage whose programs must not warn."""
    with staged(tmp_path, StrictStage) as stage:
        yield stage
    assert warnings(stage) == []


def warnings(stage: Stage) -> list[str]:
    """Return the lines that speak of a warning, or of what went wrong beside the program."""
    words = ("Warning", "Exception ignored", "never awaited", "Traceback")
    return [
        line
        for program in stage.programs
        for line in program.text.splitlines()
        if any(word in line for word in words)
    ]


@pytest.mark.parametrize(
    ("place", "way", "workers"),
    [("sqlite", "grpc", 1), ("postgres", "http", 2)],
    indirect=["place"],
)
def test_a_run_without_a_warning(
    strict: Stage, place: Place, scope: Scope, way: str, workers: int
) -> None:
    """Receiver, gateway and collector serve a run and end with 0: not one warning on the way."""
    database = f"--db={place.url}"
    assert strict.start("receiver", "migrate", database).wait() == 0
    stack = Stack(strict, f"--workers={workers}", receiver_arguments=[database])
    endpoint = f"{stack.gateway.url}/api/v1/metrics"
    collector = strict.start(
        "collector",
        *("--interval=100ms", "--checkpoint-interval=1s"),
        f"--push-endpoint={endpoint if way == 'http' else f'grpc://{stack.receiver.address}'}",
        *("--", "sleep", "1.5"),
        environment=scope.environment(stack.token(scope)),
    )
    assert collector.wait() == 0
    collector.event("run.pushed")
    assert len(stack.listed(scope)) == 1
    assert len(stack.rpc.runs(scope, stack.receiver.read_token)) == 1
    for url in (f"{stack.gateway.ops_url}/metrics", f"{stack.gateway.url}/openapi.json"):
        assert stack.rest.get(url).status_code == 200
    assert stack.rest.get("/api/v1/nothing").status_code == 404
    assert stack.gateway.stop(signal.SIGTERM) == 0
    assert stack.receiver.stop(signal.SIGTERM) == 0
    stack.close()
    for command in (["export", database], ["prune", database, "--older-than=1d"]):
        assert strict.start("receiver", *command).wait() == 0


def test_a_run_that_waits_without_a_warning(strict: Stage, scope: Scope) -> None:
    """A run that cannot be pushed waits, is listed, and is pushed later without a warning."""
    stack = Stack(strict)
    environment = scope.environment(stack.token(scope))
    work = ("--interval=100ms", "--shutdown-timeout=1s", "--push-endpoint=grpc://127.0.0.1:9")
    assert strict.start("collector", *work, "--", "true", environment=environment).wait() == 0
    assert strict.start("collector", "spool", environment=environment).wait() == 0
    later = f"--push-endpoint=grpc://{stack.receiver.address}"
    assert strict.start("collector", "push", later, environment=environment).wait() == 0
    assert len(stack.listed(scope)) == 1
    stack.close()


def test_a_warning_is_seen(tmp_path: Path) -> None:
    """What these flags make of a warning is found: at once, and in what is torn down unseen."""
    stage = StrictStage(tmp_path)
    for code in ("import warnings; warnings.warn('old')", "import socket; socket.socket()"):
        program: Program = stage.start(sys.executable, *STRICT, "-c", code)
        program.wait()
        assert warnings(stage)
        stage.programs.clear()
