"""What the gateway logs: a name ``noun.verb_past`` for each line, its meaning and its keys.

docs/events.md is generated from this table.
"""

from runmeter.service.events import (
    LIBRARY_WARNED,
    LIBRARY_WARNING,
    SERVER_STARTED,
    SERVER_STOPPED,
    SHUTDOWN_REQUESTED,
    Event,
)

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
        "The gateway takes requests. The addresses are those really bound; `ops_address` is null "
        "if there is none.",
        ("address", "ops_address", "version", "receiver", "tls", "workers"),
    ),
    SHUTDOWN_REQUESTED: Event(
        "info",
        "A signal was received; requests in flight may finish.",
        ("signal", "grace_seconds"),
    ),
    SERVER_STOPPED: Event(
        "info",
        "Everything is closed. `aborted_count`: connections that were cut off.",
        ("aborted_count",),
    ),
    REQUEST_FINISHED: Event(
        "info",
        "A request is over. `route` is the template, null where none matched; `client` is the "
        "address that a trusted proxy gives, else the peer's; `code` (gRPC) is there if the "
        "receiver was not reached or refused, and `message` if the answer does not have it; "
        "`broken` if the answer was cut off after its first byte.",
        (
            *("method", "route", "status", "duration_seconds", "request_id", "peer", "client"),
            *("code", "message", "broken"),
        ),
    ),
    REQUEST_FAILED: Event(
        "error",
        "A defect of the gateway or the receiver was answered with 500. `code` is gRPC's.",
        ("request_id", "route", "exception", "code"),
    ),
    CONNECTION_REFUSED: Event(
        "warning",
        "The limit of connections is reached and all are busy; logged at most once a minute.",
        ("limit",),
    ),
    WORKER_STARTED: Event("info", "One of several workers takes requests.", ("pid",)),
    WORKER_DIED: Event(
        "error",
        "A worker has ended by itself and is replaced. A negative `exit_code` is a signal.",
        ("pid", "exit_code", "lived_seconds"),
    ),
    CERTIFICATES_REREAD: Event(
        "info",
        "SIGHUP: certificate files were read again; of several workers each logs this, and the "
        "parent. `changed`: what is new of `tls` and `receiver_tls`.",
        ("changed",),
    ),
    CERTIFICATES_KEPT: Event(
        "error",
        "SIGHUP: a certificate file cannot be used; all certificates stay as they were.",
        ("reason",),
    ),
    RECEIVER_LOST: Event(
        "warning",
        "`/readyz` found no receiver that serves; logged again only for another reason. `code` "
        "is gRPC's.",
        ("code", "message"),
    ),
    RECEIVER_FOUND: Event("info", "`/readyz` found a receiver that serves again.", ()),
    LIBRARY_WARNED: LIBRARY_WARNING,
}
