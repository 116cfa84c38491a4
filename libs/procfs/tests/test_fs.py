"""Readers over a mount."""

import errno
import os
from pathlib import Path

import pytest

from runmeter.procfs import ParseError, ProcFS, ReadError, VanishedError

PROCESS = [
    "proc_stat",
    "proc_statm",
    "proc_status",
    "proc_cgroup",
    "proc_mountinfo",
    "proc_argv0",
]


def test_absent_machine_file(tmp_path: Path) -> None:
    """A mount without the file raises VanishedError with the file's path."""
    with pytest.raises(VanishedError) as caught:
        ProcFS(str(tmp_path), 4096, 100).stat()
    assert caught.value.path == f"{tmp_path}/stat"


@pytest.mark.parametrize("name", [n for n in PROCESS if n not in ("proc_argv0", "proc_status")])
def test_garbage_process(name: str, tmp_path: Path) -> None:
    """A malformed file raises ParseError, whose text has none of its content."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / name.removeprefix("proc_")).write_bytes(b"secret\n")
    with pytest.raises(ParseError) as caught:
        getattr(ProcFS(str(tmp_path), 4096, 100), name)(7)
    assert "secret" not in str(caught.value)


def test_pids(tmp_path: Path) -> None:
    """Only folders named by ASCII digits are pids; they come in ascending order."""
    for name in ("10", "9", "100", "self", "1x", "٣", "-1", "sys"):
        (tmp_path / name).mkdir()
    assert ProcFS(str(tmp_path), 4096, 100).pids() == [9, 10, 100]


def test_pids_of_no_mount(tmp_path: Path) -> None:
    """A mount that is not there, or not a folder, raises like any other read."""
    with pytest.raises(VanishedError):
        ProcFS(str(tmp_path / "absent"), 4096, 100).pids()
    (tmp_path / "file").touch()
    with pytest.raises(ReadError):
        ProcFS(str(tmp_path / "file"), 4096, 100).pids()


def test_live_pids() -> None:
    """The live mount shows this process."""
    pids = ProcFS("/proc", 4096, 100).pids()
    assert os.getpid() in pids
    assert pids == sorted(set(pids))


def test_live_zombie() -> None:
    """A zombie has its name and times, no memory, and no mounts: EINVAL from the kernel."""
    procfs = ProcFS("/proc", 4096, 100)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert procfs.proc_stat(pid).state == "Z"
        assert procfs.proc_status(pid).vm_rss_kb is None
        assert procfs.proc_statm(pid).resident == 0
        assert procfs.proc_argv0(pid) == ""
        assert procfs.proc_cgroup(pid)
        with pytest.raises(ReadError) as caught:
            procfs.proc_mountinfo(pid)
        assert caught.value.errno == errno.EINVAL
    finally:
        os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("ticks_per_second", "ticks", "nanoseconds"),
    [(100, 1, 10_000_000), (1024, 1, 976_562), (1000, 3, 3_000_000), (100, 2**63, 2**63 * 10**7)],
)
def test_ticks(ticks_per_second: int, ticks: int, nanoseconds: int) -> None:
    """The tick rate is that of the value, and integers never lose digits."""
    assert ProcFS("/proc", 4096, ticks_per_second).ticks_nanoseconds(ticks) == nanoseconds


@pytest.mark.parametrize(("page_size", "size"), [(4096, 40960), (65536, 655360)])
def test_pages(page_size: int, size: int) -> None:
    """The page size is that of the value."""
    assert ProcFS("/proc", page_size, 100).pages_bytes(10) == size
