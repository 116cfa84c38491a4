"""Configuration: flags over environment over defaults. The only reader of the environment."""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from runmeter.receiver.model import Rename
from runmeter.receiver.settings import SETTINGS
from runmeter.receiver.store.database import Database, parse_database
from runmeter.service.clients import Networks, networks
from runmeter.service.errors import ConfigurationError
from runmeter.service.logs import LogConfig, log_config
from runmeter.service.settings import Flags, Given
from runmeter.service.tls import ServerTls, server_tls
from runmeter.service.values import (
    Address,
    address,
    count,
    duration,
    duration_seconds,
    or_none,
    size,
)

_TOKEN = re.compile(r"[!-~]{1,4096}", re.ASCII)  # half of what headers may hold
_DAYS = re.compile(r"(?:(\d{1,6})d)?(.*)", re.ASCII)
_DAY_SECONDS = 86400.0


class DatabaseConfig(NamedTuple):
    """The configuration of ``receiver migrate`` and ``receiver export``."""

    database: Database
    log: LogConfig


class PruneConfig(NamedTuple):
    """The configuration of ``receiver prune``."""

    database: Database
    older_than_seconds: float
    dry_run: bool
    log: LogConfig


class RenameConfig(NamedTuple):
    """The configuration of ``receiver rename``."""

    database: Database
    rename: Rename
    dry_run: bool
    log: LogConfig


class ImportConfig(NamedTuple):
    """The configuration of ``receiver import``; ``source`` None is standard input."""

    database: Database
    migrate: bool
    source: str | None
    skip_bad: bool
    log: LogConfig
    rename: Rename | None


class ServeConfig(NamedTuple):
    """The configuration of ``receiver``."""

    address: Address
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
    ops_address: Address | None
    tls: ServerTls | None
    log: LogConfig
    reread: Callable[[], "ServeConfig"]

    def __repr__(self) -> str:
        """Show no secret."""
        return f"ServeConfig(address={str(self.address)!r}, database={self.database.label!r})"


def load_serve(flags: Flags, environ: Mapping[str, str] | None = None) -> ServeConfig:
    """Read the configuration of ``receiver``.

    ``flags`` holds texts by setting name (``db``), None for what was not given. The ``reread`` of
    the result does the same again: only the contents of files can differ.

    Raises:
        ConfigurationError: the first setting that is missing or bad.
    """
    given = _given(flags, environ)
    database = given.value("db", parse_database)
    return ServeConfig(
        address=given.value("addr", address),
        database=database,
        migrate=_migrates(database, given),
        read_token=_read_token(given),
        hmac_keys=_hmac_keys(given),
        max_token_ttl_seconds=given.maybe(
            "max_token_ttl", duration(1, 876000 * 3600, "1s to 876000h")
        ),
        shutdown_timeout_seconds=given.value("shutdown_timeout", duration(0, 3600, "0s to 1h")),
        max_message_bytes=given.value(
            "max_message_bytes", size(2**10, 64 * 2**20, "1KiB to 64MiB")
        ),
        retention_seconds=given.maybe("retention", _age_seconds),
        call_timeout_seconds=given.value("call_timeout", duration(1, 3600, "1s to 1h")),
        max_auth_failures=given.value("max_auth_failures", count()),
        trusted_peers=given.maybe("trusted_peers", networks) or (),
        ops_address=given.value("ops_addr", or_none(address)),
        tls=server_tls(given, for_grpc=True),
        log=log_config(given),
        reread=partial(load_serve, flags, environ),
    )


def load_ops_address(environ: Mapping[str, str] | None = None) -> Address | None:
    """Read where a receiver of this environment serves its pages; raises as ``load_serve`` does."""
    return _given({}, environ).value("ops_addr", or_none(address))


def load_database(flags: Flags, environ: Mapping[str, str] | None = None) -> DatabaseConfig:
    """Read the configuration of ``migrate`` and ``export``; raises as ``load_serve`` does."""
    given = _given(flags, environ)
    return DatabaseConfig(given.value("db", parse_database), log_config(given))


def load_prune(flags: Flags, environ: Mapping[str, str] | None = None) -> PruneConfig:
    """Read the configuration of ``receiver prune``; raises as ``load_serve`` does."""
    given = _given(flags, environ)
    older_than_seconds = given.maybe("older_than", _age_seconds)
    if older_than_seconds is None:
        raise ConfigurationError("give the age of runs to delete: --older-than=90d")
    database = given.value("db", parse_database)
    return PruneConfig(database, older_than_seconds, given.switch("dry_run"), log_config(given))


def load_rename(flags: Flags, environ: Mapping[str, str] | None = None) -> RenameConfig:
    """Read the configuration of ``receiver rename``; raises as ``load_serve`` does."""
    given = _given(flags, environ)
    rename = _rename(given)
    if rename is None:
        raise ConfigurationError(
            "give the repository's old and new name: --from=my-org/old --to=my-org/new"
        )
    database = given.value("db", parse_database)
    return RenameConfig(database, rename, given.switch("dry_run"), log_config(given))


def load_import(flags: Flags, environ: Mapping[str, str] | None = None) -> ImportConfig:
    """Read the configuration of ``receiver import``; raises as ``load_serve`` does.

    ``flags`` also has the argument ``file``.
    """
    given = _given(flags, environ)
    database = given.value("db", parse_database)
    file = flags.get("file")
    source = None if file in (None, "-") else str(file)
    return ImportConfig(
        database,
        _migrates(database, given),
        source,
        given.switch("skip_bad"),
        log_config(given),
        _rename(given),
    )


def quiet_grpc() -> None:
    """Make gRPC write errors only, unless its own variable is set; call this before its import.

    Its lines have a different form, and every failed handshake causes one.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _given(flags: Flags, environ: Mapping[str, str] | None) -> Given:
    return Given(SETTINGS, flags, os.environ if environ is None else environ)


def _migrates(database: Database, given: Given) -> bool:
    return given.switch("migrate") or database.kind == "sqlite"


def _rename(given: Given) -> Rename | None:
    source, target = given.maybe("from", _repository), given.maybe("to", _repository)
    if source is None and target is None:
        return None
    if source is None or target is None or source == target:
        raise ConfigurationError(
            "--from and --to must both be given, and must differ: the old and the new name"
        )
    return Rename(source, target)


def _repository(text: str) -> str:
    """Parse the full path of a repository."""
    from runmeter.receiver.wire.checks import Checks
    from runmeter.receiver.wire.scopes import canonical_repository

    organization, _, name = text.partition("/")
    if not organization or not name:
        raise ValueError("must be a full path such as my-org/my-repo")
    checks = Checks()
    canonical_repository(checks, organization, text)
    for violation in checks.violations:
        raise ValueError(violation.reason)
    return text


def _read_token(given: Given) -> str:
    found = given.secret("read_token")
    if found is None:
        raise ConfigurationError(
            "a read token is required: set RECEIVER_READ_TOKEN, or --read-token-file to a file "
            "that holds it, or --read-token"
        )
    called, (token,) = found
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError(
            f"{called} must hold one line of at most 4096 characters of printable ASCII without "
            "spaces: it is sent in a header"
        )
    return token


def _hmac_keys(given: Given) -> tuple[str, ...]:
    found = given.secret("hmac_key")
    if found is None:
        raise ConfigurationError(
            "an HMAC key is required: set RECEIVER_HMAC_KEY, or --hmac-key-file to a file with "
            "one key per line, or --hmac-key; for example 32 random bytes in hex"
        )
    called, keys = found
    for number, key in enumerate(keys, 1):
        if not key:
            raise ConfigurationError(f"{called}: key {number} is empty; give one key per line")
        if not _encodable(key):
            raise ConfigurationError(f"{called}: key {number} must be UTF-8")
    return keys


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _age_seconds(text: str) -> float:
    """Parse an age of 1 second to 36500 days, which may begin with days: ``1d12h``."""
    found = _DAYS.fullmatch(text)
    days, rest = (found[1], found[2]) if found else (None, text)
    part_seconds = duration_seconds(rest) if rest or days is None else 0.0
    seconds = int(days or 0) * _DAY_SECONDS + (part_seconds or 0.0)
    if part_seconds is None or not 1 <= seconds <= 36500 * _DAY_SECONDS:
        raise ValueError("must be a duration of 1s to 36500d, such as 90d, 36h or 1d12h")
    return seconds
