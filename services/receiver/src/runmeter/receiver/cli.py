"""Command line: ``receiver`` serves, ``receiver COMMAND`` does one job and ends."""

import asyncio
import gc
import importlib
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import click
import uvloop

from runmeter.receiver import config
from runmeter.receiver.settings import SETTINGS
from runmeter.service import logs
from runmeter.service.errors import StartupError
from runmeter.service.settings import click_options

_PROLOGUE = """Store the runs that collectors push, and answer queries for them, over gRPC.

\b
Try it:
  receiver --addr 127.0.0.1:50051 --read-token my-secret-token --hmac-key my-hmac-key-of-many-bytes
Or with secrets where other users cannot see them:
  RECEIVER_READ_TOKEN=… receiver --hmac-key-file /run/secrets/hmac-keys

Every flag has an environment variable; a flag overrides its variable. Durations are written
500ms, 25s, 1m30s, ages also 90d and 1d12h. Exit status: 0 ended by a signal, 1
cannot serve (address or database), 2 bad flags or variables.
"""


class _Command(NamedTuple):
    """A subcommand: its help, its configuration, the function of ``admin`` that does it."""

    help: str
    load: Callable[[dict[str, object]], Any]
    function: str
    arguments: tuple[str, ...] = ()


_COMMANDS = {
    "migrate": _Command(
        """Bring the schema of the database up to date, then exit.

        \b
          receiver migrate --db postgres://user@host:5432/runs

        It may run several times at once: one run migrates, the others wait.
        """,
        config.load_database,
        "migrate",
    ),
    "prune": _Command(
        """Delete runs whose last push is older than a duration, with their containers.

        \b
          receiver prune --older-than=90d --db metrics.db --dry-run
          receiver prune --older-than=90d --db metrics.db

        Receivers may serve the database at the same time: transactions are small, with pauses
        between them.
        Durations are written 90d, 36h, 1d12h. A running run that is not overdue is kept. Exit
        status: 0 done, 1 the database cannot be used, 2 bad flags or variables, 128 + n ended
        by signal n.
        """,
        config.load_prune,
        "prune",
    ),
    "rename": _Command(
        """Give all runs of a repository its new name.

        \b
          receiver rename --from=my-org/old --to=my-org/new --db metrics.db --dry-run
          receiver rename --from=my-org/old --to=my-org/new --db metrics.db

        Receivers may serve the database at the same time: transactions are small, with pauses
        between them. If it is ended early, run it again. Push tokens for the old name do
        not push to the new one: mint new ones. Exit status: 0 done, 1 the database cannot be
        used, or a run is stored under both names with different content, 2 bad flags or variables,
        128 + n ended by signal n.
        """,
        config.load_rename,
        "rename",
    ),
    "export": _Command(
        """Write all runs to standard output, one line of JSON each, in the order they were stored.

        \b
          receiver export --db metrics.db > runs.jsonl
          receiver export --db metrics.db | receiver import --db postgres://user@host/runs

        Receivers may serve the database at the same time; runs that arrive after the start are
        left out. Exit status: 0 done, 1 the database cannot be read or the output cannot be
        written, 2 bad flags or variables, 141 the reader has closed the output, 128 + n ended by
        signal n.
        """,
        config.load_database,
        "export_runs",
    ),
    "import": _Command(
        """Store the runs of an export, from a file or standard input, with the rules for pushes.

        \b
          receiver import --db metrics.db runs.jsonl
          receiver export --db metrics.db | receiver import --db postgres://user@host/runs

        Times of arrival are kept. Running it again is safe: no run is stored twice. It stops at the
        first line that cannot be stored; the lines before it stay stored. With --from and --to the
        runs of one repository are stored under its new name; other runs keep theirs. Exit status: 0
        all is stored, 1 a bad line, a stream that is cut short or an unusable database, 2 bad
        flags or variables, 128 + n ended by signal n.
        """,
        config.load_import,
        "import_runs",
        ("file",),
    ),
}

_UNSENT = "ExecuteBatchError"  # gRPC's, which it exports only as a part of its core


def main() -> None:
    """Run the program; never returns."""
    config.quiet_grpc()  # before its import
    _command().main(prog_name="receiver")


def log_level(record: logging.LogRecord) -> int:
    """Return the level of a library's record; a disconnected caller is not a warning."""
    kind = record.exc_info[0] if record.exc_info else None
    is_unsent = kind is not None and kind.__name__ == _UNSENT
    return logging.DEBUG if is_unsent else record.levelno


def _command() -> click.Group:
    def serve(context: click.Context, /, **flags: object) -> None:
        if context.invoked_subcommand is None:
            _run_and_exit("serve", config.load_serve, flags)

    group = click.Group(
        callback=click.pass_context(serve),
        help=_PROLOGUE,
        invoke_without_command=True,
        subcommand_metavar=f"[{' | '.join(_COMMANDS)}]",
        params=click_options(SETTINGS),
    )
    for name, command in _COMMANDS.items():
        group.add_command(_subcommand(name, command))
    show_version = click.version_option(
        package_name="runmeter-receiver", message="receiver %(version)s"
    )
    return show_version(group)


def _subcommand(name: str, command: _Command) -> click.Command:
    def run(context: click.Context, /, **flags: object) -> None:
        # flags count on either side of the command's name
        outer = context.parent.params if context.parent else {}
        merged = {
            name: outer.get(name) if value is None else value for name, value in flags.items()
        }
        _run_and_exit(command.function, command.load, merged)

    arguments = [
        click.Argument([argument], required=False, metavar=f"[{argument.upper()}]")
        for argument in command.arguments
    ]
    return click.Command(
        name,
        callback=click.pass_context(run),
        help=command.help,
        params=[*click_options(SETTINGS, name), *arguments],
    )


def _run_and_exit(
    function: str, load: Callable[[dict[str, object]], Any], flags: dict[str, object]
) -> None:
    """Load the configuration, run, exit; a failed start is one sentence on standard error."""
    # nothing of what is imported is garbage: looking for it would be a tenth of a start
    gc.disable()
    where = "app" if function == "serve" else "admin.commands"
    module = importlib.import_module(f"runmeter.receiver.{where}")
    gc.freeze()
    gc.enable()
    run: Callable[[Any], Coroutine[Any, Any, int]] = getattr(module, function)
    try:
        loaded = load(flags)
        logs.configure(loaded.log, sys.stderr, log_level)
        # uvloop is for many calls at once, and fails if a standard stream is closed
        sys.exit((uvloop if function == "serve" else asyncio).run(run(loaded)))
    except StartupError as error:
        click.echo(f"receiver: {error}", err=True)
        sys.exit(error.exit_code)
