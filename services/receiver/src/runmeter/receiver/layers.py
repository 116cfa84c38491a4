"""Settings as given: flags over environment over defaults."""

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from runmeter.receiver.errors import ConfigurationError
from runmeter.receiver.settings import SETTINGS, Setting
from runmeter.receiver.values import yes

Flags = Mapping[str, object]
_T = TypeVar("_T")


class Layers:
    """Texts of settings, and where they came from."""

    def __init__(self, flags: Flags, environ: Mapping[str, str]) -> None:
        self._flags = flags
        self._environ = environ
        self._settings = {setting.name: setting for setting in SETTINGS}

    def origin(self, name: str) -> tuple[Setting, str, object]:
        """Return the setting, what to call it in an error, and its value or None."""
        setting = self._settings[name]
        given = self._flags.get(name)
        if given is not None and given != ():
            return setting, setting.flag, given
        from_environment = self._environ.get(setting.variable, "")
        if from_environment:
            return setting, setting.variable, from_environment
        return setting, setting.flag, setting.default

    def layer(self, name: str) -> int:
        """Return 2 for a value from a flag, 1 from the environment, 0 for none."""
        given = self._flags.get(name)
        if given is not None and given != ():
            return 2
        return 1 if self._environ.get(self._settings[name].variable) else 0

    def maybe(self, name: str, parse: Callable[[str], _T]) -> _T | None:
        """Parse a setting that may be missing."""
        setting, called, value = self.origin(name)
        if value is None:
            return None
        try:
            return parse(str(value))
        except ValueError as error:
            shown = "" if setting.secret else f" {str(value)!r}"
            raise ConfigurationError(f"{called}{shown} {error}") from error

    def parsed(self, name: str, parse: Callable[[str], _T]) -> _T:
        """Parse a setting that has a default."""
        if self.origin(name)[2] is None:
            raise AssertionError(f"{name} has no default")
        return cast(_T, self.maybe(name, parse))

    def switch(self, name: str) -> bool:
        """Read a switch: a flag without value, or a yes or no in the environment."""
        given = self._flags.get(name)
        return given if isinstance(given, bool) else bool(self.maybe(name, yes))
