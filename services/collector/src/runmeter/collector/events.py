"""All log events of the collector: level, meaning and keys of each; docs/events.md shows them.

Nothing of the program imports this: it would cost the sampling process memory.
"""

EVENTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "config.warned": (
        "warning",
        "A variable, the endpoint or the token cannot be used, and the command runs without it; or "
        "a token is on the command line.",
        ("reason",),
    ),
    "run.started": (
        "info",
        "Measuring has begun. The line also has the scope.",
        (
            "push_id",
            "interval_seconds",
            "clock_source",
            "measures",
            "push_endpoint",
            "spool_dir",
        ),
    ),
    "run.skipped": (
        "warning",
        "The machine cannot be measured; the command runs unmeasured.",
        ("reason",),
    ),
    "sample.taken": (
        "debug",
        "One sample, the containers with their share of limits. In text it is one key, `sample`.",
        ("system", "containers", "top_processes", "sample"),
    ),
    "sample.failed": (
        "warning",
        "No snapshot could be taken at this tick; it counts as missed.",
        ("reason",),
    ),
    "checkpoint.written": ("debug", "The run so far is in the spool.", ("revision",)),
    "checkpoint.failed": (
        "warning, once; info for a push",
        "A checkpoint could not be made or pushed. The run goes on, and the next one is tried.",
        ("reason", "push_endpoint"),
    ),
    "run.dropped": (
        "warning",
        "The spool held more than `--spool-max`: the oldest run that no process owns was deleted.",
        ("push_id", "reason"),
    ),
    "run.measured": (
        "info",
        "The run has ended, and its summary is ready.",
        ("duration_seconds", "sample_count", "container_count"),
    ),
    "run.failed": (
        "error",
        "A defect or lack of memory ended the measuring early. The exit code does not change; the "
        "last checkpoint stays in the spool.",
        ("reason",),
    ),
    "run.limited": (
        "info",
        "Something could not be measured, or not exactly; `reason` says what that means.",
        ("reason",),
    ),
    "summary_file.failed": ("warning", "`--summary-file` could not be written.", ("reason",)),
    "spool.failed": (
        "warning",
        "The spool cannot be written, or hangs (logged once; the run is pushed from memory), or a "
        "run in it cannot be locked, moved or removed.",
        ("reason", "path"),
    ),
    "spool.set_aside": (
        "warning",
        "A file with the name of a run is not a run: damaged, a link, a pipe, of another user. It "
        "was moved to `path`.",
        ("reason", "path"),
    ),
    "push.unencrypted": (
        "warning",
        "The push token is sent to another machine unencrypted.",
        ("push_endpoint", "reason"),
    ),
    "push.retrying": (
        "warning; debug for a checkpoint",
        "A push was not accepted and is tried again after `delay_seconds`. `attempt`: how many "
        "were made.",
        ("push_id", "reason", "attempt", "delay_seconds"),
    ),
    "push.stopped": (
        "warning",
        "A signal ended `collector push`; what was not pushed stays in the spool.",
        ("reason",),
    ),
    "checkpoint.pushed": (
        "info",
        "The receiver has acknowledged a checkpoint of a run that goes on.",
        ("id", "push_id"),
    ),
    "run.pushed": (
        "info",
        "The receiver has acknowledged the run. `state` `interrupted`: the last checkpoint of a "
        "run whose collector ended early.",
        ("id", "duplicate", "push_id", "state"),
    ),
    "run.kept": (
        "error",
        "The run was not pushed and is kept in `path`: the receiver could not be reached or "
        "failed, another process pushes the run, a second signal ended the push, or endpoint or "
        "token cannot be used (around a command). `hint`: what to do.",
        ("reason", "push_endpoint", "path", "hint"),
    ),
    "run.rejected": (
        "error",
        "The receiver does not accept the run: it is invalid (then `path` is below `rejected/`), "
        "or the token or the endpoint is wrong (then it waits). `hint`: what to do, such as the "
        "scope that the token must be for.",
        ("reason", "push_endpoint", "path", "hint"),
    ),
    "run.lost": (
        "error",
        "The run could neither be pushed nor kept: the spool cannot be written, and holds no "
        "checkpoint of it; or, around a command, a variable of the scope is not set.",
        ("reason", "push_endpoint"),
    ),
    "run.unreadable": (
        "error; warning for a waiting run",
        "The run's file cannot be read, or a later version wrote it; the file is not changed.",
        ("reason", "path"),
    ),
}
