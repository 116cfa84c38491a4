"""Reports how calls to the receiver end, for metrics."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from runmeter.gateway.errors import ReceiverError

P = ParamSpec("P")
R = TypeVar("R")
Observe: TypeAlias = Callable[[str, str], None]
"""Takes the method of a finished call and the name of its gRPC code."""


class Observed(Protocol):
    """Has a callback."""

    @property
    def observe(self) -> Observe:
        """The callback."""


Self = TypeVar("Self", bound=Observed)
Method: TypeAlias = Callable[Concatenate[Self, P], Coroutine[Any, Any, R]]


class Ending:
    """How a call ends; CANCELLED until it is known: the client closed, or there is a defect."""

    code = "CANCELLED"


@contextmanager
def observing(observe: Observe, method: str) -> Iterator[Ending]:
    """Report how the call in this context ended: its ``ending``, or the error that leaves it."""
    ending = Ending()
    try:
        yield ending
        ending.code = "OK"
    except ReceiverError as error:
        ending.code = error.code
        raise
    finally:
        observe(method, ending.code)


def observed(method: str) -> Callable[[Method[Self, P, R]], Method[Self, P, R]]:
    """Report how each call of the decorated coroutine ended."""

    def decorate(function: Method[Self, P, R]) -> Method[Self, P, R]:
        @wraps(function)
        async def call(self: Self, *args: P.args, **kwargs: P.kwargs) -> R:
            with observing(self.observe, method):
                return await function(self, *args, **kwargs)

        return call  # type: ignore[return-value] # mypy wants `self` to have no name

    return decorate
