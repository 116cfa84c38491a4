"""Settings: flag over environment variable over default. Nothing else reads the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

LogFormat = Literal["json", "text"]

_PORT: Final = r"(?P<port>[0-9]{1,5})"
_HOST: Final = r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))"
_ADDRESS: Final = re.compile(rf"{_HOST}?:{_PORT}")
_RECEIVER: Final = re.compile(rf"grpc://(?P<target>{_HOST}:{_PORT})/?")
_DURATION: Final = re.compile(r"(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ms|us|µs|ns|h|m|s))+")
_DURATION_PART: Final = re.compile(r"([0-9.]+)(ms|us|µs|ns|h|m|s)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_BYTES: Final = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>(?:[KM]iB?)?)")
_UNITS: Final = {"": 1, "Ki": 1024, "KiB": 1024, "Mi": 1024**2, "MiB": 1024**2}

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
SHUTDOWN_SECONDS_MAX: Final = 3600.0


class Address(NamedTuple):
    """Where to listen; no host: on all interfaces, IPv6 and IPv4. Port 0: any free one."""

    host: str | None
    port: int

    def __str__(self) -> str:
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class Settings(NamedTuple):
    """How the gateway runs."""

    addr: Address
    receiver: str
    """host:port"""
    max_body_bytes: int
    shutdown_timeout_seconds: float
    log_level: str
    log_format: LogFormat | None
    """None: text on a terminal, JSON everywhere else."""


class Option(NamedTuple):
    """One setting as users write it."""

    flag: str
    metavar: str
    default: str | None
    allowed: str
    parse: Callable[[str], Any]
    teaches: str

    @property
    def name(self) -> str:
        """Name of its field in `Settings`, without a unit."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def variable(self) -> str:
        """Name of its environment variable."""
        return "GATEWAY_" + self.name.upper()


class ConfigError(Exception):
    """A setting cannot be used; the text is the sentence for the user."""

    def __init__(self, origin: str, value: str, allowed: str) -> None:
        super().__init__(f"{origin} is {value!r}, but must be {allowed}.")
        self.origin = origin
        self.value = value


def parse_address(text: str) -> Address:
    """Parse ``host:port``, ``[v6]:port`` or ``:port``. Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(text)
    return Address(match["v6"] or match["host"], int(match["port"]))


def parse_receiver(text: str) -> str:
    """Parse ``grpc://host:port`` to ``host:port``. Raises ValueError."""
    match = _RECEIVER.fullmatch(text)
    if match is None or not 0 < int(match["port"]) <= 65535:
        raise ValueError(text)
    return match["target"]


def parse_duration_seconds(text: str) -> float:
    """Parse a duration as Go writes it (``500ms``, ``2s``, ``1m30s``, ``0``), up to an hour.

    Raises:
        ValueError: of another form, or longer.
    """
    if text != "0" and not _DURATION.fullmatch(text):
        raise ValueError(text)
    total = sum(float(n) * _SECONDS[unit] for n, unit in _DURATION_PART.findall(text))
    if total > SHUTDOWN_SECONDS_MAX:
        raise ValueError(text)
    return float(total)


def _parse_bytes(text: str) -> int:
    match = _BYTES.fullmatch(text)
    size = int(match["number"]) * _UNITS[match["unit"]] if match else 0
    if not 1 <= size <= BODY_BYTES_MAX:
        raise ValueError(text)
    return size


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return parse


OPTIONS: Final = (
    Option(
        "--addr",
        "HOST:PORT",
        ":8080",
        "host:port, [IPv6 address]:port or :port, with a port from 0 to 65535",
        parse_address,
        "Where to listen. Without a host: on all interfaces. Port 0: any free port; the log "
        "line server.started says which.",
    ),
    Option(
        "--receiver",
        "URL",
        "grpc://127.0.0.1:50051",
        "grpc://host:port, with a port from 1 to 65535",
        parse_receiver,
        "The receiver that stores the runs and checks the tokens.",
    ),
    Option(
        "--max-body-bytes",
        "SIZE",
        "1MiB",
        "a number of bytes, or with Ki, KiB, Mi, MiB, from 1 to 64MiB",
        _parse_bytes,
        "Larger request bodies are answered with 413. Bytes, or with Ki, KiB, Mi, MiB.",
    ),
    Option(
        "--shutdown-timeout",
        "DURATION",
        "25s",
        "a duration such as 500ms, 25s or 1m30s, at most 1h",
        parse_duration_seconds,
        "How long requests may take to end after SIGTERM or SIGINT; then they are cut off.",
    ),
    Option(
        "--log-level",
        "LEVEL",
        "info",
        "one of debug, info, warning, error",
        _one_of("debug", "info", "warning", "error"),
        "Log this and what is more severe: debug, info, warning, error.",
    ),
    Option(
        "--log-format",
        "FORMAT",
        None,
        "one of json, text",
        _one_of("json", "text"),
        "json or text. Left out: text on a terminal, json everywhere else.",
    ),
)


def load(flags: Mapping[str, str | None], environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; ``flags`` holds what was given on the command line, by option name.

    An environment variable that is empty counts as not set.

    Raises:
        ConfigError: for the first setting that cannot be used.
    """
    if environ is None:
        environ = os.environ
    found: dict[str, Any] = {}
    for option in OPTIONS:
        flag = flags.get(option.name)
        origin = option.variable if flag is None else option.flag
        text = (environ.get(option.variable) or option.default) if flag is None else flag
        try:
            found[option.name] = None if text is None else option.parse(text)
        except ValueError:
            raise ConfigError(origin, str(text), option.allowed) from None
    return Settings(
        addr=found["addr"],
        receiver=found["receiver"],
        max_body_bytes=found["max_body_bytes"],
        shutdown_timeout_seconds=found["shutdown_timeout"],
        log_level=found["log_level"],
        log_format=found["log_format"],
    )
