"""Names of what the gateway logs: one line each, ``noun.verb_past``."""

from typing import Final

SERVER_STARTED: Final = "server.started"
"""Requests are taken. ``address`` and ``ops_address`` (host:port that are really bound; null: there
is none), ``version``, ``receiver``, ``tls`` (whether HTTPS is served), ``workers``."""

WORKER_STARTED: Final = "worker.started"
"""One of several workers takes requests. ``pid``."""

WORKER_DIED: Final = "worker.died"
"""A worker has ended unasked, and is replaced. ``pid``, ``exit_code`` (negative: the signal),
``lived_seconds``."""

SHUTDOWN_REQUESTED: Final = "shutdown.requested"
"""A signal was received; requests in flight may end. ``signal``, ``grace_seconds``."""

SERVER_STOPPED: Final = "server.stopped"
"""Nothing is open any more. ``aborted_count``: connections that had to be cut off."""

REQUEST_FINISHED: Final = "request.finished"
"""One HTTP request is over. ``method``, ``route`` (the template, null where none matched),
``status``, ``duration_seconds``, ``request_id``, ``peer``, ``client`` (the address that a
trusted proxy speaks for, else the peer's); ``code`` (of gRPC) when the receiver was not reached
or refused, and ``message``, what came with it, unless the caller is told it; ``broken`` when the
answer was cut off after its first byte."""

REQUEST_FAILED: Final = "request.failed"
"""A defect of the gateway or the receiver, answered as 500. ``request_id``, ``route``, and
``exception`` or ``code`` (of gRPC)."""

CONNECTION_REFUSED: Final = "connection.refused"
"""There are as many connections as there may be, all of them busy; told at most once a minute.
``limit``."""

CERTIFICATES_REREAD: Final = "certificates.reread"
"""SIGHUP: the files of certificates were read again. ``changed``: what is new, ``tls``,
``receiver_tls`` or nothing."""

CERTIFICATES_KEPT: Final = "certificates.kept"
"""SIGHUP: a file of certificates will not do; all of them stay as they were. ``reason``."""

RECEIVER_LOST: Final = "receiver.lost"
"""Asked for readiness, the gateway found no receiver that serves; told again only when it is for
another reason. ``code`` (of gRPC), ``message``."""

RECEIVER_FOUND: Final = "receiver.found"
"""Asked again, it found one."""

LIBRARY_WARNED: Final = "library.warned"
"""A library logged a warning or an error. ``logger``, ``message``."""
