"""Settings: flag over environment variable over default. Nothing else reads the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeVar

from runmeter.gateway.settings import OPTIONS, Option
from runmeter.gateway.tls import ClientTls, ServerTls, UnusableFile, load_client, load_server
from runmeter.gateway.values import Address, Network, Receiver

LogFormat = Literal["json", "text"]
Flags = Mapping[str, str | tuple[str, ...] | None]


class Settings(NamedTuple):
    """How the gateway runs."""

    addr: Address
    receiver: Receiver
    receiver_tls: ClientTls | None
    """None: the receiver is met in the clear."""
    tls: ServerTls | None
    """None: HTTP in the clear is served."""
    max_body_bytes: int
    workers: int
    rate_limit: int | None
    """Requests a second of one client; None: no limit."""
    max_requests: int
    max_connections: int
    trusted_proxies: tuple[Network, ...]
    cors_origins: frozenset[str]
    ops_addr: Address | None
    """None: there are no such pages."""
    shutdown_timeout_seconds: float
    log_level: str
    log_format: LogFormat | None
    """None: text on a terminal, JSON everywhere else."""
    reread: Callable[[], Settings]
    """Loads the same again: only what lies in files can differ."""


class ConfigError(Exception):
    """A setting cannot be used; the text is the sentence for the user."""


def load(flags: Flags, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; ``flags`` holds what was given on the command line, by option name.

    An environment variable that is empty counts as not set.

    Raises:
        ConfigError: for the first setting that cannot be used.
    """
    reread = partial(load, flags, environ)
    if environ is None:
        environ = os.environ
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for option in OPTIONS:
        origin, text = _given(option, flags, environ)
        try:
            found[option.name] = None if text is None else option.parse(text)
        except ValueError:
            raise ConfigError(f"{origin} is {text!r}, but must be {option.allowed}.") from None
        origins[option.name] = origin
    return Settings(
        addr=found["addr"],
        receiver=found["receiver"],
        receiver_tls=_receiver_tls(found, origins),
        tls=_server_tls(found, origins),
        max_body_bytes=found["max_body_bytes"],
        workers=found["workers"],
        rate_limit=found["rate_limit"],
        max_requests=found["max_requests"],
        max_connections=found["max_connections"],
        trusted_proxies=found["trusted_proxies"] or (),
        cors_origins=found["cors_origin"] or frozenset(),
        ops_addr=found["ops_addr"],
        shutdown_timeout_seconds=found["shutdown_timeout"],
        log_level=found["log_level"],
        log_format=found["log_format"],
        reread=reread,
    )


def quiet_grpc() -> None:
    """Have gRPC write errors only, unless its own variable says otherwise; before its import.

    Its lines have a form of their own, and there is one for every handshake that fails.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def environment(**more: str) -> dict[str, str]:
    """Return the environment of this process and more, for one that it starts."""
    return {**os.environ, **more}


def _given(option: Option, flags: Flags, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Say what the setting is called where it was given, and its text or None."""
    flag = flags.get(option.name)
    if isinstance(flag, tuple):  # of an option that may be repeated
        flag = ",".join(flag) if flag else None
    if flag is not None:
        return option.flag, flag
    return option.variable, environ.get(option.variable) or option.default


_T = TypeVar("_T")
_SERVER_ROLES: Final = ("cert", "key", "client_ca")
_CLIENT_ROLES: Final = ("ca", "cert", "key")


def _server_tls(found: Mapping[str, Any], origins: Mapping[str, str]) -> ServerTls | None:
    cert, key, client_ca = (found[f"tls_{role}"] for role in _SERVER_ROLES)
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        missing = "--tls-cert" if cert is None else "--tls-key"
        raise ConfigError(
            f"{missing} is missing: TLS needs --tls-cert and --tls-key, and may have "
            "--tls-client-ca."
        )
    return _loaded("tls_", found, origins, lambda: load_server(cert, key, client_ca))


def _receiver_tls(found: Mapping[str, Any], origins: Mapping[str, str]) -> ClientTls | None:
    ca, cert, key = (found[f"receiver_tls_{role}"] for role in _CLIENT_ROLES)
    if not found["receiver"].has_tls:
        for role, path in zip(_CLIENT_ROLES, (ca, cert, key), strict=True):
            if path is not None:
                origin = origins[f"receiver_tls_{role}"]
                raise ConfigError(
                    f"{origin} is given, but {origins['receiver']} is not grpcs://host:port: "
                    "without TLS there are no certificates."
                )
        return None
    if (cert is None) != (key is None):
        missing = "--receiver-tls-cert" if cert is None else "--receiver-tls-key"
        raise ConfigError(
            f"{missing} is missing: a certificate to show to the receiver needs "
            "--receiver-tls-cert and --receiver-tls-key."
        )
    return _loaded("receiver_tls_", found, origins, lambda: load_client(ca, cert, key))


def _loaded(
    prefix: str, found: Mapping[str, Any], origins: Mapping[str, str], load_files: Callable[[], _T]
) -> _T:
    try:
        return load_files()
    except UnusableFile as error:
        name = prefix + error.role
        raise ConfigError(f"{origins[name]} {found[name]!r} {error}.") from error
