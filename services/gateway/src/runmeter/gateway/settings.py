"""All settings: flag, variable, default, what it is for. Help and documentation show these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from runmeter.gateway import values


class Option(NamedTuple):
    """One setting as users write it."""

    flag: str
    metavar: str
    default: str | None
    allowed: str
    parse: Callable[[str], Any]
    teaches: str
    repeatable: bool = False
    """May be given several times; its values are then as if they had commas between them."""

    @property
    def name(self) -> str:
        """Name of its field in `Settings`, without a unit."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def variable(self) -> str:
        """Name of its environment variable."""
        return "GATEWAY_" + self.name.upper()


_FILE: Final = "a file"

OPTIONS: Final = (
    Option(
        "--addr",
        "HOST:PORT",
        ":8080",
        "host:port, [IPv6 address]:port or :port, with a port from 0 to 65535",
        values.parse_address,
        "Where to listen. Without a host: on all interfaces. Port 0: any free port; the log "
        "line server.started says which.",
    ),
    Option(
        "--receiver",
        "URL",
        "grpc://127.0.0.1:50051",
        "grpc://host:port or grpcs://host:port, with a port from 1 to 65535",
        values.parse_receiver,
        "The receiver that stores the runs and checks the tokens; grpcs: with TLS.",
    ),
    Option(
        "--receiver-tls-ca",
        "FILE",
        None,
        _FILE,
        str,
        "CAs, PEM: the receiver must show a certificate of one of these. Left out: the system's.",
    ),
    Option(
        "--receiver-tls-cert",
        "FILE",
        None,
        _FILE,
        str,
        "Certificate to show to the receiver (mutual TLS), PEM, the chain behind it. With "
        "--receiver-tls-key.",
    ),
    Option(
        "--receiver-tls-key",
        "FILE",
        None,
        _FILE,
        str,
        "Key of that certificate, PEM, without passphrase.",
    ),
    Option(
        "--tls-cert",
        "FILE",
        None,
        _FILE,
        str,
        "Certificate to serve HTTPS with, PEM, the chain behind it. With --tls-key. Files of "
        "certificates are read again at SIGHUP.",
    ),
    Option(
        "--tls-key",
        "FILE",
        None,
        _FILE,
        str,
        "Key of that certificate, PEM, without passphrase.",
    ),
    Option(
        "--tls-client-ca",
        "FILE",
        None,
        _FILE,
        str,
        "CAs, PEM: clients must show a certificate of one of these (mutual TLS).",
    ),
    Option(
        "--max-body-bytes",
        "SIZE",
        "1MiB",
        "a number of bytes, or with Ki, KiB, Mi, MiB, from 1 to 64MiB",
        values.parse_bytes,
        "Larger request bodies are answered with 413. Bytes, or with Ki, KiB, Mi, MiB.",
    ),
    Option(
        "--workers",
        "COUNT",
        "1",
        "a whole number from 1 to 64",
        values.parse_workers,
        "Processes that serve on the one address; 1: no other process. One that dies is replaced.",
    ),
    Option(
        "--rate-limit",
        "COUNT",
        "100",
        "none, or a whole number from 1 to 999999",
        values.parse_count_or_none,
        "Requests a second of one client, in bursts up to twice that; more are answered with 429. "
        "IPv6 clients are told apart by their /64. Counted by each worker. none: no limit.",
    ),
    Option(
        "--max-requests",
        "COUNT",
        "128",
        "a whole number from 1 to 999999",
        values.parse_count,
        "Requests answered at once, by each worker; more are answered with 503. One client may "
        "have half of them; more of it are answered with 429.",
    ),
    Option(
        "--max-connections",
        "COUNT",
        "1000",
        "a whole number from 1 to 999999",
        values.parse_count,
        "Connections open at once, in each worker. A new one takes the place of one that waits; "
        "if all are busy it is answered with 503.",
    ),
    Option(
        "--trusted-proxies",
        "NETWORKS",
        None,
        "addresses or networks with commas between, such as 10.1.2.3, 10.0.0.0/8 or ::1",
        values.parse_networks,
        "Addresses or networks of reverse proxies, with commas between, whose X-Forwarded-For "
        "or Forwarded says who the client is; may be repeated. Left out: nobody's is believed.",
        repeatable=True,
    ),
    Option(
        "--cors-origin",
        "ORIGIN",
        None,
        "origins as browsers send them, with commas between: http or https, lower case, no path, "
        "no default port, such as https://dashboard.example.org",
        values.parse_origins,
        "Origin, such as https://dashboard.example.org, whose pages may read answers in a "
        "browser; several with commas between, or repeated. Left out: none.",
        repeatable=True,
    ),
    Option(
        "--ops-addr",
        "HOST:PORT",
        ":9465",
        "none, or host:port, [IPv6 address]:port or :port, with a port from 0 to 65535",
        values.parse_address_or_none,
        "Where to serve /metrics, /healthz and /readyz over HTTP, in the clear and to everyone; "
        "none: nowhere.",
    ),
    Option(
        "--shutdown-timeout",
        "DURATION",
        "25s",
        "a duration such as 500ms, 25s or 1m30s, at most 1h",
        values.parse_duration_seconds,
        "How long requests may take to end after SIGTERM or SIGINT; then they are cut off.",
    ),
    Option(
        "--log-level",
        "LEVEL",
        "info",
        "one of debug, info, warning, error",
        values.one_of("debug", "info", "warning", "error"),
        "Log this and what is more severe: debug, info, warning, error.",
    ),
    Option(
        "--log-format",
        "FORMAT",
        None,
        "one of json, text",
        values.one_of("json", "text"),
        "json or text. Left out: text on a terminal, json everywhere else.",
    ),
)
