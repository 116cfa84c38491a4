"""Disks of a test's own that fill up, refuse, slow down, stand still or lose their power.

Each is an ext4 file system in a file, mounted through a loop device: for root only.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, linux/ext4.h
_WITHOUT_JOURNAL = struct.pack("I", 2)  # EXT4_GOING_FLAGS_NOLOGFLUSH
_BLKIO = Path("/sys/fs/cgroup/blkio")
UNMOUNT_SECONDS = 30.0
SKIPPED = "needs root and loop devices"
SKIPPED_SLOW = "needs writable cgroups, version 1: blkio"


def _run(*line: str | Path) -> str:
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{line}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


class Disk:
    """A file system of this size, mounted at ``path``."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.path = folder / "disk"
        self._image = folder / "disk.img"
        self._filler = self.path / "filler"
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(size_bytes)
        # blocks of a page, as disks have them: SQLite makes room for its index of the log, which is
        # mapped memory, by one byte a page; where that is a block of several, a full disk is SIGBUS
        block = str(os.sysconf("SC_PAGE_SIZE"))
        options = ("-q", "-m", "0", "-b", block, "-E", "lazy_itable_init=0")
        _run("mkfs.ext4", *options, self._image)

    def mount(self) -> None:
        """Mount it; what the journal holds is replayed."""
        _run("mount", "-o", "loop,errors=remount-ro", self._image, self.path)

    def unmount(self) -> None:
        """Unmount it; those who had files open have just ended.

        A mount namespace that someone has made meanwhile holds it, too: mounted again before that
        ends, it would still be the one without power.
        """
        deadline = time.monotonic() + UNMOUNT_SECONDS
        while True:
            try:
                _run("umount", self.path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
        while self._device:
            assert time.monotonic() < deadline, f"{self._image} is still mounted elsewhere"
            time.sleep(0.05)

    @property
    def _device(self) -> str:
        return _run("losetup", "--noheadings", "--output=NAME", "-j", self._image)

    def fill(self) -> None:
        """Leave no room at all."""
        with self._filler.open("ab", 0) as file:
            for size_bytes in (65536, 512):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size_bytes)):
                        pass
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (self.path / "more").write_bytes(bytes(65536))
        (self.path / "more").unlink()

    def take(self, size_bytes: int) -> None:
        """Take so much room, until `free`."""
        self._filler.write_bytes(bytes(size_bytes))

    def leave(self, size_bytes: int) -> None:
        """Fill it, and give back so much."""
        self.fill()
        os.truncate(self._filler, self._filler.stat().st_size - size_bytes)
        self.sync()

    def free(self) -> None:
        """Give back what `fill` or `take` took."""
        self._filler.unlink()

    def sync(self) -> None:
        """Write everything to the disk."""
        _run("sync", "--file-system", self.path)

    def cut_power(self) -> None:
        """Lose what is not on the disk; from now on nothing can be read or written."""
        opened = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(opened, _SHUTDOWN, _WITHOUT_JOURNAL)
        finally:
            os.close(opened)

    def find_error(self) -> None:
        """Let the kernel find the file system damaged: read-only until it is mounted again."""
        name = Path(self._device).name
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("a fault of the test's own")

    def freeze(self) -> None:
        """Let everything that writes stand still, until `thaw`."""
        _run("fsfreeze", "--freeze", self.path)

    def thaw(self) -> None:
        """Let it go on."""
        _run("fsfreeze", "--unfreeze", self.path)

    @contextlib.contextmanager
    def slow(self, pid: int, bytes_per_second: int) -> Iterator[None]:
        """Let a process write no faster than this, for a while."""
        group = _BLKIO / f"runmeter-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            pytest.skip(SKIPPED_SLOW)
        device = Path("/sys/class/block", Path(self._device).name, "dev").read_text().strip()
        limit = group / "blkio.throttle.write_bps_device"
        try:
            limit.write_text(f"{device} {bytes_per_second}")
            (group / "cgroup.procs").write_text(str(pid))
            yield
        finally:
            limit.write_text(f"{device} 0")
            with contextlib.suppress(ProcessLookupError):
                (_BLKIO / "cgroup.procs").write_text(str(pid))
            until = time.monotonic() + UNMOUNT_SECONDS
            while (group / "cgroup.procs").read_text() and time.monotonic() < until:
                time.sleep(0.01)  # children of the process may still write
            group.rmdir()


@contextlib.contextmanager
def refusing_writes(*paths: Path) -> Iterator[None]:
    """Let the kernel refuse all changes of files, also through descriptors that are open."""
    _run("chattr", "+i", *paths)
    try:
        yield
    finally:
        _run("chattr", "-i", *paths)


@contextlib.contextmanager
def mounted(size_bytes: int) -> Iterator[Disk]:
    """Hold a mounted disk; skips the test where there can be none."""
    if os.geteuid() != 0:
        pytest.skip(SKIPPED)
    folder = Path(tempfile.mkdtemp(prefix="runmeter-disk-"))
    folder.chmod(0o755)  # a server of another user may have files on it
    try:
        try:
            disk = Disk(folder, size_bytes)
            disk.mount()
        except OSError:
            pytest.skip(SKIPPED)
        try:
            yield disk
        finally:
            disk.unmount()
    finally:
        shutil.rmtree(folder)
