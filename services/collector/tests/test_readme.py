"""The README's examples run as they stand, and its tables say what the program says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from runmeter.collector import config, flags, spool

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
WAIT_SECONDS = 30


def _rows(heading: str) -> list[list[str]]:
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows]


def _flags() -> dict[str, list[str]]:
    return {row[0].strip("`"): row[1:] for row in _rows("Settings") if row[0].startswith("`--")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a Makefile whose tests take until told, and a token."""
    (tmp_path / "Makefile").write_text("test:\n\t@while [ ! -e go ]; do sleep 0.02; done\n")
    (tmp_path / "push-token").write_text("t0ken\n")
    return tmp_path


def _start(script: str, folder: Path) -> Any:
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    return subprocess.Popen(
        ["sh", "-eu", "-c", script], cwd=folder, env={"PATH": path, "HOME": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_there_are_three_examples() -> None:
    """Every example of the README is run below."""
    assert len(EXAMPLES) == 3


def test_the_example_around_a_command(folder: Path) -> None:
    """The command is measured and the payload written where the example says."""
    (folder / "go").touch()
    process = _start(EXAMPLES[0], folder)
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (0, ""), errors
    payload = json.loads((folder / "usage.json").read_text())
    assert "command" in [c["name"] for c in payload["containers"]]


def test_the_example_beside_a_job(folder: Path, receiver: Any) -> None:
    """The job is measured until it has ended, then the run is pushed to its scope."""
    assert "grpc://receiver:50051" in EXAMPLES[1]
    process = _start(EXAMPLES[1].replace("grpc://receiver:50051", receiver.endpoint), folder)
    for line in process.stderr:
        if "run.started" in line:
            break
    (folder / "go").touch()
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (0, ""), errors
    pushed = receiver.pushes.get_nowait()
    assert pushed.authorization == "Bearer t0ken"
    assert (pushed.run.run_id, pushed.run.scope.job) == ("run-123", "build")


def test_the_example_of_a_run_that_waits(
    folder: Path, receiver: Any, golden_run: dict[str, Any]
) -> None:
    """What waits is listed, then delivered."""
    for name in ("id", "received_at", "updated_at"):
        del golden_run[name]
    push_id = golden_run["push_id"]
    where = str(folder / ".local" / "state" / "runmeter")
    path = spool.write(where, push_id, spool.encode(golden_run))
    script = EXAMPLES[2].replace("grpc://receiver:50051", receiver.endpoint)
    output, errors = _start(script, folder).communicate(timeout=WAIT_SECONDS)
    assert errors == ""
    assert f"{push_id}  waiting" in output
    assert output.splitlines()[-1] == "1 pushed"
    assert receiver.pushes.get_nowait().run.push_id == push_id
    assert not Path(path).exists()


def test_the_flags_are_those_of_the_program() -> None:
    """The table has the flags of --help, in its order, and the variable of each."""
    shown = subprocess.run(
        [sys.executable, "-I", "-m", "runmeter.collector", "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    flags = [flag for flag in re.findall(r"^  (--[a-z-]+)", shown, re.MULTILINE)]
    flags.remove("--version")
    assert list(_flags()) == flags
    for flag, row in _flags().items():
        assert row[0] == f"`COLLECTOR_{flag.removeprefix('--').replace('-', '_').upper()}`"


def test_the_defaults_are_those_of_the_program() -> None:
    """Where the table gives a value as default, giving it changes nothing."""
    plain = config.load([], {"HOME": "/h"})
    given = [
        f"{flag}={default.strip('`')}"
        for flag, (_, default, _) in _flags().items()
        if re.fullmatch(r"`[^`$~]+`", default)
    ]
    assert len(given) == 9
    assert config.load(given, {"HOME": "/h"}) == plain
    for flag, (_, default, _) in _flags().items():
        if default in ("none", "off"):
            assert not getattr(plain, _field(flag))


def _field(flag: str) -> str:
    name = flag.removeprefix("--").replace("-", "_")
    return {"push_endpoint": "endpoint", "push_token_file": "push_token"}.get(name, name)


def test_the_examples_of_variables_are_taken() -> None:
    """Labels, process map and limits of the table can be given as they stand."""
    rows = {row[0].strip("`"): row[1] for row in _rows("Settings") if len(row) == 2}
    names = ("COLLECTOR_LABELS", "CGROUP_PROCESS_MAP", "CGROUP_LIMITS")
    values = {name: re.findall("`(.*?)`", rows[name])[0] for name in names}
    found = config.load([], values)
    assert found.labels == {"os": "debian", "python": "3.13"}
    assert found.process_map == {"node": "runner"}
    assert found.limits["runner"] == (2.0, 2**30)
    for quantity in re.findall("`(.*?)`", rows["CGROUP_LIMITS"])[1:]:
        limits = json.dumps({"x": {"cpu": quantity, "memory": quantity}})
        assert config.load([], {"CGROUP_LIMITS": limits}).limits["x"].cpu_cores


def test_the_exit_codes_are_in_the_help() -> None:
    """The table and --help name the same codes."""
    codes = [row[0] for row in _rows("Exit codes")][2:]
    assert codes == ["0", "2", "3", "4", "126", "127", "128 + n"]
    shown = flags.EPILOG.split("exit codes:")[1]
    assert {code.replace(" ", "") for code in codes} <= set(re.findall(r"\d+\+n|\d+", shown))
