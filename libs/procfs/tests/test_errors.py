"""The error tree, and the one place that maps errno."""

import errno

import pytest

from runmeter.procfs import (
    DeniedError,
    ParseError,
    ProcfsError,
    ReadError,
    VanishedError,
)
from runmeter.procfs.errors import from_os_error


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, VanishedError),
        (errno.ESRCH, VanishedError),
        (errno.ENODEV, VanishedError),
        (errno.EACCES, DeniedError),
        (errno.EPERM, DeniedError),
        (errno.EIO, ReadError),
        (errno.EMFILE, ReadError),
        (errno.EISDIR, ReadError),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else None,
)
def test_errno_table(number: int, kind: type[ProcfsError]) -> None:
    """Each errno has its class; what is not in the table keeps its number."""
    error = from_os_error("/proc/7/stat", OSError(number, "text"))
    assert type(error) is kind
    if isinstance(error, ReadError):
        assert error.errno == number
    assert "/proc/7/stat" in str(error)


def test_parse_error_is_a_value_error() -> None:
    """A ParseError can be caught as ValueError."""
    assert issubclass(ParseError, ValueError)
