"""The command line: ``gateway [flags]``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import click

from runmeter.gateway import config
from runmeter.gateway.settings import OPTIONS

EXIT_CONFIGURATION: Final = 2
_DISTRIBUTION: Final = "runmeter-gateway"

_EPILOG: Final = """\b
Examples:
  gateway
  gateway --addr=127.0.0.1:8080 --receiver=grpc://receiver:50051
  GATEWAY_RECEIVER=grpc://receiver:50051 gateway --log-format=text

\b
Then:
  curl http://localhost:8080/health
  curl -H "Authorization: Bearer $READ_TOKEN" \\
    http://localhost:8080/api/v1/metrics/repo/my-org/my-repo/ci.yml/build

A flag wins over its environment variable, that over the default. The gateway holds no secret:
the receiver checks every token. It ends with 0 after SIGTERM or SIGINT, 1 if it cannot listen,
2 if a setting cannot be used.
"""


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(OPTIONS):
        default = f" [default: {option.default}]" if option.default else ""
        # values stay text here: config reads flags and variables alike
        command = click.option(
            option.flag,
            metavar=option.metavar,
            multiple=option.repeatable,
            help=f"{option.teaches} Variable: {option.variable}.{default}",
        )(command)
    return command


@click.command(
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@_with_options
@click.version_option(
    package_name=_DISTRIBUTION, prog_name="gateway", message="%(prog)s %(version)s"
)
def main(**flags: Any) -> None:
    """Serve the REST API of Runmeter: JSON over HTTP in front of the gRPC receiver."""
    try:
        settings = config.load(flags)
    except config.ConfigError as error:
        click.echo(f"gateway: {error}", err=True)
        sys.exit(EXIT_CONFIGURATION)
    config.quiet_grpc()
    # only now: --help and bad settings need neither Sanic nor gRPC
    from runmeter.gateway.app import run

    sys.exit(run(settings, version(_DISTRIBUTION)))
