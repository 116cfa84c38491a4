"""Flags, environment variables, defaults."""

import re
from ipaddress import ip_network

import pytest

from runmeter.gateway.config import Receiver, Settings, load
from runmeter.gateway.settings import SETTINGS
from runmeter.service.errors import ConfigurationError
from runmeter.service.logs import LogConfig
from runmeter.service.values import Address

DEFAULTS = Settings(
    addr=Address(None, 8080),
    receiver=Receiver("127.0.0.1:50051", has_tls=False),
    receiver_tls=None,
    tls=None,
    max_body_bytes=1048576,
    workers=1,
    rate_limit=100,
    max_requests=128,
    max_connections=1000,
    trusted_proxies=(),
    cors_origins=frozenset(),
    ops_addr=Address(None, 9465),
    shutdown_timeout_seconds=25.0,
    log=LogConfig("info", None),
    reread=load,  # type: ignore[arg-type] # left out of every comparison
)
FILES = {option.flag for option in SETTINGS if option.metavar == "FILE"}
"""These have tests of their own, in test_tls.py."""


def same(settings: Settings) -> Settings:
    """Return the settings without ``reread``, which cannot be compared."""
    return settings._replace(reread=DEFAULTS.reread)


def test_defaults() -> None:
    """Without flags and variables the documented defaults are used."""
    assert same(load({}, {})) == DEFAULTS


def test_flag_over_variable_over_default() -> None:
    """A flag overrides its variable, a variable the default; an empty variable is not set."""
    environ = {"GATEWAY_ADDR": ":1", "GATEWAY_LOG_LEVEL": "debug", "GATEWAY_RECEIVER": ""}
    settings = load({"addr": ":2", "log_level": None}, environ)
    assert same(settings) == DEFAULTS._replace(addr=Address(None, 2), log=LogConfig("debug", None))


# parsers that are not ours have tests in libs/service
GOOD = [
    ("--addr", "127.0.0.1:65535", Address("127.0.0.1", 65535)),
    ("--receiver", "grpc://receiver:50051", Receiver("receiver:50051", has_tls=False)),
    ("--receiver", "grpcs://[::1]:50051/", Receiver("[::1]:50051", has_tls=True)),
    ("--max-body-bytes", "64Mi", 67108864),
    ("--workers", "64", 64),
    ("--rate-limit", "none", None),
    ("--rate-limit", "999999", 999999),
    ("--max-requests", "1", 1),
    ("--max-connections", "20000", 20000),
    ("--trusted-proxies", "::1, 10.1.2.3", (ip_network("::1"), ip_network("10.1.2.3"))),
    ("--cors-origin", "https://a.example", frozenset({"https://a.example"})),
    ("--cors-origin", "http://[::1]:3000", frozenset({"http://[::1]:3000"})),
    ("--cors-origin", "http://a:81,https://b", frozenset({"http://a:81", "https://b"})),
    ("--ops-addr", "none", None),
    ("--ops-addr", "127.0.0.1:1", Address("127.0.0.1", 1)),
    ("--shutdown-timeout", "1h", 3600.0),
    ("--log-level", "error", LogConfig("error", None)),
    ("--log-format", "text", LogConfig("info", "text")),
]
BAD = [
    ("--addr", "8080"),
    ("--addr", ""),
    ("--receiver", "127.0.0.1:50051"),
    ("--receiver", "http://127.0.0.1:50051"),
    ("--receiver", "grpc://127.0.0.1"),
    ("--receiver", "grpc://127.0.0.1:0"),
    ("--receiver", "grpc://host:50051/path"),
    ("--receiver", "grpc://user:secret@host:50051"),
    ("--max-body-bytes", "0"),
    ("--max-body-bytes", "67108865"),
    ("--workers", "65"),
    ("--rate-limit", "0"),
    ("--max-requests", "none"),
    ("--max-connections", "01"),
    ("--trusted-proxies", "proxy.example"),
    ("--cors-origin", "*"),
    ("--cors-origin", "null"),
    ("--cors-origin", "a.example"),
    ("--cors-origin", "https://a.example/"),
    ("--cors-origin", "https://a.example:443"),
    ("--cors-origin", "https://A.example"),
    ("--cors-origin", "https://a.example,"),
    ("--ops-addr", "off"),
    ("--shutdown-timeout", "61m"),
    ("--log-level", "loud"),
    ("--log-format", "xml"),
]


@pytest.mark.parametrize(("flag", "text", "value"), GOOD)
def test_good_values(flag: str, text: str, value: object) -> None:
    """Every documented form is understood, from the flag and from the variable."""
    option = next(option for option in SETTINGS if option.flag == flag)
    from_flag = load({option.name: text}, {})
    assert value in from_flag
    assert same(load({}, {option.variable: text})) == same(from_flag)


@pytest.mark.parametrize(("flag", "text"), BAD)
def test_bad_values(flag: str, text: str) -> None:
    """A bad value is one sentence that names the flag or variable and the value."""
    option = next(option for option in SETTINGS if option.flag == flag)
    with pytest.raises(ConfigurationError, match=f"^{flag} {re.escape(repr(text))} must be "):
        load({option.name: text}, {})
    if text:
        with pytest.raises(ConfigurationError, match=f"^{option.variable} "):
            load({}, {option.variable: text})


def test_every_option_has_a_bad_value_here() -> None:
    """No option is left out of the tables above."""
    flags = {option.flag for option in SETTINGS} - FILES
    assert {flag for flag, *_ in GOOD} == flags
    assert {flag for flag, _ in BAD} == flags


def test_variables() -> None:
    """Every flag has a variable of its name."""
    for option in SETTINGS:
        assert option.variable == f"GATEWAY_{option.name.upper()}"


def test_repeated_flag() -> None:
    """The values of a repeated flag are added up."""
    both = load({"trusted_proxies": ("::1", "10.0.0.1,10.0.0.2")}, {})
    assert len(both.trusted_proxies) == 3
    assert same(load({"trusted_proxies": ()}, {})) == DEFAULTS
