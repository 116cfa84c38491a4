"""Reading one file, and the errors of the operating system."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runmeter.procfs import DeniedError, ReadError, VanishedError
from runmeter.procfs.reading import KeptFile, read_file, read_line

READERS = [read_file, read_line]
_NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Become an ordinary user for a moment, since root can read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@contextmanager
def paused_child() -> Iterator[int]:
    """Start a child process that does nothing."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def descriptor_count() -> int:
    """Return how many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("read", READERS)
def test_absent(read: Callable[[str], bytes], tmp_path: Path) -> None:
    """ENOENT, real: nothing is there."""
    with pytest.raises(VanishedError) as caught:
        read(str(tmp_path / "absent"))
    assert caught.value.path == str(tmp_path / "absent")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("read", READERS)
def test_ended_between_open_and_read(read: Callable[[str], bytes]) -> None:
    """ESRCH, real: the process ends while its file is open."""
    with paused_child() as pid:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    try:
        with pytest.raises(VanishedError) as caught:
            read(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ESRCH


@pytest.mark.parametrize("read", READERS)
def test_refused(read: Callable[[str], bytes], tmp_path: Path) -> None:
    """EACCES, real: the file is there and may not be read."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    path.chmod(0)
    with unprivileged(), pytest.raises(DeniedError) as caught:
        read(str(path))
    assert caught.value.path == str(path)


@pytest.mark.parametrize("read", READERS)
def test_folder(read: Callable[[str], bytes], tmp_path: Path) -> None:
    """EISDIR, real: any other failure keeps its number."""
    with pytest.raises(ReadError) as caught:
        read(str(tmp_path))
    assert caught.value.errno == errno.EISDIR


@pytest.mark.parametrize("read", READERS)
def test_below_a_file(read: Callable[[str], bytes], tmp_path: Path) -> None:
    """ENOTDIR, real: the mount is a file."""
    (tmp_path / "file").touch()
    with pytest.raises(ReadError) as caught:
        read(str(tmp_path / "file" / "stat"))
    assert caught.value.errno == errno.ENOTDIR


def test_reads_to_the_end(tmp_path: Path) -> None:
    """A file longer than one read comes whole, or as much of it as was asked for."""
    content = os.urandom(16) * 20_000
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read_file(str(path)) == content
    assert read_file(str(path), 100_000) == content[:100_000]
    assert read_file(str(path), 0) == b""


def test_short_reads() -> None:
    """A file that returns less than requested, as the kernel's do, is read to its end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        for _ in range(50):
            os.write(writer, b"x" * 10_000)
        os._exit(0)
    os.close(writer)
    try:
        assert read_file(f"/proc/self/fd/{reader}") == b"x" * 500_000
    finally:
        os.close(reader)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("read", READERS)
def test_no_descriptor_is_left(read: Callable[[str], bytes], tmp_path: Path) -> None:
    """Neither success nor failure leaves a descriptor open."""
    before = descriptor_count()
    read("/proc/self/stat")
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises((ReadError, VanishedError)):
            read(str(path))
    assert descriptor_count() == before


@pytest.mark.parametrize("read", READERS)
def test_descriptors_are_not_inherited(
    read: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every open asks for O_CLOEXEC: a command started meanwhile gets none of our files."""
    flags = []
    real_open = os.open

    def noting(path: str, flag: int) -> int:
        flags.append(flag)
        return real_open(path, flag)

    monkeypatch.setattr(os, "open", noting)
    read("/proc/self/stat")
    assert flags
    assert all(flag & os.O_CLOEXEC for flag in flags)


def test_a_kept_file_reads_what_is_there_now(tmp_path: Path) -> None:
    """Every reading is of the whole file as it is at that time, more than one buffer of it, too."""
    path = tmp_path / "stat"
    file = KeptFile(str(path))
    for content in (b"first", b"a" * 200_000, b"", b"last"):
        path.write_bytes(content)
        assert file.read() == content


@pytest.mark.parametrize(("spare", "left"), [(0, 0), (1, 1)])
def test_a_kept_file_leaves_high_descriptors(tmp_path: Path, spare: int, left: int) -> None:
    """A descriptor of ``keep_below`` or above is closed after each reading."""
    path = tmp_path / "stat"
    path.write_bytes(b"content")
    free = os.open(path, os.O_RDONLY)
    os.close(free)
    file = KeptFile(str(path), keep_below=free + spare)
    assert [file.read(), file.read()] == [b"content"] * 2
    assert os.path.exists(f"/proc/self/fd/{free}") == bool(left)
    file.close()


def test_a_kept_file_comes_back(tmp_path: Path) -> None:
    """A file that cannot be read is an error, and is opened again the next time."""
    path = tmp_path / "stat"
    file = KeptFile(str(path))
    with pytest.raises(VanishedError):
        file.read()
    path.write_bytes(b"now")
    assert file.read() == b"now"


def test_a_kept_file_of_the_kernel_moves_on() -> None:
    """Each reading through the same descriptor is new."""
    file = KeptFile("/proc/uptime")
    first = file.read()
    while file.read() == first:
        pass
