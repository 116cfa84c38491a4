"""All settings: flag, variable, default, help. ``--help`` and the documentation show these."""

from runmeter.service.settings import Setting

EVERY = ("serve", "migrate", "prune", "rename", "export", "import")


SETTINGS = (
    Setting(
        "--addr",
        "RECEIVER_ADDR",
        "HOST:PORT",
        ":50051",
        "Where to serve gRPC. Without a host, or with [::] or 0.0.0.0: on all interfaces, IPv6 and "
        "IPv4; port 0: any free one.",
    ),
    Setting(
        "--db",
        "RECEIVER_DB",
        "DATABASE",
        "metrics.db",
        "A SQLite file (a path, or sqlite://path), or postgres://user@host:port/name, a URL as "
        "psql takes it.",
        secret=True,  # it may hold a password
        commands=EVERY,
    ),
    Setting(
        "--read-token",
        "RECEIVER_READ_TOKEN",
        "TOKEN",
        None,
        "Bearer that may read runs and mint push tokens. Required, here or as a file. Other users "
        "of the machine can see flags: prefer the variable or a file.",
        secret=True,
    ),
    Setting(
        "--read-token-file",
        "RECEIVER_READ_TOKEN_FILE",
        "FILE",
        None,
        "File that holds the read token. Files of secrets and certificates are read again at "
        "SIGHUP.",
    ),
    Setting(
        "--hmac-key",
        "RECEIVER_HMAC_KEY",
        "KEY",
        None,
        "Key that makes and checks push tokens, at least 16 bytes. Required, here or as "
        "a file. May be repeated: the first makes tokens, all check them. In the variable: one "
        "per line.",
        secret=True,
        repeatable=True,
    ),
    Setting(
        "--hmac-key-file",
        "RECEIVER_HMAC_KEY_FILE",
        "FILE",
        None,
        "File that holds the HMAC keys, one per line.",
    ),
    Setting(
        "--max-token-ttl",
        "RECEIVER_MAX_TOKEN_TTL",
        "DURATION",
        None,
        "Maximum lifetime of a push token, and the default if none is requested.",
    ),
    Setting(
        "--shutdown-timeout",
        "RECEIVER_SHUTDOWN_TIMEOUT",
        "DURATION",
        "25s",
        "Time for open calls to end after SIGTERM or SIGINT. A second signal ends the receiver at "
        "once.",
    ),
    Setting(
        "--call-timeout",
        "RECEIVER_CALL_TIMEOUT",
        "DURATION",
        "60s",
        "Maximum duration of a call, even if the caller's deadline is later; longer calls end as "
        "DEADLINE_EXCEEDED.",
    ),
    Setting(
        "--max-auth-failures",
        "RECEIVER_MAX_AUTH_FAILURES",
        "COUNT",
        "300",
        "Maximum refused calls per minute from one caller or with one bearer; more are answered "
        "with RESOURCE_EXHAUSTED and logged at debug. A valid bearer is always accepted.",
    ),
    Setting(
        "--trusted-peers",
        "RECEIVER_TRUSTED_PEERS",
        "NETWORKS",
        None,
        "Addresses or networks of gateways, separated by commas, whose x-forwarded-for names the "
        "caller; may be repeated. With --tls-client-ca every peer is trusted.",
        repeatable=True,
    ),
    Setting(
        "--max-message-bytes",
        "RECEIVER_MAX_MESSAGE_BYTES",
        "SIZE",
        "1MiB",
        "Maximum size of a request, in bytes or with Ki, KiB, Mi, MiB.",
    ),
    Setting(
        "--tls-cert",
        "RECEIVER_TLS_CERT",
        "FILE",
        None,
        "Certificate chain to serve gRPC over TLS with, PEM, leaf first. Needs --tls-key.",
    ),
    Setting(
        "--tls-key",
        "RECEIVER_TLS_KEY",
        "FILE",
        None,
        "Key of that certificate, PEM, without passphrase.",
    ),
    Setting(
        "--tls-client-ca",
        "RECEIVER_TLS_CLIENT_CA",
        "FILE",
        None,
        "CAs, PEM: clients must show a certificate signed by one of these (mutual TLS).",
    ),
    Setting(
        "--ops-addr",
        "RECEIVER_OPS_ADDR",
        "HOST:PORT",
        ":9464",
        "Where to serve /metrics, /healthz and /readyz over HTTP, unencrypted and without a "
        "bearer; none: do not serve them. Without a host, or with [::]: on all interfaces.",
    ),
    Setting(
        "--migrate",
        "RECEIVER_MIGRATE",
        "",
        None,
        "Bring a PostgreSQL schema up to date before serving or importing. This always happens "
        "with SQLite.",
        commands=("serve", "import"),
    ),
    Setting(
        "--retention",
        "RECEIVER_RETENTION",
        "DURATION",
        None,
        "Delete runs whose last push is older. Default: keep all runs.",
    ),
    Setting(
        "--older-than",
        "RECEIVER_OLDER_THAN",
        "DURATION",
        None,
        "Delete runs whose last push is older, for example 90d. Required.",
        commands=("prune",),
    ),
    Setting(
        "--dry-run",
        "RECEIVER_DRY_RUN",
        "",
        None,
        "Only count what would be deleted or renamed.",
        commands=("prune", "rename"),
    ),
    Setting(
        "--from",
        "RECEIVER_RENAME_FROM",
        "REPOSITORY",
        None,
        "The old name of a repository, as a full path such as my-org/my-repo.",
        commands=("rename", "import"),
    ),
    Setting(
        "--to",
        "RECEIVER_RENAME_TO",
        "REPOSITORY",
        None,
        "The new name of the repository, as a full path.",
        commands=("rename", "import"),
    ),
    Setting(
        "--skip-bad",
        "RECEIVER_SKIP_BAD",
        "",
        None,
        "Skip lines that cannot be stored; the exit status is still 1.",
        commands=("import",),
    ),
    Setting(
        "--log-level",
        "RECEIVER_LOG_LEVEL",
        "LEVEL",
        "info",
        "Least severe level that is logged: debug, info, warning (or warn), error.",
        commands=EVERY,
    ),
    Setting(
        "--log-format",
        "RECEIVER_LOG_FORMAT",
        "FORMAT",
        None,
        "json or text. Default: text on a terminal, json elsewhere.",
        commands=EVERY,
    ),
)
