"""``collector.pyz``: everything the collector does, where there is nothing but Python."""

import hashlib
import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from rig.programs import Stage
from rig.shape import check_record
from rig.stack import Scope, Stack

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# removes the folder of the file, then waits for another file
THEN_REMOVE = """
import os, shutil, sys, time
{}
shutil.rmtree({!r})
print("removed", flush=True)
while not os.path.exists({!r}):
    time.sleep(0.01)
sys.exit(5)
"""
WORK = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
NOWHERE = "http://127.0.0.1:9/api/v1/metrics"


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, built."""
    target = tmp_path_factory.mktemp("pyz") / "collector.pyz"
    _build(target)
    return target


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has no packages, not even pip."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder)
    return folder / "bin" / "python"


def _build(target: Path) -> None:
    build = [sys.executable, "-I", str(ROOT / "scripts" / "pyz.py"), str(target)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)


def test_two_builds_are_the_same(pyz: Path, tmp_path: Path) -> None:
    """A build says nothing of when and where it was made."""
    again = tmp_path / "elsewhere" / "other.pyz"
    _build(again)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(pyz.read_bytes()).digest()


def test_nothing_is_compressed(pyz: Path) -> None:
    """To read it takes no ``zlib``: not every interpreter has that within itself."""
    with zipfile.ZipFile(pyz) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_it_runs_by_itself(pyz: Path, bare: Path, tmp_path: Path) -> None:
    """It can be executed, prints its help, and imports nothing from the folder of the job."""
    for name in ("argparse", "runpy", "struct", "zipfile", "zlib", "runmeter/__init__"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('taken from the folder of the job')")
    environment = {"PATH": f"{bare.parent}:/usr/bin:/bin", "PYTHONPATH": str(tmp_path)}
    for argv in ([str(pyz)], [str(bare), str(pyz)]):
        done = subprocess.run(
            [*argv, "--help"], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: collector [flags] [-- command ...]")


def test_it_has_no_grpc(pyz: Path, bare: Path, tmp_path: Path) -> None:
    """With a gRPC endpoint it says what to do; a wrapped command runs."""
    token = "ab" * 32
    argv = [str(bare), str(pyz), "--push-endpoint=grpc://127.0.0.1:50051"]
    environment = {**Scope("o", "o/r", "w", "j").environment(token), "HOME": str(tmp_path)}

    def run(*command: str) -> Any:
        return subprocess.run([*argv, *command], env=environment, capture_output=True, text=True)

    alone = run()
    assert alone.returncode == 2
    assert "collector.pyz has no gRPC; give http(s)://host:port/api/v1/metrics" in alone.stderr
    around = run("--", "sh", "-c", "exit 7")
    assert around.returncode == 7
    assert "collector.pyz has no gRPC" in around.stderr


def test_a_run_from_beginning_to_end(
    stack: Stack, scope: Scope, stage: Stage, pyz: Path, bare: Path
) -> None:
    """A run is measured, pushed and found, though the job removes the file and its folder."""
    token = stage.keep(stack.token(scope))
    folder, end = stage.folder / "workspace", stage.folder / "end"
    folder.mkdir()
    copy = folder / "collector.pyz"
    copy.write_bytes(pyz.read_bytes())
    collector = stage.start(
        bare,
        *(copy, "--interval=100ms", "--checkpoint-interval=200ms", "--checkpoint-push=1s"),
        "--log-level=debug",
        *(f"--push-endpoint={stack.gateway.url}/api/v1/metrics", "--", sys.executable, "-c"),
        THEN_REMOVE.format(WORK, str(folder), str(end)),
        environment=scope.environment(token),
    )
    collector.line("removed")
    seen = len(collector.events("checkpoint.pushed"))
    collector.event("checkpoint.pushed", count=seen + 2)  # the first may have begun before
    end.touch()
    assert collector.wait() == 5
    pushed = collector.event("run.pushed")
    (record,) = stack.listed(scope)
    check_record(record)
    assert record["id"] == pushed["id"]
    assert record["exit_code"] == 5
    containers = {found["name"]: found for found in record["payload"]["containers"]}
    assert containers["command"]["cpu_seconds"] > 0.2


def test_a_run_that_waits(stack: Stack, scope: Scope, stage: Stage, pyz: Path, bare: Path) -> None:
    """Without a receiver a run is kept, listed and pushed later, all by the same file."""
    environment = scope.environment(stage.keep(stack.token(scope)))
    collector = stage.start(
        bare,
        *(pyz, "--shutdown-timeout=1s", f"--push-endpoint={NOWHERE}", "--", "true"),
        environment=environment,
    )
    assert collector.wait() == 0
    collector.event("run.kept")
    listed = stage.start(bare, pyz, "spool", "--json", environment=environment)
    assert listed.wait() == 0
    assert json.loads(listed.output[0])
    sent = stage.start(
        bare,
        *(pyz, "push", f"--push-endpoint={stack.gateway.url}/api/v1/metrics"),
        environment=environment,
    )
    assert sent.wait() == 0
    assert [record["exit_code"] for record in stack.listed(scope)] == [0]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams(pyz: Path, bare: Path, tmp_path: Path, closed: str) -> None:
    """The archive does not take the place of a standard stream, nor reach the command."""
    listing = tmp_path / "open"
    script = (
        f"exec {bare} {pyz} --interval=100ms -- "
        f"sh -c 'ls -l /proc/self/fd > {listing}; exit 3' {closed}"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    assert subprocess.run(["sh", "-c", script], env=environment, timeout=30).returncode == 3
    assert "collector.pyz" not in listing.read_text()


def test_a_signal(stage: Stage, pyz: Path, bare: Path) -> None:
    """SIGTERM ends a run that measures, which prints its summary."""
    collector = stage.start(bare, pyz, "--interval=100ms", "--log-level=debug")
    collector.event("sample.taken")
    assert collector.stop() == 0
    assert json.loads(collector.output[0])["sample_count"] > 1
