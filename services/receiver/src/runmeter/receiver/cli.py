"""Command line: ``receiver [flags]`` and ``receiver migrate [flags]``."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

import click

from runmeter.receiver import config, logs
from runmeter.receiver.errors import StartupError
from runmeter.receiver.settings import SETTINGS, Setting

_PROLOGUE = """Store the runs that collectors push, and answer queries for them, over gRPC.

\b
Try it:
  receiver --addr 127.0.0.1:50051 --read-token my-secret-token --hmac-key my-hmac-key
Or with secrets where other users cannot see them:
  RECEIVER_READ_TOKEN=… receiver --hmac-key-file /run/secrets/hmac-keys

Every flag has an environment variable; a flag counts before its variable. Durations are
written 500ms, 25s, 1m30s. Exit status: 0 ended by a signal, 1 cannot serve (address or
database), 2 bad flags or variables.
"""
_MIGRATE = "Bring the schema of the database up to date, and end."


def main() -> None:
    """Run the program; never returns."""
    config.quiet_grpc()
    _command().main(prog_name="receiver")


def _command() -> click.Group:
    from runmeter.receiver import app  # brings gRPC, which has to be quiet by then

    def serve(context: click.Context, /, **flags: object) -> None:
        if context.invoked_subcommand is None:
            _end(app.serve, config.load_serve, flags)

    def migrate(context: click.Context, /, **flags: object) -> None:
        outer = context.parent.params if context.parent else {}
        merged = {
            name: outer.get(name) if value is None else value for name, value in flags.items()
        }
        _end(app.migrate, config.load_migrate, merged)

    group = click.Group(
        callback=click.pass_context(serve),
        help=_PROLOGUE,
        invoke_without_command=True,
        subcommand_metavar="[migrate]",
        params=[*map(_option, SETTINGS), _version_option()],
    )
    group.add_command(
        click.Command(
            "migrate",
            callback=click.pass_context(migrate),
            help=_MIGRATE,
            params=[_option(setting) for setting in SETTINGS if setting.migrate_too],
        )
    )
    return group


def _option(setting: Setting) -> click.Option:
    default = f"; default {setting.default}" if setting.default else ""
    text = f"{setting.help}  [{setting.variable}{default}]"
    if not setting.metavar:
        names = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        return click.Option([names], default=None, help=text)
    return click.Option(
        [setting.flag],
        metavar=setting.metavar,
        multiple=setting.repeatable,
        default=None,
        help=text,
    )


def _version_option() -> click.Option:
    def show(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            click.echo(f"receiver {version('runmeter-receiver')}")
            context.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show the version and exit.",
    )


def _end(
    run: Callable[[Any], Coroutine[Any, Any, int]],
    load: Callable[[dict[str, object]], Any],
    flags: dict[str, object],
) -> None:
    """Load, run, exit; what cannot start is one sentence on standard error."""
    try:
        loaded = load(flags)
        logs.configure(loaded.log.level, loaded.log.format, sys.stderr)
        sys.exit(asyncio.run(run(loaded)))
    except StartupError as error:
        click.echo(f"receiver: {error}", err=True)
        sys.exit(error.exit_code)
