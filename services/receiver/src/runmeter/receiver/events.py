"""All log events: a constant each, and in EVENTS what it means and which keys it may carry.

Every line has event, level and timestamp; a line written during a call also has the keys that
the call has bound so far (those of `rpc.finished`).
"""

from typing import NamedTuple

SERVER_STARTED = "server.started"
SHUTDOWN_REQUESTED = "shutdown.requested"
SERVER_STOPPED = "server.stopped"
SERVER_KILLED = "server.killed"
RPC_FINISHED = "rpc.finished"
RPC_FAILED = "rpc.failed"
CALLER_LIMITED = "caller.limited"
DATABASE_MIGRATED = "database.migrated"
DATABASE_FAILED = "database.failed"
DATABASE_REPLACED = "database.replaced"
BATCH_FAILED = "batch.failed"
WRITER_FAILED = "writer.failed"
KEY_FOUND_SHORT = "key.found_short"
RUNS_DELETED = "runs.deleted"
RUNS_COUNTED = "runs.counted"
RUNS_EXPORTED = "runs.exported"
RUNS_IMPORTED = "runs.imported"
LINE_REJECTED = "line.rejected"
IMPORT_CUT = "import.cut"
SECRETS_REREAD = "secrets.reread"
SECRETS_KEPT = "secrets.kept"
LIBRARY_WARNED = "library.warned"


class Event(NamedTuple):
    """What an event means, and the keys it may carry."""

    meaning: str
    keys: tuple[str, ...]


EVENTS = {
    SERVER_STARTED: Event(
        "The receiver serves, at the addresses that were bound (0.0.0.0: all interfaces).",
        ("address", "ops_address", "database", "version"),
    ),
    SHUTDOWN_REQUESTED: Event(
        "A signal asked the receiver to end: it takes no more calls.",
        ("signal", "grace_seconds"),
    ),
    SERVER_STOPPED: Event("The receiver has ended in order.", ("uptime_seconds",)),
    SERVER_KILLED: Event("The receiver ends at once, without order.", ("reason",)),
    RPC_FINISHED: Event(
        "One call, but of health and reflection. `reason`: why it was refused. The names and "
        "what follows: as far as they were read and are valid; run_count, repository_count or "
        "job_count in queries, push_id and the rest in pushes. request_id: the caller's name of "
        "the call, if it sent a sane one.",
        (
            "request_id",
            "method",
            "code",
            "duration_seconds",
            "peer",
            "client",
            "reason",
            "organization",
            "repository",
            "workflow",
            "job",
            "run_count",
            "repository_count",
            "job_count",
            "run_id",
            "push_id",
            "state",
            "revision",
            "id",
            "duplicate",
        ),
    ),
    RPC_FAILED: Event(
        "A defect: a call ended in an error nobody foresaw; the caller saw INTERNAL.",
        ("method", "exception"),
    ),
    CALLER_LIMITED: Event(
        "Too many bearers of one caller, or one bearer too often, were refused: for so many "
        "seconds its refused calls are RESOURCE_EXHAUSTED and logged at debug only.",
        ("caller", "seconds"),
    ),
    DATABASE_MIGRATED: Event(
        "The schema was brought up to date; `applied` names the steps.",
        ("database", "applied"),
    ),
    DATABASE_FAILED: Event(
        "The database could not be read or written; callers saw UNAVAILABLE.",
        ("doing", "reason", "error"),
    ),
    DATABASE_REPLACED: Event(
        "Another SQLite file took the place of the one that was open. `kept`: where the "
        "write-ahead log of that is now, if it was left; runs in it are in neither file.",
        ("kept",),
    ),
    BATCH_FAILED: Event(
        "Pushes could not be stored together and are tried one by one.",
        ("push_count", "error"),
    ),
    WRITER_FAILED: Event(
        "A defect: pushes ended in an error nobody foresaw; their callers saw INTERNAL.",
        ("push_count", "exception"),
    ),
    KEY_FOUND_SHORT: Event(
        "An HMAC key has fewer than 16 bytes: it can be guessed. The first key has position 1.",
        ("position", "reason", "min_bytes"),
    ),
    RUNS_DELETED: Event(
        "Old runs were deleted, by `receiver prune` or by the retention of a receiver that serves. "
        "`signal`: it ended before everything old was deleted.",
        ("run_count", "transaction_count", "older_than_seconds", "duration_seconds", "signal"),
    ),
    RUNS_COUNTED: Event(
        "`receiver prune --dry-run`: so many runs would be deleted.",
        ("run_count", "older_than_seconds"),
    ),
    RUNS_EXPORTED: Event(
        "An export has ended; with `signal` it is not complete.",
        ("run_count", "duration_seconds", "signal"),
    ),
    RUNS_IMPORTED: Event(
        "An import has ended: lines of runs that were read, and what became of them; lines that "
        "were rejected. Not `complete`: something is missing, and running it again is safe.",
        (
            "read",
            "stored",
            "replaced",
            "duplicates",
            "rejected",
            "complete",
            "duration_seconds",
            "signal",
        ),
    ),
    LINE_REJECTED: Event(
        "A line of an import holds no run that can be stored, or is out of place; the first line "
        "is 1.",
        ("line", "reason"),
    ),
    IMPORT_CUT: Event(
        "What was to be imported ended before its end line, after `line` lines.", ("line",)
    ),
    SECRETS_REREAD: Event(
        "At SIGHUP the files of secrets and certificates were read; `changed` names what is new.",
        ("changed",),
    ),
    SECRETS_KEPT: Event(
        "At SIGHUP a file of secrets or certificates would not do: all of them stay as they were.",
        ("reason",),
    ),
    LIBRARY_WARNED: Event(
        "A library logged a warning or error.", ("logger", "message", "exception")
    ),
}
