"""deploy/workflows: files that a forge takes, whose steps measure the job and never fail it."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from rig import jobs
from rig.jobs import FOLDER, FORGES
from rig.programs import BIN, Program, Stage
from rig.repository import ROOT
from rig.shape import check_record
from rig.stack import Stack

pytestmark = pytest.mark.slow

SCHEMAS = {"github-workflows": ("github", "forgejo"), "gitlab-ci": ("gitlab",)}
PACKAGES = ("runmeter-proto", "runmeter-procfs", "runmeter-collector")
MAKE_FAILED = 2  # what make ends with when a command has failed
WORK = "test:\n\t@sleep 0.3; exit {}\n"
NOWHERE = "http://127.0.0.1:9/api/v1/metrics"


class Download(NamedTuple):
    """What the collector is installed from."""

    wheels: Path
    pyz: Path

    def settings(self) -> dict[str, str]:
        """Return the variables of a repository that say where it is."""
        digest = hashlib.sha256(self.pyz.read_bytes()).hexdigest()
        return {
            "RUNMETER_WHEELS": str(self.wheels),
            "RUNMETER_PYZ": self.pyz.as_uri(),
            "RUNMETER_PYZ_SHA256": digest,
        }


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Download:
    """The wheels and collector.pyz, built."""
    found = Download(
        tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("pyz") / "collector.pyz"
    )
    build = (BIN / "uv", "build", "--quiet", "--wheel", f"--out-dir={found.wheels}")
    for package in PACKAGES:
        subprocess.run([*build, f"--package={package}"], cwd=ROOT, check=True, timeout=120)
    python = f"{sys.base_prefix}/bin/python3"  # with pip
    needed = [python, "-m", "pip", "wheel", "--quiet", f"--wheel-dir={found.wheels}"]
    subprocess.run([*needed, *found.wheels.glob("*.whl")], check=True, timeout=120)
    line = [sys.executable, "-I", ROOT / "scripts" / "pyz.py", found.pyz]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return found


def check(schema: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Compare files with a schema that check-jsonschema carries: nothing is fetched."""
    line = [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_schema(schema: str, tmp_path: Path) -> None:
    """Each file is one of its forge; with a key in the wrong place it is not."""
    paths = [FOLDER / FORGES[forge] for forge in SCHEMAS[schema]]
    done = check(schema, *paths)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / paths[0].name
    wrong.write_text(re.sub(r"runs-on|before_script", "script-before", paths[0].read_text()))
    assert check(schema, wrong).returncode == 1


def test_every_file_is_here() -> None:
    """There is no file that these tests do not know."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(FORGES.values())


@pytest.mark.parametrize("forge", FORGES)
def test_secrets_come_from_the_forge(forge: str) -> None:
    """The token is a secret of the repository, and reaches commands as a variable only."""
    text = (FOLDER / FORGES[forge]).read_text()
    (token,) = re.findall(r"COLLECTOR_PUSH_TOKEN: (.*)", text)
    assert token in ("${{ secrets.RUNMETER_PUSH_TOKEN }}", "$RUNMETER_PUSH_TOKEN_BUILD")
    scripts = "\n".join(step.script for step in jobs.steps(forge, {}))
    assert "${{" not in scripts
    assert "TOKEN" not in scripts


class Runner:
    """Runs the steps of a job in an empty folder, with what its runner sets and nothing else."""

    def __init__(self, forge: str, stage: Stage, settings: Mapping[str, str], **more: str) -> None:
        self._stage = stage
        self._workspace = stage.folder / "workspace"
        self._workspace.mkdir()
        temporary = stage.folder / "temporary"
        temporary.mkdir()
        self._environment = {
            **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
            **jobs.surrounding(forge, str(self._workspace), str(temporary)),
            "PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin",  # without any collector
            **more,
        }
        self._steps = jobs.steps(forge, settings)

    def run(self, code: int) -> tuple[int, Program]:
        """Run the job with a command that ends with a code; return the job's, and its last step."""
        (self._workspace / "Makefile").write_text(WORK.format(code))
        for step in self._steps:
            program: Program = self._stage.start(
                "bash",
                *("-e", "-c", f"cd {self._workspace}\n{step.script}"),
                environment={**self._environment, **step.environment},
            )
            ended = program.wait(120)
            if ended and not step.may_fail:
                break
        return ended, program


def settings(forge: str, download: Download, endpoint: str, token: str) -> dict[str, str]:
    """Return variables and secrets of a repository that is measured."""
    secret = "RUNMETER_PUSH_TOKEN_BUILD" if forge == "gitlab" else "RUNMETER_PUSH_TOKEN"
    return {**download.settings(), "RUNMETER_ENDPOINT": endpoint, secret: token}


@pytest.mark.parametrize("forge", FORGES)
def test_a_job_is_measured(forge: str, own_stack: Stack, stage: Stage, download: Download) -> None:
    """Its runs arrive under the names the forge gave, and it ends as its command does."""
    scope = jobs.scope(forge)
    endpoint = f"{own_stack.gateway.url}/api/v1/metrics"
    if forge == "github":  # its wheels have gRPC
        endpoint = f"grpc://{own_stack.receiver.address}"
    runner = Runner(forge, stage, settings(forge, download, endpoint, own_stack.token(scope)))
    assert [runner.run(code)[0] for code in (0, 3)] == [0, MAKE_FAILED]
    newest, oldest = own_stack.listed(scope)
    check_record(newest)
    assert (newest["exit_code"], oldest["exit_code"]) == (MAKE_FAILED, 0)
    assert (newest["run_id"], newest["runner_name"]) == ("7", "a runner")
    assert "command" in [one["name"] for one in newest["payload"]["containers"]]


@pytest.mark.parametrize("forge", ["forgejo", "gitlab"])
def test_a_receiver_that_is_not_there(forge: str, stage: Stage, download: Download) -> None:
    """The job ends as its command does, and its log says where the run is kept."""
    found = settings(forge, download, NOWHERE, stage.keep("ab" * 32))
    runner = Runner(forge, stage, found, COLLECTOR_SHUTDOWN_TIMEOUT="1s")
    for code, expected in ((0, 0), (3, MAKE_FAILED)):
        ended, program = runner.run(code)
        assert ended == expected
        assert "run.kept" in program.text


@pytest.mark.parametrize("forge", FORGES)
def test_a_collector_that_cannot_be_had(forge: str, stage: Stage, download: Download) -> None:
    """With nothing to install, or another file than expected, the job runs as it did."""
    found = {**download.settings(), "RUNMETER_WHEELS": "/nowhere", "RUNMETER_PYZ_SHA256": "0" * 64}
    runner = Runner(forge, stage, found, PIP_NO_INDEX="1")
    for code, expected in ((0, 0), (3, MAKE_FAILED)):
        ended, program = runner.run(code)
        assert ended == expected
        assert "run.started" not in program.text
