"""The command line of the collector: its flags, and the text of ``--help``."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from runmeter.collector.errors import UsageError
from runmeter.collector.version import VERSION

EPILOG = """\
commands:
  push   push the runs that wait in the spool; see collector push --help
  spool  list these runs; see collector spool --help

variables (each flag has one too, named after it: COLLECTOR_INTERVAL, COLLECTOR_TOP, …):
  GITHUB_REPOSITORY_OWNER, GITHUB_REPOSITORY, GITHUB_WORKFLOW, GITHUB_JOB
                          the job that the run belongs to; needed to push
  GITHUB_RUN_ID, GITHUB_RUN_ATTEMPT, RUNNER_NAME
                          stored with the run
  COLLECTOR_LABELS        key=value,… stored with the run
  CGROUP_PROCESS_MAP      {"node":"runner"}: container name by process name
  CGROUP_LIMITS           {"runner":{"cpu":"2","memory":"1Gi"}}: limits by container name

examples:
  collector --interval=2s --push-endpoint=grpc://receiver:50051     until SIGTERM, then push
  collector -- make test                                            around one command

exit codes:
  without a command: 0 pushed, or nothing to push to; 2 bad configuration; 3 kept, the
  receiver could not be reached; 4 rejected by the receiver; always 0 with --exit-zero
  with a command: the command's own; 126 not executable, 127 not found, 128+n by signal n
"""


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}; see {self.prog} --help")


def split_command(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Split at the first ``--``: flags before it, the wrapped command after it."""
    arguments = list(argv)
    if "--" not in arguments:
        return arguments, ()
    at = arguments.index("--")
    if at + 1 == len(arguments):
        raise UsageError("-- must be followed by the command to run; see collector --help")
    return arguments[:at], tuple(arguments[at + 1 :])


def _parser(prog: str, usage: str, description: str, epilog: str) -> Parser:
    return Parser(
        prog=prog,
        usage=usage,
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=96),
    )


def _add_push(parser: Parser, default: str, scope: str, readers: str) -> None:
    add = parser.add_argument
    add(
        "--push-endpoint",
        metavar="URL",
        help="grpc://host:port or grpcs://host:port of the receiver, or "
        f"http(s)://host:port/api/v1/metrics of the gateway{default}",
    )
    add(
        "--push-token",
        metavar="TOKEN",
        help=f"push token of {scope}; {readers} can read flags: prefer COLLECTOR_PUSH_TOKEN or "
        "--push-token-file",
    )
    add("--push-token-file", metavar="FILE", help="file that holds the token")


def _add_tls(parser: Parser) -> None:
    add = parser.add_argument
    add("--tls-ca", metavar="FILE", help="CAs for grpcs and https (default: the system's)")
    add("--tls-cert", metavar="FILE", help="client certificate for grpcs and https")
    add("--tls-key", metavar="FILE", help="key of the client certificate")
    add(
        "--tls-server-name",
        metavar="NAME",
        help="name in the receiver's certificate (default: the endpoint's host)",
    )


def _run_parser() -> Parser:
    parser = _parser(
        "collector",
        "collector [flags] [-- command ...]\n       collector push | spool [flags]",
        "Measures CPU and memory of a CI job, container by container, and pushes one summary when "
        "it ends.",
        EPILOG,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"collector {VERSION}")
    add("--interval", metavar="D", help="time between snapshots, 100ms to 1h (default 2s)")
    add("--proc-path", metavar="DIR", help="mount of the proc file system (default /proc)")
    add("--top", metavar="N", help="entries of each top list, 0 to 1000 (default 10)")
    _add_push(parser, " (default: none, only print)", "this scope", "other processes of the pod")
    add("--log-level", metavar="LEVEL", help="debug (every sample), info, warning (or warn), error")
    add("--log-format", metavar="FORMAT", help="json or text (default json)")
    add(
        "--spool-dir",
        metavar="DIR",
        help="folder of runs that are not pushed yet "
        "(default $XDG_STATE_HOME/runmeter or ~/.local/state/runmeter)",
    )
    add(
        "--spool-max",
        metavar="MAX",
        help="limits of the spool, beyond which the oldest run is removed: a number of runs, a "
        "size such as 64Mi, or both separated by a comma (default 100,64Mi)",
    )
    add(
        "--checkpoint-interval",
        metavar="D",
        help="longest time between two writes of the run so far to the spool; the first ones come "
        "sooner; a killed collector loses at most this much: 100ms to 24h, 0 never (default 30s)",
    )
    add(
        "--checkpoint-push",
        metavar="D",
        help="how often the run so far is pushed, so that it is stored even if the machine is "
        "lost: 1s to 24h, 0 never (default 5m)",
    )
    add(
        "--shutdown-timeout",
        metavar="D",
        help="time for the push at the end, 1s to 1h (default 25s)",
    )
    add("--summary-file", metavar="FILE", help="also write the payload to this file, as JSON")
    add(
        "--all-containers",
        action="store_const",
        const="true",
        help="with a command: list every cgroup, not containers only",
    )
    add(
        "--exit-zero",
        action="store_const",
        const="true",
        help="without a command: exit 0 even if the push failed",
    )
    _add_tls(parser)
    return parser


def parse_flags(arguments: list[str]) -> dict[str, Any]:
    """Return the given flags by name, as texts; None: not given.

    Raises:
        UsageError: a flag is unknown, or an argument is unexpected.
    """
    known, unknown = _run_parser().parse_known_args(arguments)
    if unknown:
        # only the name is shown: a token may follow a misspelt flag
        named = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        what = f"unknown flag {named[0]!r}" if named else f"unexpected argument {unknown[0]!r}"
        raise UsageError(f"{what}; put the command after --, see collector --help")
    return vars(known)


_PUSH_EPILOG = """\
Runs that a collector still measures are skipped. A run whose collector died is pushed as
interrupted. A run is removed from the spool only when the receiver has acknowledged it; if it is
pushed twice, it is stored once. The token is for one scope (organization, repository, workflow,
job): runs of other scopes are refused and stay in the spool.

variables: flags with a value have one, named after them: COLLECTOR_PUSH_ENDPOINT, …

examples:
  collector spool                                                   list the runs
  collector push --push-endpoint=grpc://receiver:50051              with COLLECTOR_PUSH_TOKEN
  collector push --push-token-file=/run/secrets/push-token --json

exit codes: 0 all are pushed, or the spool is empty; 2 bad configuration; 3 some are kept: the
receiver could not be reached; 4 some are rejected: the report and collector spool show why
"""
_SPOOL_EPILOG = """\
live        a collector is measuring it, or it is being pushed
waiting     collector push pushes it, or the next collector of the same scope at its end; if its
            last token was refused, the reason is below the table
rejected    the receiver rejected it; the reason is below the table; collector push --rejected
            tries again
later       a later version wrote it and can read it
unreadable  not a run: the next push moves it to the folder aside/ in the spool
"""


def parse_push(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the flags of ``collector push``.

    Raises:
        UsageError: the command line is malformed.
    """
    parser = _spool_parser("push", "Pushes the runs that wait in the spool.", _PUSH_EPILOG)
    add = parser.add_argument
    _add_push(parser, "", "the runs' scope", "other processes")
    add("--timeout", metavar="D", help="time to push one run, 1s to 1h (default 25s)")
    add("--rejected", action="store_true", help="also push runs that were rejected before")
    add("--log-level", metavar="LEVEL", help="debug, info, warning (or warn; default), error")
    add("--log-format", metavar="FORMAT", help="json or text (default text)")
    _add_tls(parser)
    return _parse(parser, arguments)


def parse_spool(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the flags of ``collector spool``.

    Raises:
        UsageError: the command line is malformed.
    """
    return _parse(_spool_parser("spool", "Lists the runs in the spool.", _SPOOL_EPILOG), arguments)


def _spool_parser(name: str, description: str, epilog: str) -> Parser:
    parser = _parser(f"collector {name}", f"collector {name} [flags]", description, epilog)
    parser.add_argument(
        "--spool-dir",
        metavar="DIR",
        help="folder of the runs (default $XDG_STATE_HOME/runmeter or ~/.local/state/runmeter)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _parse(parser: Parser, arguments: Sequence[str]) -> dict[str, Any]:
    known, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        named = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        what = f"unknown flag {named[0]!r}" if named else "unexpected argument"
        raise UsageError(f"{what}; see {parser.prog} --help")
    return vars(known)
