"""Settings: flag over environment variable over default. Nothing else reads the environment."""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from runmeter.gateway.settings import SETTINGS
from runmeter.service import values
from runmeter.service.clients import Networks, networks
from runmeter.service.errors import ConfigurationError
from runmeter.service.logs import LogConfig, log_config
from runmeter.service.settings import Flags, Given
from runmeter.service.tls import ClientTls, ServerTls, UnusableFile, load_client, server_tls
from runmeter.service.values import Address

BODY_BYTES_MAX = 64 * 1024 * 1024
SHUTDOWN_SECONDS_MAX = 3600.0
WORKERS_MAX = 64

_PORT = r"(?P<port>[0-9]{1,5})"
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
_RECEIVER = re.compile(rf"grpc(?P<tls>s?)://(?P<target>{_HOST}:{_PORT})/?")
# as browsers write it: lower case, no default port, no path
_ORIGIN = re.compile(rf"(https?)://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::{_PORT})?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_CLIENT_ROLES = ("ca", "cert", "key")


class Receiver(NamedTuple):
    """Where the receiver is: ``host:port``, and whether to use TLS."""

    target: str
    has_tls: bool


class Settings(NamedTuple):
    """How the gateway runs."""

    addr: Address
    receiver: Receiver
    receiver_tls: ClientTls | None
    """None: calls to the receiver are not encrypted."""
    tls: ServerTls | None
    """None: HTTP without TLS is served."""
    max_body_bytes: int
    workers: int
    rate_limit: int | None
    """Requests per second of one client; None: no limit."""
    max_requests: int
    max_connections: int
    trusted_proxies: Networks
    cors_origins: frozenset[str]
    ops_addr: Address | None
    """None: the pages for operators are not served."""
    shutdown_timeout_seconds: float
    log: LogConfig
    reread: Callable[[], "Settings"]
    """Loads the same settings again: only what is read from files can differ."""


def load(flags: Flags, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; ``flags`` has the texts from the command line, by name.

    Raises:
        ConfigurationError: for the first setting that cannot be used.
    """
    given = Given(SETTINGS, flags, os.environ if environ is None else environ)
    receiver = given.value("receiver", _receiver)
    count = values.count()
    return Settings(
        addr=given.value("addr", values.address),
        receiver=receiver,
        receiver_tls=_receiver_tls(given, receiver),
        tls=server_tls(given),
        max_body_bytes=given.value("max_body_bytes", values.size(1, BODY_BYTES_MAX, "1 to 64MiB")),
        workers=given.value("workers", values.count(WORKERS_MAX)),
        rate_limit=given.value("rate_limit", values.or_none(count)),
        max_requests=given.value("max_requests", count),
        max_connections=given.value("max_connections", count),
        trusted_proxies=given.maybe("trusted_proxies", networks) or (),
        cors_origins=given.maybe("cors_origin", _origins) or frozenset(),
        ops_addr=given.value("ops_addr", values.or_none(values.address)),
        shutdown_timeout_seconds=given.value(
            "shutdown_timeout", values.duration(0, SHUTDOWN_SECONDS_MAX, "0s to 1h")
        ),
        log=log_config(given),
        reread=partial(load, flags, environ),
    )


def quiet_grpc() -> None:
    """Make gRPC write errors only, unless its own variable is set; call this before its import.

    Its lines have a different form, and every failed handshake causes one.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def environment(**more: str) -> dict[str, str]:
    """Return the environment of this process and more, for a process that it starts."""
    return {**os.environ, **more}


def _receiver(text: str) -> Receiver:
    match = _RECEIVER.fullmatch(text)
    if match is None or not 0 < int(match["port"]) <= 65535:
        raise ValueError("must be grpc://host:port or grpcs://host:port, with a port of 1 to 65535")
    return Receiver(match["target"], bool(match["tls"]))


def _origins(text: str) -> frozenset[str]:
    found = [item.strip() for item in text.split(",")]
    for item in found:
        match = _ORIGIN.fullmatch(item)
        if match is None or match["port"] == _DEFAULT_PORTS[match[1]]:
            raise ValueError(
                "must be origins separated by commas, as browsers send them: http or https, lower "
                "case, no path, no default port, such as https://dashboard.example.org"
            )
    return frozenset(found)


def _receiver_tls(given: Given, receiver: Receiver) -> ClientTls | None:
    ca, cert, key = (given.maybe(f"receiver_tls_{role}", str) for role in _CLIENT_ROLES)
    if not receiver.has_tls:
        for role, path in zip(_CLIENT_ROLES, (ca, cert, key), strict=True):
            if path is not None:
                raise ConfigurationError(
                    f"{given.called(f'receiver_tls_{role}')} needs TLS, but "
                    f"{given.called('receiver')} is not grpcs://host:port"
                )
        return None
    if (cert is None) != (key is None):
        missing = "--receiver-tls-cert" if cert is None else "--receiver-tls-key"
        raise ConfigurationError(
            f"{missing} is missing: a certificate to show to the receiver needs "
            "--receiver-tls-cert and --receiver-tls-key"
        )
    try:
        return load_client(ca, cert, key)
    except UnusableFile as error:
        given.refuse(f"receiver_tls_{error.role}", str(error), error)
