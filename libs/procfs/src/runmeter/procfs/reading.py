"""Read the bytes of one file."""

import os

from runmeter.procfs.errors import from_os_error

_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_CHUNK_BYTES = 65536
_LINE_BYTES = 2048  # longer than any line of stat and statm


def read_file(path: str, bytes_max: int | None = None) -> bytes:
    """Return the whole file, or its first ``bytes_max`` bytes.

    It reads until the end of the file: of files such as cgroup and mountinfo the kernel returns
    about a page per read.

    Raises:
        VanishedError, DeniedError, ReadError: as from_os_error() says.
    """
    chunks = []
    left = bytes_max
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            while left is None or left > 0:
                chunk = os.read(descriptor, _CHUNK_BYTES if left is None else left)
                if not chunk:
                    break
                chunks.append(chunk)
                if left is not None:
                    left -= len(chunk)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise from_os_error(path, error) from error
    return b"".join(chunks)


class KeptFile:
    """A file that is read repeatedly: opened once, closed with this object.

    For files of /proc whose content changes while the file stays the same, such as stat.
    ``keep_below``: a descriptor of this number or a higher one is closed after each reading, so
    that enough descriptors stay free.
    """

    def __init__(self, path: str, keep_below: int | None = None) -> None:
        self._path = path
        self._keep_below = keep_below
        self._descriptor = -1

    def read(self) -> bytes:
        """Return the whole file as it is now.

        Raises: as read_file(); the next call opens the file again.
        """
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, _FLAGS)
            raw = chunk = os.pread(self._descriptor, _CHUNK_BYTES, 0)
            while len(chunk) == _CHUNK_BYTES:
                chunk = os.pread(self._descriptor, _CHUNK_BYTES, len(raw))
                raw += chunk
            if self._keep_below is not None and self._descriptor >= self._keep_below:
                self.close()
            return raw
        except OSError as error:
            self.close()
            raise from_os_error(self._path, error) from error

    def close(self) -> None:
        """Close the descriptor, if there is one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


def read_line(path: str) -> bytes:
    """Return a one-line file, read at once, since this runs for every process at every tick.

    Raises: as read_file().
    """
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            return os.read(descriptor, _LINE_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise from_os_error(path, error) from error
