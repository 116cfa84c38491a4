"""The error tree, and the one place that maps errno."""

import errno
import pickle

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


@pytest.mark.parametrize(
    "error",
    [
        ParseError("stat", "fields are missing"),
        VanishedError("/proc/7"),
        DeniedError("/proc/7"),
        ReadError("/proc/7", 5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_facts_are_attributes(error: ProcfsError) -> None:
    """Every class is of the tree, says its facts in its text, and survives pickling."""
    assert isinstance(error, ProcfsError)
    facts = vars(error)
    assert facts
    assert all(str(fact) in str(error) for fact in facts.values())
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), vars(copy)) == (type(error), facts)


def test_parse_error_is_a_value_error() -> None:
    """A caller that knows only the builtins can catch a ParseError as ValueError."""
    assert issubclass(ParseError, ValueError)
