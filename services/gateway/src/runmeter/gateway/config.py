"""Settings: flag over environment variable over default. Nothing else reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from runmeter.gateway.settings import OPTIONS, Option
from runmeter.gateway.values import Address, Network

LogFormat = Literal["json", "text"]
Flags = Mapping[str, str | tuple[str, ...] | None]


class Settings(NamedTuple):
    """How the gateway runs."""

    addr: Address
    receiver: str
    """host:port"""
    max_body_bytes: int
    trusted_proxies: tuple[Network, ...]
    cors_origins: frozenset[str]
    ops_addr: Address | None
    """None: there are no such pages."""
    shutdown_timeout_seconds: float
    log_level: str
    log_format: LogFormat | None
    """None: text on a terminal, JSON everywhere else."""


class ConfigError(Exception):
    """A setting cannot be used; the text is the sentence for the user."""


def load(flags: Flags, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; ``flags`` holds what was given on the command line, by option name.

    An environment variable that is empty counts as not set.

    Raises:
        ConfigError: for the first setting that cannot be used.
    """
    if environ is None:
        environ = os.environ
    found: dict[str, Any] = {}
    for option in OPTIONS:
        origin, text = _given(option, flags, environ)
        try:
            found[option.name] = None if text is None else option.parse(text)
        except ValueError:
            raise ConfigError(f"{origin} is {text!r}, but must be {option.allowed}.") from None
    return Settings(
        addr=found["addr"],
        receiver=found["receiver"],
        max_body_bytes=found["max_body_bytes"],
        trusted_proxies=found["trusted_proxies"] or (),
        cors_origins=found["cors_origin"] or frozenset(),
        ops_addr=found["ops_addr"],
        shutdown_timeout_seconds=found["shutdown_timeout"],
        log_level=found["log_level"],
        log_format=found["log_format"],
    )


def _given(option: Option, flags: Flags, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Say what the setting is called where it was given, and its text or None."""
    flag = flags.get(option.name)
    if isinstance(flag, tuple):  # of an option that may be repeated
        flag = ",".join(flag) if flag else None
    if flag is not None:
        return option.flag, flag
    return option.variable, environ.get(option.variable) or option.default
