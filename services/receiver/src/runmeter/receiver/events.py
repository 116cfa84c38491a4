"""All log events: a constant each, and in EVENTS what it means and which keys it may carry.

A line written during a call also has the keys that the call has bound so far (those of
``rpc.finished``).
"""

from runmeter.service.events import LIBRARY_EVENTS, Event

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
RUNS_RENAMED = "runs.renamed"
RUNS_EXPORTED = "runs.exported"
RUNS_IMPORTED = "runs.imported"
LINE_REJECTED = "line.rejected"
IMPORT_CUT = "import.cut"
SECRETS_REREAD = "secrets.reread"
SECRETS_KEPT = "secrets.kept"

EVENTS = {
    SERVER_STARTED: Event(
        "info",
        "The receiver accepts calls. The addresses are those that were bound (0.0.0.0: all "
        "interfaces); `ops_address` null: the pages for operators are not served.",
        ("address", "ops_address", "database", "version"),
    ),
    SHUTDOWN_REQUESTED: Event(
        "info",
        "A signal was received. New calls are refused; open calls have `grace_seconds` to end.",
        ("signal", "grace_seconds"),
    ),
    SERVER_STOPPED: Event("info", "The receiver has ended normally.", ("uptime_seconds",)),
    SERVER_KILLED: Event(
        "warning",
        "The receiver ends at once, without waiting for open calls: a second signal was received, "
        "or a statement of the database does not end.",
        ("reason",),
    ),
    RPC_FINISHED: Event(
        "info",
        "One call has ended; calls of health and reflection are not logged. `reason`: why it was "
        "refused. `request_id`: the caller's id of the call, for example from the gateway. "
        "`client`: the address that a trusted gateway forwarded. The scope and, for pushes, "
        "`push_id` and the keys after it are present if they were read and are valid; queries have "
        "a count.",
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
        "error",
        "A defect: a call ended in an unexpected error; the caller saw INTERNAL.",
        ("method", "exception"),
    ),
    CALLER_LIMITED: Event(
        "warning",
        "Too many calls of one caller or with one bearer were refused. For `seconds`, further "
        "refused calls are answered with RESOURCE_EXHAUSTED and logged at debug.",
        ("caller", "seconds"),
    ),
    DATABASE_MIGRATED: Event(
        "info",
        "The schema was brought up to date. `applied`: the names of the steps.",
        ("database", "applied"),
    ),
    DATABASE_FAILED: Event(
        "error",
        "The database could not be read or written; callers saw UNAVAILABLE.",
        ("doing", "reason", "error"),
    ),
    DATABASE_REPLACED: Event(
        "warning",
        "The open SQLite file was replaced by another file. `kept`: the new name of the old file's "
        "write-ahead log, if there was one; the runs in that log are in neither file.",
        ("kept",),
    ),
    BATCH_FAILED: Event(
        "warning",
        "Pushes could not be stored together and are tried one by one.",
        ("push_count", "error"),
    ),
    WRITER_FAILED: Event(
        "error",
        "A defect: pushes ended in an unexpected error; their callers saw INTERNAL.",
        ("push_count", "exception"),
    ),
    KEY_FOUND_SHORT: Event(
        "warning",
        "An HMAC key has fewer than 16 bytes: it can be guessed. The first key has position 1.",
        ("position", "reason", "min_bytes"),
    ),
    RUNS_DELETED: Event(
        "info",
        "Old runs were deleted, by `receiver prune` or by `--retention`. `signal`: the signal that "
        "ended it before all old runs were deleted.",
        ("run_count", "transaction_count", "older_than_seconds", "duration_seconds", "signal"),
    ),
    RUNS_COUNTED: Event(
        "info",
        "`receiver prune --dry-run` would delete `run_count` runs, or `receiver rename --dry-run` "
        "would rename them; `merged_count` of them are also stored under the new name.",
        ("run_count", "older_than_seconds", "merged_count", "from", "to"),
    ),
    RUNS_RENAMED: Event(
        "info",
        "The runs of a repository have its new name. `signal`: the signal that ended the command "
        "early; run it again.",
        ("run_count", "transaction_count", "from", "to", "duration_seconds", "signal"),
    ),
    RUNS_EXPORTED: Event(
        "info",
        "An export has ended. `signal`: the signal that ended it early; the export is incomplete.",
        ("run_count", "duration_seconds", "signal"),
    ),
    RUNS_IMPORTED: Event(
        "info",
        "An import has ended. `read`: lines with a run, of which some were `stored`, `replaced` or "
        "`duplicates`; `rejected`: lines that were not stored. `complete` false: some runs are "
        "missing; run the import again.",
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
        "error",
        "A line of an import has no run that can be stored, or is in the wrong place. The first "
        "line is 1.",
        ("line", "reason"),
    ),
    IMPORT_CUT: Event(
        "error",
        "The imported file ended before its end line. `line`: the last that was read.",
        ("line",),
    ),
    SECRETS_REREAD: Event(
        "info",
        "After SIGHUP the files of secrets and certificates were read again. `changed`: the names "
        "of the changed settings.",
        ("changed",),
    ),
    SECRETS_KEPT: Event(
        "error",
        "After SIGHUP a file of secrets or certificates could not be used: the previous ones stay "
        "in use.",
        ("reason",),
    ),
    **LIBRARY_EVENTS,
}
