"""The command line: ``gateway [flags]``."""

import gc
import sys
from importlib.metadata import version
from typing import Any

import click

from runmeter.gateway import config
from runmeter.gateway.settings import SETTINGS
from runmeter.gateway.web.unused import leave_out
from runmeter.service.errors import StartupError
from runmeter.service.settings import click_options

_DISTRIBUTION = "runmeter-gateway"

_EPILOG = """\b
Examples:
  gateway
  gateway --addr=127.0.0.1:8080 --receiver=grpc://receiver:50051
  GATEWAY_RECEIVER=grpc://receiver:50051 gateway --log-format=text

\b
Then:
  curl http://localhost:8080/health
  curl -H "Authorization: Bearer $READ_TOKEN" \\
    http://localhost:8080/api/v1/metrics/repo/my-org/my-repo/ci.yml/build

A flag overrides its environment variable, a variable overrides the default. The gateway holds
no secret: the receiver checks every token. Exit status: 0 after SIGTERM or SIGINT, 1 if it cannot
listen, 2 if a setting cannot be used.
"""


def main(prog_name: str = "gateway") -> None:
    """Run the program; never returns."""
    options = click_options(SETTINGS)
    version_option = click.version_option(
        package_name=_DISTRIBUTION, prog_name="gateway", message="%(prog)s %(version)s"
    )
    command = click.Command(
        "gateway",
        callback=_serve,
        params=[*options],
        help="Serve the REST API of Runmeter: JSON over HTTP in front of the gRPC receiver.",
        epilog=_EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    version_option(command).main(prog_name=prog_name)


def _serve(**flags: Any) -> None:
    try:
        settings = config.load(flags)
        config.quiet_grpc()
        leave_out()
        gc.disable()  # nothing of what is imported is garbage; `run` enables it again
        # only now: --help and bad settings need neither Sanic nor gRPC
        from runmeter.gateway.app import run

        sys.exit(run(settings, version(_DISTRIBUTION)))
    except StartupError as error:
        click.echo(f"gateway: {error}", err=True)
        sys.exit(error.exit_code)
