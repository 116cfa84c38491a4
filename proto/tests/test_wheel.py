"""The built wheel."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

PROTO = Path(__file__).parents[1]
SOURCES = (
    *("pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md"),
    *("runmeter", "generator", "runtime", "golden"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, without anything generated before."""
    folder = tmp_path_factory.mktemp("proto")
    for name in SOURCES:
        source = PROTO / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_content(wheel: Path) -> None:
    """The wheel holds code, stubs and the marker of typing for every .proto file."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in PROTO.glob("runmeter/v1/*.proto"):
        for kind in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi"):
            assert f"runmeter/v1/{path.stem}{kind}" in names
    assert {"runmeter/v1/py.typed", "runmeter/v1/__init__.py"} <= names
    for name in ("checks.py", "json_reading.py", "json_writing.py", "rules.py", "schemas.json"):
        assert f"runmeter/v1/{name}" in names
    # runmeter is a namespace shared with other packages
    assert "runmeter/__init__.py" not in names


def test_import(wheel: Path, tmp_path: Path) -> None:
    """The modules are imported from the wheel, with its dependencies only."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import sys\n"
        f"sys.path[:0] = [{str(tmp_path)!r}, {sysconfig.get_path('purelib')!r},"
        f" {sysconfig.get_path('platlib')!r}]\n"
        "from runmeter.v1 import ingest_service_pb2_grpc, run_pb2\n"
        "run = run_pb2.Run(push_id='x', exit_code=0)\n"
        "assert run_pb2.Run.FromString(run.SerializeToString()).HasField('exit_code')\n"
        "print(run_pb2.__file__, ingest_service_pb2_grpc.__file__, sep='\\n')\n"
    )
    # -S: no .pth files, so no editable install of the sources
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    found = done.stdout.splitlines()
    assert len(found) == 2
    assert all(line.startswith(f"{tmp_path}/runmeter/v1/") for line in found)
