"""All settings: flag, variable, default, what it is for. Help and documentation show these."""

from typing import NamedTuple

SERVE = ("serve",)
EVERY = ("serve", "migrate", "prune", "export", "import")


class Setting(NamedTuple):
    """One setting. `metavar` empty: a switch. `default` None: not set.

    `commands` are those it is a flag of; "serve" is ``receiver`` without a command.
    """

    name: str
    metavar: str
    default: str | None
    help: str
    secret: bool = False
    repeatable: bool = False
    commands: tuple[str, ...] = SERVE

    @property
    def flag(self) -> str:
        """Return ``--like-this``."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Return ``RECEIVER_LIKE_THIS``."""
        return f"RECEIVER_{self.name.upper()}"


SETTINGS = (
    Setting(
        "addr",
        "HOST:PORT",
        ":50051",
        "Where to serve gRPC. Without a host: on all interfaces; port 0: any free one.",
    ),
    Setting(
        "db",
        "DATABASE",
        "metrics.db",
        "A SQLite file (a path, or sqlite://path), or postgres://user@host:port/name, with "
        "?sslmode=verify-full as psql has it.",
        secret=True,  # it may hold a password
        commands=EVERY,
    ),
    Setting(
        "read_token",
        "TOKEN",
        None,
        "Bearer that may read runs and mint push tokens. Required, here or as a file. Other "
        "users of the machine can see flags: better in the variable or a file.",
        secret=True,
    ),
    Setting(
        "read_token_file",
        "FILE",
        None,
        "File that holds the read token. Files of secrets and certificates are read again at "
        "SIGHUP.",
    ),
    Setting(
        "hmac_key",
        "KEY",
        None,
        "Key that push tokens are made and checked with, at least 16 bytes. Required, here or as "
        "a file. May be repeated: the first makes tokens, all check them. In the variable: one "
        "per line.",
        secret=True,
        repeatable=True,
    ),
    Setting("hmac_key_file", "FILE", None, "File that holds the HMAC keys, one per line."),
    Setting(
        "max_token_ttl",
        "DURATION",
        None,
        "Longest life of a push token, and the life of one asked for without expiry.",
    ),
    Setting(
        "shutdown_timeout",
        "DURATION",
        "25s",
        "After SIGTERM or SIGINT calls have so long to end. A second signal ends at once.",
    ),
    Setting(
        "call_timeout",
        "DURATION",
        "60s",
        "Longest call, whatever its caller's deadline: beyond it calls end as DEADLINE_EXCEEDED.",
    ),
    Setting(
        "max_auth_failures",
        "COUNT",
        "300",
        "Refused bearers a minute, by caller and by bearer, that are answered and logged one by "
        "one; beyond it they are RESOURCE_EXHAUSTED. A good bearer is always taken.",
    ),
    Setting(
        "trusted_peers",
        "NETWORKS",
        None,
        "Addresses or networks of gateways, with commas between, whose x-forwarded-for says who "
        "calls; may be repeated. With --tls-client-ca every peer is believed.",
        repeatable=True,
    ),
    Setting(
        "max_message_bytes",
        "SIZE",
        "1MiB",
        "Largest request: bytes, or with Ki, KiB, Mi, MiB.",
    ),
    Setting(
        "tls_cert",
        "FILE",
        None,
        "Certificate to serve gRPC over TLS with, PEM, the chain behind it. With --tls-key.",
    ),
    Setting("tls_key", "FILE", None, "Key of that certificate, PEM, without passphrase."),
    Setting(
        "tls_client_ca",
        "FILE",
        None,
        "CAs, PEM: clients must show a certificate of one of these (mutual TLS).",
    ),
    Setting(
        "ops_addr",
        "HOST:PORT",
        ":9464",
        "Where to serve /metrics, /healthz and /readyz over HTTP, in the clear and to everyone; "
        "none: nowhere.",
    ),
    Setting(
        "migrate",
        "",
        None,
        "Bring a PostgreSQL schema up to date before serving or importing; SQLite always is.",
        commands=("serve", "import"),
    ),
    Setting(
        "retention",
        "DURATION",
        None,
        "Delete runs whose last push is older. Without: keep them all.",
    ),
    Setting(
        "older_than",
        "DURATION",
        None,
        "Delete runs whose last push is older, for example 90d. Required.",
        commands=("prune",),
    ),
    Setting("dry_run", "", None, "Only count what would be deleted.", commands=("prune",)),
    Setting(
        "skip_bad",
        "",
        None,
        "Leave lines out that cannot be stored and go on; the exit status is 1 all the same.",
        commands=("import",),
    ),
    Setting("log_level", "LEVEL", "info", "debug, info, warning or error.", commands=EVERY),
    Setting(
        "log_format",
        "FORMAT",
        None,
        "json or text. Without: text on a terminal, json elsewhere.",
        commands=EVERY,
    ),
)
