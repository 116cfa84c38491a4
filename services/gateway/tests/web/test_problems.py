"""Every error as an HTTP answer."""

import inspect
import json

import pytest
import sanic.exceptions
from sanic.exceptions import MethodNotAllowed, RequestCancelled, SanicException, ServiceUnavailable

from runmeter.gateway import errors
from runmeter.gateway.errors import FieldError, ReceiverError
from runmeter.gateway.web.problems import KINDS, outcome_of, problem_response

SECRET = "ipv4:10.0.0.7:50051 is our address"

OWN = [
    (errors.InvalidRequest("x", FieldError("a", "b")), 400),
    (errors.MissingBearer(), 401),
    (errors.NoPushToken(), 401),
    (errors.DecodedSlash("o/r/w/j%2Fk"), 404),
    (errors.BodyTooLarge(10), 413),
    (errors.TooSlow("body", 30.0), 408),
    (errors.UnsupportedMediaType("x"), 415),
    (errors.AddressTooLong(), 414),
    (errors.HeadTooLarge(10), 431),
    (errors.TooManyRequests(100, 0.01), 429),
    (errors.TooManyAtOnce(), 429),
    (errors.Overloaded(), 503),
    (ReceiverError("INTERNAL", SECRET), 500),
]


@pytest.mark.parametrize(("error", "status"), OWN, ids=lambda value: type(value).__name__)
def test_own_errors(error: errors.GatewayError, status: int) -> None:
    """Each of our errors has its status."""
    assert outcome_of(error).status == status


def test_no_own_error_is_forgotten() -> None:
    """The list above holds every class of the tree."""
    tree = {
        c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__
    }
    tree -= {errors.GatewayError, FieldError}
    assert {type(error) for error, _ in OWN} == tree


@pytest.mark.parametrize(
    "kind",
    sorted(
        {
            cls
            for _, cls in inspect.getmembers(sanic.exceptions, inspect.isclass)
            if issubclass(cls, SanicException) and cls is not MethodNotAllowed
        },
        key=lambda cls: cls.__name__,
    ),
    ids=lambda cls: cls.__name__,
)
def test_every_error_of_the_http_layer(kind: type[SanicException]) -> None:
    """Every exception of Sanic has a status of the table."""
    error = kind.__new__(kind)
    SanicException.__init__(error, "text")
    assert outcome_of(error).status in KINDS


def test_client_gone() -> None:
    """A client that disconnected is not an error of the server."""
    assert outcome_of(RequestCancelled()).status == 499


def test_unknown_errors_say_nothing() -> None:
    """A defect is 500 without its text."""
    outcome = outcome_of(ZeroDivisionError(SECRET))
    assert (outcome.status, outcome.detail) == (500, None)


def test_why_the_database_is_unavailable() -> None:
    """503 has the reason if the receiver wrote it, which it does with a time to wait."""
    outcome = outcome_of(ReceiverError("UNAVAILABLE", "the reason", retry_after_seconds=5.0))
    assert (outcome.status, outcome.detail) == (503, "the reason")


def test_texts_are_bounded() -> None:
    """Input of a client is cut in answers: a key of a mebibyte is not repeated."""
    error = errors.InvalidRequest("x" * 2000, FieldError("k" * 2**20, "r" * 1001))
    found = json.loads(problem_response(outcome_of(error), "id-1").body or b"")
    (bad,) = found["errors"]
    assert [len(text) for text in (found["detail"], bad["field"], bad["reason"])] == [1000] * 3
    assert bad["field"] == "k" * 999 + "\u2026"


@pytest.mark.parametrize(
    ("code", "seconds", "expected"),
    [
        ("RESOURCE_EXHAUSTED", 2.4, "3"),
        ("RESOURCE_EXHAUSTED", 0.0, "1"),
        ("RESOURCE_EXHAUSTED", None, "1"),
        ("UNAVAILABLE", 5.0, "5"),
        ("UNAVAILABLE", None, "1"),
        ("ALREADY_EXISTS", 5.0, None),
    ],
)
def test_retry_after(code: str, seconds: float | None, expected: str | None) -> None:
    """Retry-After is in whole seconds, rounded up, at least one."""
    outcome = outcome_of(ReceiverError(code, "", retry_after_seconds=seconds))
    assert outcome.headers.get("Retry-After") == expected


def test_allow_is_in_order() -> None:
    """405 names the methods in a fixed order."""
    error = MethodNotAllowed("x", "PUT", ("POST", "GET", "HEAD"))
    assert outcome_of(error).headers == {"Allow": "GET, HEAD, POST"}


def test_busy_http_layer() -> None:
    """503 has Retry-After, also from Sanic."""
    assert outcome_of(ServiceUnavailable("x")).headers == {"Retry-After": "1"}
