"""The errors of this package.

::

    ProcfsError(Exception)
    ├── ParseError(ValueError)   the text of a file is not what the kernel writes
    ├── VanishedError            the process or cgroup has ended: expected, count it
    ├── DeniedError              the kernel refused the read
    └── ReadError                any other failure of the operating system

Facts are attributes; no text holds content of a file.
"""

from errno import EACCES, ENODEV, ENOENT, EPERM, ESRCH


class ProcfsError(Exception):
    """Base of all errors of this package."""


class ParseError(ProcfsError, ValueError):
    """The text of a file is not what the kernel writes."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(file, reason)
        self.file = file
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


class VanishedError(ProcfsError):
    """The process or cgroup ended before or while it was read."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: gone"


class DeniedError(ProcfsError):
    """The kernel refused the read: other user, other namespace, or a hardened mount."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: permission denied"


class ReadError(ProcfsError):
    """Any other failure of the operating system, with its ``errno``."""

    def __init__(self, path: str, errno: int) -> None:
        super().__init__(path, errno)
        self.path = path
        self.errno = errno

    def __str__(self) -> str:
        return f"{self.path}: read failed with errno {self.errno}"


def from_os_error(path: str, error: OSError) -> ProcfsError:
    """Turn an OSError into an error of this package.

    ENOENT: no such process or file. ESRCH: the process ended between open and read.
    ENODEV: the same for a cgroup (kernel fs/kernfs/file.c).
    """
    if error.errno in (ENOENT, ESRCH, ENODEV):
        return VanishedError(path)
    if error.errno in (EACCES, EPERM):
        return DeniedError(path)
    return ReadError(path, error.errno or 0)
