"""Released contracts: unchanged, complete, compatible with the current one."""

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

RELEASED = Path(__file__).parents[1] / "released"
CONTRACTS = sorted(RELEASED.glob("*.binpb"))


def test_there_is_a_release() -> None:
    """The first contract is recorded."""
    assert "0.1.0.binpb" in [path.name for path in CONTRACTS]


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: path.stem)
def test_current_contract_keeps_it(
    path: Path, compatibility: dict[str, Any], release: dict[str, Any]
) -> None:
    """The current contract is compatible with every released one."""
    old = FileDescriptorSet.FromString(path.read_bytes())
    assert [file.name for file in old.file] == sorted(file.name for file in old.file)
    assert all(file.package == "runmeter.v1" for file in old.file)
    assert compatibility["incompatible_changes"](old, release["current_contract"]()) == []


def test_sums(release: dict[str, Any]) -> None:
    """SHA256SUMS lists exactly the released files, with their sums."""
    assert release["faults"](RELEASED) == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the released files."""
    return Path(shutil.copytree(RELEASED, tmp_path / "released"))


def test_one_byte_is_noticed(release: dict[str, Any], copy: Path) -> None:
    """A changed byte at the start, in the middle or at the end of a released file is a fault."""
    path = copy / "0.1.0.binpb"
    content = path.read_bytes()
    for position in (0, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        assert release["faults"](copy) == ["0.1.0.binpb changed"]


def test_missing_and_additional_files(release: dict[str, Any], copy: Path) -> None:
    """A missing file and a file that is not listed are faults."""
    (copy / "0.1.0.binpb").rename(copy / "9.9.9.binpb")
    assert release["faults"](copy) == ["0.1.0.binpb missing", "9.9.9.binpb not listed"]


def test_record(release: dict[str, Any], tmp_path: Path) -> None:
    """Recording writes the contract, the same bytes each time, and adds its sum to SHA256SUMS."""
    first = release["record"]("1.0.0", tmp_path)
    second = release["record"]("1.0.1", tmp_path)
    assert first.read_bytes() == second.read_bytes()
    contract = FileDescriptorSet.FromString(first.read_bytes())
    assert contract == release["current_contract"]()
    assert len(contract.file) == 4
    digest = sha256(first.read_bytes()).hexdigest()
    assert (
        tmp_path / "SHA256SUMS"
    ).read_text() == f"{digest}  1.0.0.binpb\n{digest}  1.0.1.binpb\n"
    assert release["faults"](tmp_path) == []


def test_no_overwriting(release: dict[str, Any], tmp_path: Path) -> None:
    """Recording a version again is refused, and no file changes."""
    release["record"]("1.0.0", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError):
        release["record"]("1.0.0", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("version", ["", "1.0", "v1.0.0", "1.0.0/../x", "1.0.0rc1", "..", "1..0"])
def test_only_versions(release: dict[str, Any], tmp_path: Path, version: str) -> None:
    """A version that is not three numbers is refused, and no file is written."""
    with pytest.raises(ValueError, match="three numbers"):
        release["record"](version, tmp_path)
    assert list(tmp_path.iterdir()) == []
