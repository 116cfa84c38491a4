"""Configuration: flags over environment over defaults. The only reader of the environment."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

from runmeter.receiver import values
from runmeter.receiver.errors import ConfigurationError
from runmeter.receiver.layers import Flags, Layers
from runmeter.receiver.logs import FORMATS, LEVELS
from runmeter.receiver.peers import Networks, parse_networks
from runmeter.receiver.store.database import Database, parse_database
from runmeter.receiver.tls import Tls, UnusableFile, load_tls

_TOKEN = re.compile(r"[!-~]{1,4096}", re.ASCII)  # half of what headers may hold
_TLS_ROLES = ("cert", "key", "client_ca")


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
    settings = Layers(flags, os.environ if environ is None else environ)
    database = settings.parsed("db", parse_database)
    return ServeConfig(
        address=settings.parsed("addr", values.address),
        database=database,
        migrate=_migrates(database, settings),
        read_token=_read_token(settings),
        hmac_keys=_hmac_keys(settings),
        max_token_ttl_seconds=settings.maybe("max_token_ttl", values.ttl_seconds),
        shutdown_timeout_seconds=settings.parsed("shutdown_timeout", values.shutdown_seconds),
        max_message_bytes=settings.parsed("max_message_bytes", values.size_bytes),
        retention_seconds=settings.maybe("retention", values.age_seconds),
        call_timeout_seconds=settings.parsed("call_timeout", values.call_seconds),
        max_auth_failures=settings.parsed("max_auth_failures", values.count),
        trusted_peers=_trusted_peers(settings),
        ops_address=settings.parsed("ops_addr", values.ops_address),
        tls=_tls(settings),
        log=_log(settings),
        reread=partial(load_serve, flags, environ),
    )


def load_ops_address(environ: Mapping[str, str] | None = None) -> str | None:
    """Read where a receiver of this environment serves its pages; raises as `load_serve` does."""
    settings = Layers({}, os.environ if environ is None else environ)
    return settings.parsed("ops_addr", values.ops_address)


def load_migrate(flags: Flags, environ: Mapping[str, str] | None = None) -> MigrateConfig:
    """Read the configuration of ``receiver migrate``; raises as `load_serve` does."""
    settings = Layers(flags, os.environ if environ is None else environ)
    return MigrateConfig(settings.parsed("db", parse_database), _log(settings))


def load_prune(flags: Flags, environ: Mapping[str, str] | None = None) -> PruneConfig:
    """Read the configuration of ``receiver prune``; raises as `load_serve` does."""
    settings = Layers(flags, os.environ if environ is None else environ)
    older_than_seconds = settings.maybe("older_than", values.age_seconds)
    if older_than_seconds is None:
        raise ConfigurationError("say how old runs must be to be deleted: --older-than=90d")
    database = settings.parsed("db", parse_database)
    return PruneConfig(database, older_than_seconds, settings.switch("dry_run"), _log(settings))


def load_export(flags: Flags, environ: Mapping[str, str] | None = None) -> ExportConfig:
    """Read the configuration of ``receiver export``; raises as `load_serve` does."""
    settings = Layers(flags, os.environ if environ is None else environ)
    return ExportConfig(settings.parsed("db", parse_database), _log(settings))


def load_import(flags: Flags, environ: Mapping[str, str] | None = None) -> ImportConfig:
    """Read the configuration of ``receiver import``; raises as `load_serve` does.

    `flags` has the argument ``file``, too.
    """
    settings = Layers(flags, os.environ if environ is None else environ)
    database = settings.parsed("db", parse_database)
    given = flags.get("file")
    source = None if given in (None, "-") else str(given)
    migrate = _migrates(database, settings)
    return ImportConfig(database, migrate, source, settings.switch("skip_bad"), _log(settings))


def quiet_grpc() -> None:
    """Have gRPC write errors only, unless its own variable says otherwise; before its import.

    Its lines have a form of their own, and there is one for every handshake that fails.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _migrates(database: Database, settings: Layers) -> bool:
    return settings.switch("migrate") or database.kind == "sqlite"


def _read_token(settings: Layers) -> str:
    chosen = _chosen(settings, "read_token", "read_token_file")
    if chosen is None:
        raise ConfigurationError(
            "a read token is required: set RECEIVER_READ_TOKEN, or --read-token-file to a file "
            "that holds it, or --read-token"
        )
    _, called, value = settings.origin(chosen)
    token = _file_text(called, str(value)) if chosen.endswith("_file") else str(value)
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError(
            f"{called} must hold one line of at most 4096 characters of printable ASCII without "
            "spaces: it travels in a header"
        )
    return token


def _hmac_keys(settings: Layers) -> tuple[str, ...]:
    chosen = _chosen(settings, "hmac_key", "hmac_key_file")
    if chosen is None:
        raise ConfigurationError(
            "an HMAC key is required: set RECEIVER_HMAC_KEY, or --hmac-key-file to a file with "
            "one key per line, or --hmac-key; for example 32 random bytes in hex"
        )
    _, called, value = settings.origin(chosen)
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


def _trusted_peers(settings: Layers) -> Networks:
    _, called, value = settings.origin("trusted_peers")
    given = value if isinstance(value, str) else ",".join(cast(Sequence[str], value or ()))
    try:
        return parse_networks(given)
    except ValueError as error:
        raise ConfigurationError(f"{called} {error}") from error


def _tls(settings: Layers) -> Tls | None:
    cert, key, client_ca = (settings.maybe(f"tls_{role}", str) for role in _TLS_ROLES)
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
        _, called, path = settings.origin(f"tls_{error.role}")
        raise ConfigurationError(f"{called} {str(path)!r} {error}") from error


def _chosen(settings: Layers, plain: str, from_file: str) -> str | None:
    """Say which of a secret and its file counts: the flag's one, else the environment's."""
    layers = {name: settings.layer(name) for name in (plain, from_file)}
    if not any(layers.values()):
        return None
    if layers[plain] == layers[from_file]:
        one, other = settings.origin(plain)[1], settings.origin(from_file)[1]
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


def _log(settings: Layers) -> LogConfig:
    return LogConfig(
        settings.parsed("log_level", values.one_of(tuple(LEVELS))),
        settings.maybe("log_format", values.one_of(FORMATS)),
    )
