"""Names of all log events, with the keys they carry beside event, level and timestamp."""

# The receiver serves: address, database (sqlite or postgres), version.
SERVER_STARTED = "server.started"
# A signal asked the receiver to end; no new calls are taken: signal, grace_seconds.
SHUTDOWN_REQUESTED = "shutdown.requested"
# The receiver ended in order: uptime_seconds.
SERVER_STOPPED = "server.stopped"
# A second signal came, or the time was over: the process ends at once: reason.
SERVER_KILLED = "server.killed"

# One line per call: method, code, duration_seconds, peer; why it was refused: reason. Pushes:
# organization, repository, workflow, job, run_id, push_id, state, revision, id, duplicate.
# Queries: organization, repository, workflow, job, run_count. Minting: the four names.
RPC_FINISHED = "rpc.finished"
# A defect of ours, with its traceback; the caller saw INTERNAL: method, exception.
RPC_FAILED = "rpc.failed"

# The schema was brought to the newest version: database, applied (names of migrations).
DATABASE_MIGRATED = "database.migrated"
# A statement failed; the caller saw UNAVAILABLE: doing, error, reason.
DATABASE_FAILED = "database.failed"
# A group commit failed and its rows are tried one by one: error, push_count.
BATCH_FAILED = "batch.failed"

# An HMAC key is shorter than 16 bytes, so guessable: position (1 is the first key).
KEY_FOUND_SHORT = "key.found_short"
# A library logged a warning: logger, message.
LIBRARY_WARNED = "library.warned"
