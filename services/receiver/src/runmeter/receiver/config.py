"""Configuration: flags over environment over defaults. The only reader of the environment."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import durationpy

from runmeter.receiver.databases import Database, parse_database
from runmeter.receiver.errors import ConfigurationError
from runmeter.receiver.logs import FORMATS, LEVELS
from runmeter.receiver.peers import Networks, parse_networks
from runmeter.receiver.settings import SETTINGS, Setting
from runmeter.receiver.tls import Tls, UnusableFile, load_tls

_DAYS = re.compile(r"(?:(\d{1,6})d)?(.*)", re.ASCII)
_DAY_SECONDS = 86400.0
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+|0", re.ASCII)
_SIZE = re.compile(r"(\d{1,15})(Ki|KiB|Mi|MiB)?", re.ASCII)
_SIZE_FACTORS = {"": 1, "Ki": 2**10, "Mi": 2**20}
_MESSAGE_BYTES_MIN, _MESSAGE_BYTES_MAX = 2**10, 64 * 2**20
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:\s]*):(\d{1,5})", re.ASCII)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_TLS_ROLES = ("cert", "key", "client_ca")
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

Flags = Mapping[str, object]
_T = TypeVar("_T")


class LogConfig(NamedTuple):
    """How to log; no format: by where standard error goes."""

    level: str
    format: str | None


class MigrateConfig(NamedTuple):
    """What ``receiver migrate`` needs."""

    database: Database
    log: LogConfig


class PruneConfig(NamedTuple):
    """What ``receiver prune`` needs."""

    database: Database
    older_than_seconds: float
    dry_run: bool
    log: LogConfig


class ExportConfig(NamedTuple):
    """What ``receiver export`` needs."""

    database: Database
    log: LogConfig


class ImportConfig(NamedTuple):
    """What ``receiver import`` needs; `source` None is standard input."""

    database: Database
    migrate: bool
    source: str | None
    skip_bad: bool
    log: LogConfig


class ServeConfig(NamedTuple):
    """What serving needs."""

    address: str
    database: Database
    migrate: bool
    read_token: str
    hmac_keys: tuple[str, ...]
    max_token_ttl_seconds: float | None
    shutdown_timeout_seconds: float
    max_message_bytes: int
    retention_seconds: float | None
    call_timeout_seconds: float
    max_auth_failures: int
    trusted_peers: Networks
    ops_address: str | None
    tls: Tls | None
    log: LogConfig
    reread: Callable[[], "ServeConfig"]

    def __repr__(self) -> str:
        """Show no secret."""
        return f"ServeConfig(address={self.address!r}, database={self.database.label!r})"


def load_serve(flags: Flags, environ: Mapping[str, str] | None = None) -> ServeConfig:
    """Read the configuration of ``receiver``.

    `flags` holds texts by setting name (``db``), None for what was not given. The `reread` of
    the result does the same again: only what lies in files can differ.

    Raises:
        ConfigurationError: the first setting that is missing or bad.
    """
    values = _Values(flags, os.environ if environ is None else environ)
    database = values.parsed("db", parse_database)
    return ServeConfig(
        address=values.parsed("addr", _address),
        database=database,
        migrate=_migrates(database, values),
        read_token=_read_token(values),
        hmac_keys=_hmac_keys(values),
        max_token_ttl_seconds=values.maybe("max_token_ttl", _token_ttl),
        shutdown_timeout_seconds=values.parsed("shutdown_timeout", _shutdown_timeout),
        max_message_bytes=values.parsed("max_message_bytes", _size),
        retention_seconds=values.maybe("retention", _age),
        call_timeout_seconds=values.parsed("call_timeout", _call_timeout),
        max_auth_failures=values.parsed("max_auth_failures", _count),
        trusted_peers=_trusted_peers(values),
        ops_address=values.parsed("ops_addr", _ops_address),
        tls=_tls(values),
        log=_log(values),
        reread=partial(load_serve, flags, environ),
    )


def load_ops_address(environ: Mapping[str, str] | None = None) -> str | None:
    """Read where a receiver of this environment serves its pages; raises as `load_serve` does."""
    values = _Values({}, os.environ if environ is None else environ)
    return values.parsed("ops_addr", _ops_address)


def load_migrate(flags: Flags, environ: Mapping[str, str] | None = None) -> MigrateConfig:
    """Read the configuration of ``receiver migrate``; raises as `load_serve` does."""
    values = _Values(flags, os.environ if environ is None else environ)
    return MigrateConfig(values.parsed("db", parse_database), _log(values))


def load_prune(flags: Flags, environ: Mapping[str, str] | None = None) -> PruneConfig:
    """Read the configuration of ``receiver prune``; raises as `load_serve` does."""
    values = _Values(flags, os.environ if environ is None else environ)
    older_than_seconds = values.maybe("older_than", _age)
    if older_than_seconds is None:
        raise ConfigurationError("say how old runs must be to be deleted: --older-than=90d")
    database = values.parsed("db", parse_database)
    return PruneConfig(database, older_than_seconds, values.yes("dry_run"), _log(values))


def load_export(flags: Flags, environ: Mapping[str, str] | None = None) -> ExportConfig:
    """Read the configuration of ``receiver export``; raises as `load_serve` does."""
    values = _Values(flags, os.environ if environ is None else environ)
    return ExportConfig(values.parsed("db", parse_database), _log(values))


def load_import(flags: Flags, environ: Mapping[str, str] | None = None) -> ImportConfig:
    """Read the configuration of ``receiver import``; raises as `load_serve` does.

    `flags` has the argument ``file``, too.
    """
    values = _Values(flags, os.environ if environ is None else environ)
    database = values.parsed("db", parse_database)
    given = flags.get("file")
    source = None if given in (None, "-") else str(given)
    migrate = _migrates(database, values)
    return ImportConfig(database, migrate, source, values.yes("skip_bad"), _log(values))


def quiet_grpc() -> None:
    """Have gRPC write errors only, unless its own variable says otherwise; before its import.

    Its lines have a form of their own, and there is one for every handshake that fails.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


class _Values:
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

    def yes(self, name: str) -> bool:
        """Read a switch: a flag without value, or a yes or no in the environment."""
        given = self._flags.get(name)
        return given if isinstance(given, bool) else bool(self.maybe(name, _yes))


def _migrates(database: Database, values: _Values) -> bool:
    return database.kind == "sqlite" or values.yes("migrate")


def _read_token(values: _Values) -> str:
    chosen = _chosen(values, "read_token", "read_token_file")
    if chosen is None:
        raise ConfigurationError(
            "a read token is required: set RECEIVER_READ_TOKEN, or --read-token-file to a file "
            "that holds it, or --read-token"
        )
    _, called, value = values.origin(chosen)
    token = _file_text(called, str(value)) if chosen.endswith("_file") else str(value)
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError(
            f"{called} must hold one line of printable ASCII without spaces: it travels in a header"
        )
    return token


def _hmac_keys(values: _Values) -> tuple[str, ...]:
    chosen = _chosen(values, "hmac_key", "hmac_key_file")
    if chosen is None:
        raise ConfigurationError(
            "an HMAC key is required: set RECEIVER_HMAC_KEY, or --hmac-key-file to a file with "
            "one key per line, or --hmac-key; for example 32 random bytes in hex"
        )
    _, called, value = values.origin(chosen)
    if chosen.endswith("_file"):
        keys = tuple(_file_text(called, str(value)).split("\n"))
    elif isinstance(value, str):
        keys = tuple(value.removesuffix("\n").split("\n"))
    else:
        keys = tuple(value) if isinstance(value, Sequence) else ()
    for number, key in enumerate(keys, 1):
        if not key:
            raise ConfigurationError(f"{called}: key {number} is empty; give one key per line")
        if not _encodable(key):
            raise ConfigurationError(f"{called}: key {number} must be UTF-8")
    return keys


def _trusted_peers(values: _Values) -> Networks:
    _, called, value = values.origin("trusted_peers")
    given = value if isinstance(value, str) else ",".join(cast(Sequence[str], value or ()))
    try:
        return parse_networks(given)
    except ValueError as error:
        raise ConfigurationError(f"{called} {error}") from error


def _tls(values: _Values) -> Tls | None:
    cert, key, client_ca = (values.maybe(f"tls_{role}", str) for role in _TLS_ROLES)
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        missing = "--tls-cert" if cert is None else "--tls-key"
        raise ConfigurationError(
            f"{missing} is missing: TLS needs --tls-cert and --tls-key, and may have "
            "--tls-client-ca"
        )
    try:
        return load_tls(cert, key, client_ca)
    except UnusableFile as error:
        _, called, path = values.origin(f"tls_{error.role}")
        raise ConfigurationError(f"{called} {str(path)!r} {error}") from error


def _chosen(values: _Values, plain: str, from_file: str) -> str | None:
    """Say which of a secret and its file counts: the flag's one, else the environment's."""
    layers = {name: values.layer(name) for name in (plain, from_file)}
    if not any(layers.values()):
        return None
    if layers[plain] == layers[from_file]:
        one, other = values.origin(plain)[1], values.origin(from_file)[1]
        raise ConfigurationError(f"{one} and {other} are both given; give one of them")
    return max(layers, key=layers.__getitem__)


def _file_text(called: str, path: str) -> str:
    """Return the text of a secret file without its one trailing newline."""
    try:
        return Path(path).read_bytes().decode().removesuffix("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(f"{called} {path!r} cannot be read: {reason}") from error


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _log(values: _Values) -> LogConfig:
    return LogConfig(
        values.parsed("log_level", _one_of(tuple(LEVELS))),
        values.maybe("log_format", _one_of(FORMATS)),
    )


def _one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def _yes(text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError("must be true or false")


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if not found or int(found[2]) > 65535:
        raise ValueError(
            "must be host:port or :port with a port of 0 to 65535 (IPv6 as [::1]:50051)"
        )
    return text


def _ops_address(text: str) -> str | None:
    return None if text == "none" else _address(text)


def _duration_seconds(text: str) -> float:
    if not _DURATION.fullmatch(text):
        raise ValueError("must be a duration such as 500ms, 25s or 1m30s")
    seconds: float = durationpy.from_str(text).total_seconds()
    return seconds


def _age(text: str) -> float:
    """Return seconds; whole days may stand in front: 90d, 1d12h."""
    found = _DAYS.fullmatch(text)
    days, rest = (found[1], found[2]) if found else (None, text)
    seconds = int(days or 0) * _DAY_SECONDS
    try:
        seconds += _duration_seconds(rest) if rest or days is None else 0.0
    except ValueError as error:
        raise ValueError("must be a duration such as 90d, 36h or 1d12h") from error
    if not 1 <= seconds <= 36500 * _DAY_SECONDS:
        raise ValueError("must be a duration of 1s to 36500d")
    return seconds


def _shutdown_timeout(text: str) -> float:
    seconds = _duration_seconds(text)
    if seconds > 3600:
        raise ValueError("must be a duration of 0s to 1h")
    return seconds


def _call_timeout(text: str) -> float:
    seconds = _duration_seconds(text)
    if not 1 <= seconds <= 3600:
        raise ValueError("must be a duration of 1s to 1h")
    return seconds


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise ValueError("must be a number of 1 to 999999")
    return int(text)


def _token_ttl(text: str) -> float:
    seconds = _duration_seconds(text)
    if not 1 <= seconds <= 3153600000:
        raise ValueError("must be a duration of 1s to 876000h")
    return seconds


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    size = int(found[1]) * _SIZE_FACTORS[(found[2] or "").removesuffix("B")] if found else 0
    if not _MESSAGE_BYTES_MIN <= size <= _MESSAGE_BYTES_MAX:
        raise ValueError("must be 1KiB to 64MiB, in bytes or with Ki, KiB, Mi, MiB")
    return size
