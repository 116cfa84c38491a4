"""The file a run waits in: whose it is, that it is whole, and what is refused on reading."""

from __future__ import annotations

import contextlib
import json
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector import spool
from runmeter.collector.errors import SpoolError

RUN = {"push_id": "0c8f", "payload": {"name": "é\udcff"}}


def test_a_run_survives_the_spool(tmp_path: Path) -> None:
    """What is written is read back as it was, in a file named after the run."""
    path = spool.write(str(tmp_path / "a" / "b"), "0c8f", spool.encode(RUN))
    assert path == str(tmp_path / "a" / "b" / "0c8f.json")
    assert spool.decode(Path(path).read_bytes()) == RUN


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """Folder and file are the owner's alone."""
    path = Path(spool.write(str(tmp_path / "spool"), "0c8f", b"x"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """A later version replaces the file at once; nothing else is left in the folder."""
    for content in (b"first", b"second, longer"):
        spool.write(str(tmp_path), "0c8f", content)
    assert [p.name for p in tmp_path.iterdir()] == ["0c8f.json"]
    assert (tmp_path / "0c8f.json").read_bytes() == b"second, longer"


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """When the new file cannot be made, the old one stays, and nothing half-written."""
    spool.write(str(tmp_path), "0c8f", b"first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(SpoolError, match="File too large"):
            spool.write(str(tmp_path), "0c8f", bytes((1 << 20) + 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["0c8f.json"]
    assert (tmp_path / "0c8f.json").read_bytes() == b"first"


@pytest.mark.parametrize("folder", ["/proc/none", "/dev/null", "/dev/null/below"])
def test_a_folder_that_cannot_be_written_is_named(folder: str) -> None:
    """The error names the folder and the reason."""
    with pytest.raises(SpoolError, match=f"'{folder}' cannot be written: "):
        spool.write(folder, "0c8f", b"x")


def test_no_folder_says_what_to_do() -> None:
    """Without a home folder the error says which flag helps."""
    with pytest.raises(SpoolError, match="give --spool-dir"):
        spool.write("", "0c8f", b"x")


def test_an_acknowledged_run_is_dropped(tmp_path: Path) -> None:
    """Removing leaves an empty folder."""
    spool.remove(spool.write(str(tmp_path), "0c8f", b"x"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a run"),
        (b"\xff\xfe\x00", "is not a run"),
        (b"{", "is not a run"),
        (b"[" * 100_000, "is not a run"),
        (b"[]", "is not a run"),
        (b'{"format":1}', "is not a run"),
        (b'{"format":1,"run":[]}', "is not a run"),
        (b'{"run":{}}', "has format None, this version reads 1"),
        (b'{"format":2,"run":{}}', "has format 2, this version reads 1"),
        (b'{"format":2,"runs":[]}', "has format 2, this version reads 1"),
        (b'{"format":"1","run":{}}', "has format '1', this version reads 1"),
        (b'{"format":true,"run":{}}', "has format True, this version reads 1"),
    ],
)
def test_foreign_files_are_refused(content: bytes, reason: str) -> None:
    """Other files, damaged files, other formats: the error says which it is."""
    with pytest.raises(SpoolError) as caught:
        spool.decode(content)
    assert str(caught.value).startswith(reason)


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["format", "run", "x"]), inner),
)


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_run_or_refused(raw: bytes) -> None:
    """Any bytes give a run or a SpoolError."""
    with contextlib.suppress(SpoolError):
        assert isinstance(spool.decode(raw), dict)


def test_a_damaged_file_is_refused_or_a_run() -> None:
    """A file cut at any place is refused: there is no half of a run."""
    whole = spool.encode(RUN)
    for length in range(len(whole)):
        with pytest.raises(SpoolError):
            spool.decode(whole[:length])
