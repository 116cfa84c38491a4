"""Look up a setting: its flag, else its variable, else its default."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from runmeter.collector.errors import QuantityError, UsageError

T = TypeVar("T")
_SHOWN = 80  # characters of a bad value in its error


class Source:
    """The given flags and variables.

    ``forgiving``: a UsageError becomes a warning and the default is used (around a command).
    """

    def __init__(
        self, flags: Mapping[str, Any], environment: Mapping[str, str], forgiving: bool
    ) -> None:
        self._flags = flags
        self._environment = environment
        self._forgiving = forgiving
        self.warnings: list[str] = []

    def has_flag(self, flag: str) -> bool:
        """Return whether a flag is on the command line."""
        return self._flags[flag.replace("-", "_")] is not None

    def is_given(self, flag: str) -> bool:
        """Return whether a flag is on the command line or its variable is set."""
        return self.has_flag(flag) or bool(self._environment.get(_variable(flag)))

    def value(self, flag: str, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed value of a flag or its variable.

        Raises:
            UsageError: the value is not allowed; forgiven if it is of a variable.
        """
        if self.has_flag(flag):
            return self.strictly(flag, parse, default)
        return self.forgive(lambda: self.strictly(flag, parse, default), default)

    def strictly(self, flag: str, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed value of a flag or its variable; errors are not forgiven."""
        given = self._flags[flag.replace("-", "_")]
        if given is not None:
            return parsed(f"--{flag}", given, parse)
        name = _variable(flag)
        given = self._environment.get(name, "")
        return parsed(name, given, parse) if given else default

    def variable(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed value of a variable; if it is unset or empty, the default."""
        given = self._environment.get(name, "")
        if not given:
            return default
        return self.forgive(lambda: parsed(name, given, parse), default)

    def forgive(
        self, make: Callable[[], T], default: T, instead: str = "continuing without it"
    ) -> T:
        """Return what ``make`` returns; if a UsageError is forgiven, the default.

        ``instead``: the end of the warning: what happens in that case.
        """
        try:
            return make()
        except UsageError as error:
            self.fail(error, instead)
            return default

    def fail(self, error: UsageError, instead: str) -> None:
        """Raise the error; if it is forgiven, add it to the warnings."""
        if not self._forgiving:
            raise error
        self.warnings.append(f"{error}; {instead}")


def _variable(flag: str) -> str:
    return f"COLLECTOR_{flag.replace('-', '_').upper()}"


def parsed(name: str, given: str, parse: Callable[[str], T]) -> T:
    """Return the parsed value; an error names the flag or variable."""
    try:
        return parse(given)
    except QuantityError as error:
        shown = given if len(given) <= _SHOWN else given[:_SHOWN] + "…"
        raise UsageError(f"{name}={shown!r}: must be {error.expected}") from error
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
