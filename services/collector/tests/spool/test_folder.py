"""The file of a waiting run: its owner, its content, and what is refused on reading."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.errors import HeldError, SpoolError
from runmeter.collector.spool.folder import (
    REJECTED_FOLDER,
    push_id_of,
    remove_file,
    trim,
    write_file,
)
from runmeter.collector.spool.format import decode, encode
from runmeter.collector.spool.locks import is_held, lock, release

RUN = {"push_id": "0c8f", "payload": {"name": "é\udcff"}}


def test_a_run_survives_the_spool(tmp_path: Path) -> None:
    """A run is read back unchanged, from a file with its push_id as name."""
    path = write_file(str(tmp_path / "a" / "b"), "0c8f", encode(RUN))
    assert path == str(tmp_path / "a" / "b" / "0c8f.json")
    assert decode(Path(path).read_bytes()) == RUN


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """Only the owner can access folder and file."""
    path = Path(write_file(str(tmp_path / "spool"), "0c8f", b"x"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """A new version replaces the file; no other file is left."""
    for content in (b"first", b"second, longer"):
        write_file(str(tmp_path), "0c8f", content)
    assert [p.name for p in tmp_path.iterdir()] == ["0c8f.json"]
    assert (tmp_path / "0c8f.json").read_bytes() == b"second, longer"


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """If the new file cannot be written, the old one stays, and no other file."""
    write_file(str(tmp_path), "0c8f", b"first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(SpoolError, match="File too large"):
            write_file(str(tmp_path), "0c8f", bytes((1 << 20) + 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["0c8f.json"]
    assert (tmp_path / "0c8f.json").read_bytes() == b"first"


@pytest.mark.parametrize("folder", ["/proc/none", "/dev/null", "/dev/null/below"])
def test_a_folder_that_cannot_be_written_is_named(folder: str) -> None:
    """The error names the folder and the reason."""
    with pytest.raises(SpoolError, match=f"'{folder}' cannot be written: "):
        write_file(folder, "0c8f", b"x")


def test_no_folder_says_what_to_do() -> None:
    """Without a home folder the error says which flag helps."""
    with pytest.raises(SpoolError, match="give --spool-dir"):
        write_file("", "0c8f", b"x")


def test_an_acknowledged_run_is_dropped(tmp_path: Path) -> None:
    """Removing leaves an empty folder."""
    remove_file(write_file(str(tmp_path), "0c8f", b"x"))
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
        decode(content)
    assert str(caught.value).startswith(reason)


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["format", "run", "x"]), inner),
)


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_run_or_refused(raw: bytes) -> None:
    """Any bytes give a run or a SpoolError."""
    with contextlib.suppress(SpoolError):
        assert isinstance(decode(raw), dict)


def test_a_damaged_file_is_refused_or_a_run() -> None:
    """A file cut at any place is refused: there is no half of a run."""
    whole = encode(RUN)
    for length in range(len(whole)):
        with pytest.raises(SpoolError):
            decode(whole[:length])


# -- who owns a run -----------------------------------------------------------------------

IDS = [f"00000000-0000-4000-8000-{number:012}" for number in range(9)]


def test_a_run_has_one_owner(tmp_path: Path) -> None:
    """A second lock is refused until the first is released or its descriptor is closed."""
    folder = str(tmp_path / "spool")
    for give_up in (lambda fd: release(folder, IDS[0], fd), os.close):
        descriptor = lock(folder, IDS[0])
        assert not os.get_inheritable(descriptor)
        assert is_held(folder, IDS[0])
        with pytest.raises(HeldError):
            lock(folder, IDS[0])
        give_up(descriptor)
        assert not is_held(folder, IDS[0])


def test_locks_exclude_each_other_while_their_files_come_and_go(tmp_path: Path) -> None:
    """Of several threads that lock and release a run, never two own it at the same time."""
    folder, owners, clashes, turns = str(tmp_path), [0], [0], [0]

    def take_turns() -> None:
        for _ in range(2000):
            try:
                descriptor = lock(folder, IDS[0])
            except HeldError:
                continue
            owners[0] += 1
            os.stat(folder)  # lets the others run
            clashes[0] += owners[0] > 1
            turns[0] += 1
            owners[0] -= 1
            release(folder, IDS[0], descriptor)

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert turns[0] > 100
    assert clashes[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_the_lock_file_goes_with_its_run(tmp_path: Path) -> None:
    """Of an acknowledged run no file is left; the next lock of its name is a new file."""
    path = write_file(str(tmp_path), IDS[0], encode(RUN))
    first = lock(str(tmp_path), IDS[0])
    remove_file(path)
    assert list(tmp_path.iterdir()) == []
    second = lock(str(tmp_path), IDS[0])
    release(str(tmp_path), IDS[0], first)  # must not take the other's file away
    assert [p.name for p in tmp_path.iterdir()] == [f"{IDS[0]}.lock"]
    os.close(second)


@pytest.mark.parametrize("folder", ["", "/proc/none", "/dev/null/below"])
def test_a_spool_that_cannot_be_says_so_when_locked(folder: str) -> None:
    """A folder that cannot be made is a SpoolError, and no process holds the run."""
    with pytest.raises(SpoolError) as caught:
        lock(folder, IDS[0])
    assert not isinstance(caught.value, HeldError)


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    """The target of a link is neither created nor locked."""
    (tmp_path / f"{IDS[0]}.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpoolError):
        lock(str(tmp_path), IDS[0])
    assert not (tmp_path / "elsewhere").exists()


# -- limits -------------------------------------------------------------------------------


def fill(folder: Path, *numbers: int, below: str = "") -> None:
    """Write runs of 100 bytes, each younger than the next."""
    for number in numbers:
        path = write_file(str(folder / below), IDS[number], b"x" * 100)
        os.utime(path, ns=((9 - number) * 10**9,) * 2)


def left(folder: Path) -> list[int]:
    """Return the numbers of the runs that are left, rejected ones included."""
    return sorted(IDS.index(path.stem) for path in folder.rglob("*.json"))


def trimmed(folder: Path, max_runs: int, max_bytes: int, keep: str = "") -> list[str]:
    """Trim a spool; return the push_ids it yields, of runs that are there until then."""
    found = []
    for push_id in trim(str(folder), max_runs, max_bytes, keep):
        assert IDS.index(push_id) in left(folder)
        found.append(push_id)
    return found


@pytest.mark.parametrize(
    ("max_runs", "max_bytes", "dropped"),
    [(4, 400, []), (3, 400, [3]), (4, 399, [3]), (4, 100, [3, 2, 1]), (1, 400, [3, 2, 1])],
)
def test_the_oldest_runs_are_dropped(
    tmp_path: Path, max_runs: int, max_bytes: int, dropped: list[int]
) -> None:
    """Until both limits are met; each is yielded before it is removed; no lock file is left."""
    fill(tmp_path, 3, 1, 0, 2)
    assert trimmed(tmp_path, max_runs, max_bytes) == [IDS[n] for n in dropped]
    assert left(tmp_path) == [n for n in range(4) if n not in dropped]
    assert not list(tmp_path.glob("*.lock"))


def test_owned_runs_and_the_own_one_are_never_dropped(tmp_path: Path) -> None:
    """Runs that are still measured stay, even beyond the limits."""
    fill(tmp_path, 0, 1, 2, 3)
    descriptor = lock(str(tmp_path), IDS[1])
    assert trimmed(tmp_path, 0, 0, IDS[0]) == [IDS[3], IDS[2]]
    assert left(tmp_path) == [0, 1]
    os.close(descriptor)


def test_rejected_runs_are_dropped_first(tmp_path: Path) -> None:
    """Rejected runs count, and are removed before waiting ones."""
    fill(tmp_path, 0, 1)
    fill(tmp_path, 2, 3, below=REJECTED_FOLDER)
    assert trimmed(tmp_path, 1, 1000) == [IDS[3], IDS[2], IDS[1]]
    assert left(tmp_path) == [0]


def test_what_dead_writers_left_is_dropped(tmp_path: Path) -> None:
    """Temporary files and locks of runs that are gone, unless a process owns them."""
    fill(tmp_path, 0)
    for name in (f"{IDS[1]}.json.tmp", f"{IDS[1]}.lock", f"{IDS[2]}.json.tmp", "mine.tmp"):
        (tmp_path / name).touch()
    descriptor = lock(str(tmp_path), IDS[2])
    assert trimmed(tmp_path, 10, 1000) == []
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{IDS[0]}.json", f"{IDS[2]}.json.tmp", f"{IDS[2]}.lock", "mine.tmp"}
    os.close(descriptor)


def test_a_spool_that_is_not_there_has_nothing_to_drop(tmp_path: Path) -> None:
    """No folder: nothing is dropped, nothing is made."""
    assert trimmed(tmp_path / "none", 0, 0) == []
    assert not (tmp_path / "none").exists()


# -- names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", ".json", "0c8f.json", f"{IDS[0]}", f"{IDS[0]}.json.tmp", f"{IDS[0]}x.json",
     f"{IDS[0].upper()}.jso", "0000000A-0000-4000-8000-000000000000.json",
     "00000000-0000-4000-8000-00000000000\n.json", "00000000000040008000000000000000.json"],
)  # fmt: skip
def test_other_names_are_not_ours(name: str) -> None:
    """Only a lower-case UUID with the suffix is the name of a run."""
    assert push_id_of(name) == ""
    assert push_id_of(f"{IDS[0]}.json") == IDS[0]
