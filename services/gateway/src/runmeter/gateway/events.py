"""All log events: a constant each, and in EVENTS what it means and which keys it may carry."""

from runmeter.service.events import LIBRARY_EVENTS, Event

SERVER_STARTED = "server.started"
SHUTDOWN_REQUESTED = "shutdown.requested"
SERVER_STOPPED = "server.stopped"
WORKER_STARTED = "worker.started"
WORKER_DIED = "worker.died"
REQUEST_FINISHED = "request.finished"
REQUEST_FAILED = "request.failed"
CONNECTION_REFUSED = "connection.refused"
CERTIFICATES_REREAD = "certificates.reread"
CERTIFICATES_KEPT = "certificates.kept"
RECEIVER_LOST = "receiver.lost"
RECEIVER_FOUND = "receiver.found"

EVENTS = {
    SERVER_STARTED: Event(
        "info",
        "The gateway accepts requests. The addresses are those that were bound; `ops_address` "
        "null: the pages for operators are not served. `tls`: whether HTTPS is served.",
        ("address", "ops_address", "version", "receiver", "tls", "workers"),
    ),
    SHUTDOWN_REQUESTED: Event(
        "info",
        "A signal was received. Open requests have `grace_seconds` to end.",
        ("signal", "grace_seconds"),
    ),
    SERVER_STOPPED: Event(
        "info",
        "The gateway has ended. `aborted_count`: connections that were cut off.",
        ("aborted_count",),
    ),
    REQUEST_FINISHED: Event(
        "info",
        "One request has ended. `route`: the template, null if none matched. `client`: the address "
        "that a trusted proxy forwarded, else that of `peer`. `code`: the gRPC code, if the "
        "receiver was not reached or refused the call; `message`: its text, unless the answer has "
        "it. `broken`: the answer was cut off after its first byte.",
        (
            "method",
            "route",
            "status",
            "duration_seconds",
            "request_id",
            "peer",
            "client",
            "code",
            "message",
            "broken",
        ),
    ),
    REQUEST_FAILED: Event(
        "error",
        "A defect of the gateway or the receiver; the client saw 500. `code`: the gRPC code.",
        ("request_id", "route", "exception", "code"),
    ),
    CONNECTION_REFUSED: Event(
        "warning",
        "The maximum number of connections is open, and all are busy. Logged at most once a "
        "minute.",
        ("limit",),
    ),
    WORKER_STARTED: Event("info", "One of several workers accepts requests.", ("pid",)),
    WORKER_DIED: Event(
        "error",
        "A worker has ended unexpectedly and is replaced. `exit_code`: a negative value is the "
        "signal.",
        ("pid", "exit_code", "lived_seconds"),
    ),
    CERTIFICATES_REREAD: Event(
        "info",
        "After SIGHUP the files of certificates were read again; with several workers, each of "
        "them and the parent logs this. `changed`: which of `tls` and `receiver_tls` changed.",
        ("changed",),
    ),
    CERTIFICATES_KEPT: Event(
        "error",
        "After SIGHUP a file of certificates could not be used: the previous ones stay in use.",
        ("reason",),
    ),
    RECEIVER_LOST: Event(
        "warning",
        "`/readyz` found that the receiver does not serve; logged again only if the reason "
        "changes. `code`: the gRPC code.",
        ("code", "message"),
    ),
    RECEIVER_FOUND: Event("info", "`/readyz` found that the receiver serves again.", ()),
    **LIBRARY_EVENTS,
}
