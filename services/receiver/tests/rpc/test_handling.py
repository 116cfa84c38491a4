"""runmeter.receiver.rpc.handling: the table of errors."""

import inspect

import grpc

from runmeter.receiver import errors
from runmeter.receiver.rpc.handling import CODES, code_of
from runmeter.receiver.rpc.status import status_of
from runmeter.service.errors import StartupError

EXAMPLES = {
    "violations": (errors.Violation("a", "b"),),
    "wanted": "the read token",
    "revision": 1,
    "stored": ("o", "o/r", "w", "j"),
    "reason": "it is locked",
    "allowed_bytes": 5,
    "allowed_seconds": 60.0,
    "wait_seconds": 12.5,
    "cause": errors.TokenExpired(),
}


def leaves(kind: type) -> list[type]:
    """Return the classes below a class, those without subclasses."""
    below = kind.__subclasses__()
    return [leaf for child in below for leaf in leaves(child)] if below else [kind]


def example(kind: type) -> errors.CallError:
    """Return an error of a class, its facts from EXAMPLES."""
    if "__init__" not in kind.__dict__ and kind.__init__ is errors.CallError.__init__:
        return kind()
    wanted = inspect.signature(kind.__init__).parameters
    return kind(**{name: value for name, value in EXAMPLES.items() if name in wanted})


def test_every_error_has_a_status_and_a_text() -> None:
    """Every class of the tree maps to a status that is not OK and says something."""
    found = {kind: code_of(example(kind)) for kind in leaves(errors.CallError)}
    assert found == {
        errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
        errors.MalformedRequest: grpc.StatusCode.INVALID_ARGUMENT,
        errors.MessageTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
        errors.UnknownMethod: grpc.StatusCode.UNIMPLEMENTED,
        errors.BearerMissing: grpc.StatusCode.UNAUTHENTICATED,
        errors.BearerUnknown: grpc.StatusCode.UNAUTHENTICATED,
        errors.TokenExpired: grpc.StatusCode.UNAUTHENTICATED,
        errors.WrongScope: grpc.StatusCode.PERMISSION_DENIED,
        errors.OtherCase: grpc.StatusCode.NOT_FOUND,
        errors.PushConflict: grpc.StatusCode.ALREADY_EXISTS,
        errors.Busy: grpc.StatusCode.RESOURCE_EXHAUSTED,
        errors.TooManyFailures: grpc.StatusCode.RESOURCE_EXHAUSTED,
        errors.CallTooLong: grpc.StatusCode.DEADLINE_EXCEEDED,
        errors.StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
        errors.ShuttingDown: grpc.StatusCode.UNAVAILABLE,
    }
    for kind, code in found.items():
        status = status_of(example(kind), code.value[0])
        assert len(status.message) > 10
        assert bool(status.details) == (kind in RETRIED or kind is errors.InvalidRequest)


RETRIED = {errors.Busy, errors.TooManyFailures, errors.StoreUnavailable, errors.ShuttingDown}


def test_the_table_names_only_errors_of_calls() -> None:
    """Every row of the table is used; errors of the start have no row."""
    kinds = leaves(errors.CallError)
    for row in CODES:
        assert any(issubclass(kind, row) for kind in kinds)
    exits = {kind.exit_code for kind in leaves(StartupError)}
    assert exits == {1, 2}
