"""All settings: flag, variable, default, help. `config` reads them."""

from runmeter.service.settings import Setting

SETTINGS = (
    Setting(
        "--addr",
        "GATEWAY_ADDR",
        "HOST:PORT",
        ":8080",
        "Where to listen. Without a host, or with [::]: on all interfaces, IPv6 and IPv4; with "
        "0.0.0.0: on those of IPv4. Port 0: any free port; the log "
        "line server.started has its number.",
    ),
    Setting(
        "--receiver",
        "GATEWAY_RECEIVER",
        "URL",
        "grpc://127.0.0.1:50051",
        "The receiver, which stores the runs and checks the tokens; grpcs: with TLS.",
    ),
    Setting(
        "--receiver-tls-ca",
        "GATEWAY_RECEIVER_TLS_CA",
        "FILE",
        None,
        "CAs, PEM, that may have signed the receiver's certificate. Default: the system's.",
    ),
    Setting(
        "--receiver-tls-cert",
        "GATEWAY_RECEIVER_TLS_CERT",
        "FILE",
        None,
        "Certificate chain to show to the receiver (mutual TLS), PEM, leaf first. Needs "
        "--receiver-tls-key.",
    ),
    Setting(
        "--receiver-tls-key",
        "GATEWAY_RECEIVER_TLS_KEY",
        "FILE",
        None,
        "Key of that certificate, PEM, without passphrase.",
    ),
    Setting(
        "--tls-cert",
        "GATEWAY_TLS_CERT",
        "FILE",
        None,
        "Certificate chain to serve HTTPS with, PEM, leaf first. Needs --tls-key. SIGHUP reads "
        "all certificate files again.",
    ),
    Setting(
        "--tls-key",
        "GATEWAY_TLS_KEY",
        "FILE",
        None,
        "Key of that certificate, PEM, without passphrase.",
    ),
    Setting(
        "--tls-client-ca",
        "GATEWAY_TLS_CLIENT_CA",
        "FILE",
        None,
        "CAs, PEM: clients must show a certificate signed by one of these (mutual TLS).",
    ),
    Setting(
        "--max-body-bytes",
        "GATEWAY_MAX_BODY_BYTES",
        "SIZE",
        "1MiB",
        "Maximum size of a request body, in bytes or with Ki, KiB, Mi, MiB. Larger ones are "
        "answered with 413.",
    ),
    Setting(
        "--workers",
        "GATEWAY_WORKERS",
        "COUNT",
        "1",
        "Number of processes that serve; 1: only this one. One that dies is replaced.",
    ),
    Setting(
        "--rate-limit",
        "GATEWAY_RATE_LIMIT",
        "COUNT",
        "100",
        "Maximum requests per second of one client, with bursts of twice that; more are answered "
        "with 429. An IPv6 client is a /64. Each worker counts separately. none: no limit.",
    ),
    Setting(
        "--max-requests",
        "GATEWAY_MAX_REQUESTS",
        "COUNT",
        "128",
        "Maximum requests answered at the same time by each worker; more are answered with 503. "
        "One client may use half of them; beyond that it is answered with 429.",
    ),
    Setting(
        "--max-connections",
        "GATEWAY_MAX_CONNECTIONS",
        "COUNT",
        "1000",
        "Maximum open connections of each worker. A new one replaces an idle one; if all are "
        "busy it is answered with 503.",
    ),
    Setting(
        "--trusted-proxies",
        "GATEWAY_TRUSTED_PROXIES",
        "NETWORKS",
        None,
        "Reverse proxies whose X-Forwarded-For or Forwarded header gives the address of the "
        "client: addresses or networks separated by commas. May be repeated. Default: none.",
        repeatable=True,
    ),
    Setting(
        "--cors-origin",
        "GATEWAY_CORS_ORIGIN",
        "ORIGIN",
        None,
        "Origins whose pages may read answers in a browser, such as https://dashboard.example.org, "
        "separated by commas. May be repeated. Default: none.",
        repeatable=True,
    ),
    Setting(
        "--ops-addr",
        "GATEWAY_OPS_ADDR",
        "HOST:PORT",
        ":9465",
        "Where to serve /metrics, /healthz and /readyz, unencrypted and without a token; none: do "
        "not serve them.",
    ),
    Setting(
        "--shutdown-timeout",
        "GATEWAY_SHUTDOWN_TIMEOUT",
        "DURATION",
        "25s",
        "Time for requests to finish after SIGTERM or SIGINT; then they are cut off.",
    ),
    Setting(
        "--log-level",
        "GATEWAY_LOG_LEVEL",
        "LEVEL",
        "info",
        "Least severe level that is logged: debug, info, warning (or warn), error.",
    ),
    Setting(
        "--log-format",
        "GATEWAY_LOG_FORMAT",
        "FORMAT",
        None,
        "json or text. Default: text on a terminal, json elsewhere.",
    ),
)
