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
        "Requests are taken. The addresses are those that were bound; `ops_address` null: there "
        "are no pages for operators. `tls`: whether HTTPS is served.",
        ("address", "ops_address", "version", "receiver", "tls", "workers"),
    ),
    SHUTDOWN_REQUESTED: Event(
        "info",
        "A signal was received. Open requests may take `grace_seconds` to end.",
        ("signal", "grace_seconds"),
    ),
    SERVER_STOPPED: Event(
        "info",
        "Nothing is open any more. `aborted_count`: connections that were cut off.",
        ("aborted_count",),
    ),
    REQUEST_FINISHED: Event(
        "info",
        "One request is over. `route` is the template, null where none matched; `client` is the "
        "address that a trusted proxy forwards, else that of `peer`. `code`, of gRPC: the receiver "
        "was not reached or refused the call; `message`: what came with it, unless the answer "
        "says it. `broken`: the answer was cut off after its first byte.",
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
        "A defect of the gateway or the receiver; the client saw 500. `code` is of gRPC.",
        ("request_id", "route", "exception", "code"),
    ),
    CONNECTION_REFUSED: Event(
        "warning",
        "All connections that there may be are open and busy. Logged at most once a minute.",
        ("limit",),
    ),
    WORKER_STARTED: Event("info", "One of several workers takes requests.", ("pid",)),
    WORKER_DIED: Event(
        "error",
        "A worker has ended by itself and is replaced. `exit_code`: negative is the signal.",
        ("pid", "exit_code", "lived_seconds"),
    ),
    CERTIFICATES_REREAD: Event(
        "info",
        "After SIGHUP the files of certificates were read again; with several workers each logs "
        "this, and the parent. `changed`: what is new, of `tls` and `receiver_tls`.",
        ("changed",),
    ),
    CERTIFICATES_KEPT: Event(
        "error",
        "After SIGHUP a file of certificates could not be used: all stay as they were.",
        ("reason",),
    ),
    RECEIVER_LOST: Event(
        "warning",
        "`/readyz` found no receiver that serves; logged again only for another reason. `code` is "
        "of gRPC.",
        ("code", "message"),
    ),
    RECEIVER_FOUND: Event("info", "`/readyz` found a receiver that serves again.", ()),
    **LIBRARY_EVENTS,
}
