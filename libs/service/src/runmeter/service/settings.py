"""Settings of a program: flag over environment variable over default.

A program has one table, a row for each flag::

    SETTINGS = (
        Setting("--addr", "GATEWAY_ADDR", "HOST:PORT", ":8080", "Where to listen."),
        Setting("--tls-key", "GATEWAY_TLS_KEY", "FILE", None, "Key of the certificate."),
    )
    given = Given(SETTINGS, flags, os.environ)  # flags: texts by name, as click passes them
    given.value("addr", values.address)  # Address(None, 8080)
    given.maybe("tls_key", str)  # None

`click_options` makes the flags of the same table; `ConfigurationError` has the sentence for what
cannot be used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from runmeter.service.errors import ConfigurationError
from runmeter.service.values import yes

if TYPE_CHECKING:
    import click

Flags = Mapping[str, object]
"""What was given on the command line, by name: a text, several, a bool of a switch, or None."""
_T = TypeVar("_T")


class Setting(NamedTuple):
    """One flag. ``metavar`` empty: a switch. ``default`` None: not set."""

    flag: str
    variable: str
    metavar: str
    default: str | None
    help: str
    secret: bool = False
    """Errors do not show the value."""
    repeatable: bool = False
    commands: tuple[str, ...] = ("serve",)
    """Subcommands that have it; ``serve`` is the program without one."""

    @property
    def name(self) -> str:
        """Return ``like_this`` for ``--like-this``."""
        return self.flag.removeprefix("--").replace("-", "_")


class Given:
    """The settings of a program as they were given. An empty variable counts as not set."""

    def __init__(
        self, settings: Iterable[Setting], flags: Flags, environ: Mapping[str, str]
    ) -> None:
        self._settings = {setting.name: setting for setting in settings}
        self._flags = {name: one for name, one in flags.items() if one is not None and one != ()}
        self._environ = environ

    def called(self, name: str) -> str:
        """Return the name of a setting in errors: its variable if that is used, else its flag."""
        setting = self._settings[name]
        return setting.variable if self._is_from_variable(setting) else setting.flag

    def text(self, name: str) -> str | None:
        """Return the text to use; for a repeated flag, its values separated by commas."""
        setting = self._settings[name]
        found = self._flags.get(name)
        if found is None:
            found = self._environ.get(setting.variable) or setting.default
        if isinstance(found, tuple):
            return ",".join(found)
        if found is None:
            return None
        return str(found).removesuffix("\n") if setting.secret else str(found)

    def maybe(self, name: str, parse: Callable[[str], _T]) -> _T | None:
        """Parse a setting that may be missing.

        Raises:
            ConfigurationError: it cannot be parsed.
        """
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.refuse(name, str(error), error)

    def value(self, name: str, parse: Callable[[str], _T]) -> _T:
        """Parse a setting that has a default; raises as `maybe` does."""
        assert self._settings[name].default is not None
        text = self.text(name)
        assert text is not None
        try:
            return parse(text)
        except ValueError as error:
            self.refuse(name, str(error), error)

    def switch(self, name: str) -> bool:
        """Read a switch: a flag without value, or a yes or no in the variable."""
        flag = self._flags.get(name)
        return flag if isinstance(flag, bool) else bool(self.maybe(name, yes))

    def secret(self, name: str) -> tuple[str, tuple[str, ...]] | None:
        """Read a secret from its setting or from the file that ``<name>_file`` names.

        Returns what an error calls it, and its text; of a repeatable one its texts, which stand
        one per line in a variable or file. One newline at the end is dropped. None: not given.

        Raises:
            ConfigurationError: both are given in the same way, or the file cannot be read.
        """
        file = f"{name}_file"
        chosen = name if self._rank(name) >= self._rank(file) else file
        if not self._rank(chosen):
            return None
        if self._rank(name) == self._rank(file):
            one, other = self.called(name), self.called(file)
            raise ConfigurationError(f"{one} and {other} are both given; give one of them")
        setting, flag = self._settings[name], self._flags.get(chosen)
        if chosen == name and flag is not None:
            texts = flag if isinstance(flag, tuple) else (str(flag),)
            return setting.flag, tuple(text.removesuffix("\n") for text in texts)
        text = self._file_text(file) if chosen == file else self._environ[setting.variable]
        text = text.removesuffix("\n")
        return self.called(chosen), tuple(text.split("\n")) if setting.repeatable else (text,)

    def refuse(self, name: str, reason: str, cause: Exception | None = None) -> NoReturn:
        """Raise the error about a setting: ``--addr 'x' must be …``."""
        shown = "" if self._settings[name].secret else f" {self.text(name)!r}"
        raise ConfigurationError(f"{self.called(name)}{shown} {reason}") from cause

    def _is_from_variable(self, setting: Setting) -> bool:
        return setting.name not in self._flags and bool(self._environ.get(setting.variable))

    def _rank(self, name: str) -> int:
        """Return 2 for a flag, 1 for a variable, 0 for neither."""
        return 2 if name in self._flags else int(self._is_from_variable(self._settings[name]))

    def _file_text(self, name: str) -> str:
        try:
            return Path(self.text(name) or "").read_bytes().decode()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            self.refuse(name, f"cannot be read: {reason}", error)


def click_options(
    settings: Iterable[Setting], command: str = "serve"
) -> Sequence["click.Parameter"]:
    """Return the flags of a command. Their values stay texts, which `Given` parses."""
    return [_click_option(setting) for setting in settings if command in setting.commands]


def _click_option(setting: Setting) -> "click.Parameter":
    import click  # a probe has settings and no flags

    default = f"; default {setting.default}" if setting.default else ""
    text = f"{setting.help}  [{setting.variable}{default}]"
    if not setting.metavar:
        names = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        return click.Option([names], default=None, help=text)
    return click.Option(
        [setting.flag],
        metavar=setting.metavar,
        multiple=setting.repeatable,
        default=None,
        help=text,
    )
