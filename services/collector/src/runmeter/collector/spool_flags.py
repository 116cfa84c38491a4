"""The command lines of ``collector push`` and ``collector spool``."""

import argparse
from collections.abc import Sequence
from typing import Any

from runmeter.collector.errors import UsageError
from runmeter.collector.flags import Parser

_PUSH_EPILOG = """\
Runs that a collector still measures are left alone. A run whose collector died is pushed as
interrupted. A run leaves the spool only when the receiver has acknowledged it; pushed twice it
is stored once. The token counts for one scope (organization, repository, workflow, job): runs of
others are refused and kept for their own.

variables: flags with a value have one, named after them: COLLECTOR_PUSH_ENDPOINT, …

examples:
  collector spool                                                   what is there
  collector push --push-endpoint=grpc://receiver:50051              with COLLECTOR_PUSH_TOKEN
  collector push --push-token-file=/run/secrets/push-token --json

exit codes: 0 all are pushed, or nothing was there; 2 bad configuration; 3 some are kept: the
receiver could not be reached; 4 some are rejected: this report says why, and collector spool again
"""
_SPOOL_EPILOG = """\
live        a collector or pusher owns it now
waiting     collector push delivers it, or the next collector of the same scope when it ends;
            one whose last token was refused is named below the table, with the reason
rejected    the receiver will not take it as it is; the reason stands below the table;
            collector push --rejected tries again
later       a later version wrote it and will read it
unreadable  not a run: the next push moves it to the folder aside/ in the spool
"""


def parse_push(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the flags of ``collector push``.

    Raises:
        UsageError: the command line is malformed.
    """
    parser = _parser("push", "Pushes the runs that wait in the spool.", _PUSH_EPILOG)
    add = parser.add_argument
    add(
        "--push-endpoint",
        metavar="URL",
        help="grpc://host:port or grpcs://host:port of the receiver, or "
        "http(s)://host:port/api/v1/metrics of the gateway",
    )
    add(
        "--push-token",
        metavar="TOKEN",
        help="token of the runs' scope; other processes can read a flag: prefer "
        "COLLECTOR_PUSH_TOKEN or --push-token-file",
    )
    add("--push-token-file", metavar="FILE", help="file that holds the token")
    add("--timeout", metavar="D", help="how long one run is tried, 1s to 1h (default 25s)")
    add("--rejected", action="store_true", help="also what was rejected before")
    add("--log-level", metavar="LEVEL", help="debug, info, warning (default), error")
    add("--log-format", metavar="FORMAT", help="json or text (default text)")
    add("--tls-ca", metavar="FILE", help="CAs for grpcs and https (default: the system's)")
    add("--tls-cert", metavar="FILE", help="client certificate for grpcs and https")
    add("--tls-key", metavar="FILE", help="key of the client certificate")
    add(
        "--tls-server-name",
        metavar="NAME",
        help="name the receiver's certificate is for (default: the endpoint's host)",
    )
    return _parse(parser, arguments)


def parse_spool(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the flags of ``collector spool``.

    Raises:
        UsageError: the command line is malformed.
    """
    return _parse(_parser("spool", "Lists the runs in the spool.", _SPOOL_EPILOG), arguments)


def _parser(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"collector {name}",
        usage=f"collector {name} [flags]",
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=96),
    )
    parser.add_argument(
        "--spool-dir",
        metavar="DIR",
        help="where runs wait (default $XDG_STATE_HOME/runmeter or ~/.local/state/runmeter)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> dict[str, Any]:
    known, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        named = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        what = f"unknown flag {named[0]!r}" if named else "unexpected argument"
        raise UsageError(f"{what}; see {parser.prog} --help")
    return vars(known)
