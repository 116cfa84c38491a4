"""Flags and variables: the only reader of ``os.environ``.

A flag counts over its variable, a variable over the default. With a wrapped command the job
never fails because of us: what is wrong with a variable, the endpoint or the token becomes a
warning, and measuring goes on without it.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

from runmeter.collector import values
from runmeter.collector.endpoint import Endpoint, parse_endpoint
from runmeter.collector.errors import QuantityError, UsageError
from runmeter.collector.summary import Limit
from runmeter.collector.version import VERSION

T = TypeVar("T")
_MS = 1_000_000
_HOUR_NS = 3_600_000_000_000
_UNPUSHED = "the run will not be pushed"
_SHOWN = 80  # characters of a bad value in its error

_EPILOG = """\
variables (each flag has one too, named after it: COLLECTOR_INTERVAL, COLLECTOR_TOP, …):
  GITHUB_REPOSITORY_OWNER, GITHUB_REPOSITORY, GITHUB_WORKFLOW, GITHUB_JOB
                          what the run belongs to; needed to push
  GITHUB_RUN_ID, GITHUB_RUN_ATTEMPT, RUNNER_NAME
                          stored with the run
  COLLECTOR_LABELS        key=value,… stored with the run
  CGROUP_PROCESS_MAP      {"node":"runner"}: process name to container name
  CGROUP_LIMITS           {"runner":{"cpu":"2","memory":"1Gi"}}: what each may use

examples:
  collector --interval=2s --push-endpoint=grpc://receiver:50051     until SIGTERM, then push
  collector -- make test                                            around one command

exit codes:
  without a command: 0 pushed, or nothing to push to; 2 bad configuration; 3 kept, the
  receiver could not be reached; 4 rejected by the receiver; always 0 with --exit-zero
  with a command: the command's own; 126 not executable, 127 not found, 128+n by signal n
"""


class Scope(NamedTuple):
    """What the run belongs to; texts as the CI system gives them, possibly empty."""

    organization: str
    repository: str
    workflow: str
    job: str


class Config(NamedTuple):
    """Everything a run is configured by."""

    command: tuple[str, ...]
    interval_ns: int
    proc_path: str
    top: int
    endpoint: Endpoint | None
    push_token: str
    log_level: str
    log_format: str
    spool_dir: str
    shutdown_timeout_ns: int
    summary_file: str
    all_containers: bool
    exit_zero: bool
    tls_ca: str
    tls_cert: str
    tls_key: str
    scope: Scope
    run_id: str
    run_attempt: int | None
    runner_name: str
    labels: dict[str, str]
    process_map: dict[str, str]
    limits: dict[str, Limit]
    command_environment: dict[str, str]
    warnings: tuple[str, ...]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see collector --help")


def split_command(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Split at the first ``--``: flags before, the wrapped command behind it."""
    arguments = list(argv)
    if "--" not in arguments:
        return arguments, ()
    at = arguments.index("--")
    if at + 1 == len(arguments):
        raise UsageError("-- must be followed by the command to run; see collector --help")
    return arguments[:at], tuple(arguments[at + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="collector",
        usage="collector [flags] [-- command ...]",
        description="Measures CPU and memory of a CI job, container by container, and pushes "
        "one summary when it ends.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=96),
    )
    add = parser.add_argument
    add("--version", action="version", version=f"collector {VERSION}")
    add("--interval", metavar="D", help="time between snapshots, 100ms to 1h (default 2s)")
    add("--proc-path", metavar="DIR", help="mount of the proc file system (default /proc)")
    add("--top", metavar="N", help="entries of each top list, 0 to 1000 (default 10)")
    add(
        "--push-endpoint",
        metavar="URL",
        help="grpc://host:port or grpcs://host:port of the receiver, or "
        "http(s)://host:port/api/v1/metrics of the gateway (default: none, only print)",
    )
    add(
        "--push-token",
        metavar="TOKEN",
        help="token of this scope; other processes of the pod can read a flag: prefer "
        "COLLECTOR_PUSH_TOKEN or --push-token-file",
    )
    add("--push-token-file", metavar="FILE", help="file that holds the token")
    add("--log-level", metavar="LEVEL", help="debug (every sample), info, warning, error")
    add("--log-format", metavar="FORMAT", help="json or text (default json)")
    add(
        "--spool-dir",
        metavar="DIR",
        help="where the run waits until it is acknowledged "
        "(default $XDG_STATE_HOME/runmeter or ~/.local/state/runmeter)",
    )
    add(
        "--shutdown-timeout",
        metavar="D",
        help="budget for the push, 1s to 1h (default 25s)",
    )
    add("--summary-file", metavar="FILE", help="also write the payload here, as JSON")
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
    add("--tls-ca", metavar="FILE", help="CAs for grpcs and https (default: the system's)")
    add("--tls-cert", metavar="FILE", help="client certificate for grpcs and https")
    add("--tls-key", metavar="FILE", help="key of the client certificate")
    return parser


def _flags(arguments: list[str]) -> dict[str, Any]:
    known, unknown = _parser().parse_known_args(arguments)
    if unknown:
        # a misspelt flag may have a token behind it: its name alone is shown
        named = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        what = f"unknown flag {named[0]!r}" if named else f"unexpected argument {unknown[0]!r}"
        raise UsageError(f"{what}; a command stands behind --, see collector --help")
    return vars(known)


class _Source:
    """Values by name: the flag, else the variable, else the default."""

    def __init__(
        self, flags: Mapping[str, Any], environment: Mapping[str, str], forgiving: bool
    ) -> None:
        self._flags = flags
        self._environment = environment
        self._forgiving = forgiving
        self.warnings: list[str] = []

    def has_flag(self, flag: str) -> bool:
        """Tell whether a flag stands on the command line."""
        return self._flags[flag.replace("-", "_")] is not None

    def value(self, flag: str, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed value of a flag or its variable.

        Raises:
            UsageError: it is not allowed; of a variable around a command only a warning.
        """
        if self.has_flag(flag):
            return self.strictly(flag, parse, default)
        return self.forgive(lambda: self.strictly(flag, parse, default), default)

    def strictly(self, flag: str, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed value of a flag or its variable; nothing is forgiven."""
        given = self._flags[flag.replace("-", "_")]
        if given is not None:
            return _parsed(f"--{flag}", given, parse)
        name = f"COLLECTOR_{flag.replace('-', '_').upper()}"
        given = self._environment.get(name, "")
        return _parsed(name, given, parse) if given else default

    def variable(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed value of a variable; unset and empty give the default."""
        given = self._environment.get(name, "")
        if not given:
            return default
        return self.forgive(lambda: _parsed(name, given, parse), default)

    def forgive(self, make: Callable[[], T], default: T, instead: str = "going on without it") -> T:
        """Return what ``make`` returns; around a command its UsageError is only a warning.

        ``instead``: what happens then, said in the warning.
        """
        try:
            return make()
        except UsageError as error:
            if not self._forgiving:
                raise
            self.warnings.append(f"{error}; {instead}")
            return default


def _parsed(name: str, given: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(given)
    except QuantityError as error:
        shown = given if len(given) <= _SHOWN else given[:_SHOWN] + "…"
        raise UsageError(f"{name}={shown!r}: must be {error.expected}") from error
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


def load(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Config:
    """Read flags and environment.

    Raises:
        UsageError: one sentence that names flag or variable, value and what is allowed.
    """
    arguments, command = split_command(argv)
    flags = _flags(arguments)
    source = _Source(flags, environment, forgiving=bool(command))
    scope = _scope(environment)
    nowhere: tuple[Endpoint | None, str] = (None, "")
    endpoint, token = source.forgive(lambda: _destination(source, scope), nowhere, _UNPUSHED)
    if flags["push_token"] is not None:
        source.warnings.append(
            "--push-token: other processes of the pod can read it from the command line; "
            "use COLLECTOR_PUSH_TOKEN or --push-token-file"
        )
    return Config(
        command=command,
        interval_ns=source.value(
            "interval", values.duration(100 * _MS, _HOUR_NS, "100ms to 1h"), 2000 * _MS
        ),
        proc_path=source.value("proc-path", values.text, "/proc"),
        top=source.value("top", values.count(1000), 10),
        endpoint=endpoint,
        push_token=token,
        log_level=source.value(
            "log-level", values.one_of("debug", "info", "warning", "error"), "info"
        ),
        log_format=source.value("log-format", values.one_of("json", "text"), "json"),
        spool_dir=source.value("spool-dir", values.text, _default_spool(environment)),
        shutdown_timeout_ns=source.value(
            "shutdown-timeout", values.duration(1000 * _MS, _HOUR_NS, "1s to 1h"), 25_000 * _MS
        ),
        summary_file=source.value("summary-file", values.text, ""),
        all_containers=source.value("all-containers", values.switch, False),
        exit_zero=source.value("exit-zero", values.switch, False),
        tls_ca=source.value("tls-ca", values.text, ""),
        tls_cert=source.value("tls-cert", values.text, ""),
        tls_key=source.value("tls-key", values.text, ""),
        scope=scope,
        run_id=environment.get("GITHUB_RUN_ID", ""),
        run_attempt=source.variable("GITHUB_RUN_ATTEMPT", values.attempt, None),
        runner_name=environment.get("RUNNER_NAME", ""),
        labels=source.variable("COLLECTOR_LABELS", values.labels, {}),
        process_map=source.variable("CGROUP_PROCESS_MAP", values.process_map, {}),
        limits=source.variable("CGROUP_LIMITS", values.limits, {}),
        command_environment=_without_secrets(environment),
        warnings=tuple(source.warnings),
    )


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("COLLECTOR_PUSH_TOKEN", "COLLECTOR_PUSH_TOKEN_FILE")
    # an empty name cannot be handed on
    return {name: value for name, value in environment.items() if name and name not in ours}


def _scope(environment: Mapping[str, str]) -> Scope:
    repository = environment.get("GITHUB_REPOSITORY", "")
    owner = environment.get("GITHUB_REPOSITORY_OWNER", "") or repository.partition("/")[0]
    return Scope(
        owner, repository, environment.get("GITHUB_WORKFLOW", ""), environment.get("GITHUB_JOB", "")
    )


def _destination(source: _Source, scope: Scope) -> tuple[Endpoint | None, str]:
    """Return endpoint and token, both usable, or no endpoint if none was given."""
    endpoint = source.strictly("push-endpoint", parse_endpoint, None)
    token = _push_token(source)
    if endpoint is not None:
        _check_pushable(scope, token)
    return endpoint, token


def _check_pushable(scope: Scope, token: str) -> None:
    needed = (
        ("GITHUB_REPOSITORY", scope.repository),
        ("GITHUB_REPOSITORY_OWNER", scope.organization),
        ("GITHUB_WORKFLOW", scope.workflow),
        ("GITHUB_JOB", scope.job),
    )
    missing = [name for name, value in needed if not value]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} must be set to push: they say what the run belongs to"
        )
    if not token:
        raise UsageError(
            "COLLECTOR_PUSH_TOKEN (or --push-token-file) must hold the push token of this scope: "
            "without it the receiver rejects the run"
        )


def _push_token(source: _Source) -> str:
    token = source.strictly("push-token", values.token, "")
    path = source.strictly("push-token-file", values.text, "")
    is_flag = source.has_flag("push-token-file")
    if not path or (token and (not is_flag or source.has_flag("push-token"))):
        return token
    name = "--push-token-file" if is_flag else "COLLECTOR_PUSH_TOKEN_FILE"
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read(65536).removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{name}={path!r} cannot be read: {reason}") from error
    return _parsed(name, content, values.token)


def _default_spool(environment: Mapping[str, str]) -> str:
    state = environment.get("XDG_STATE_HOME", "")
    home = environment.get("HOME", "")
    if state.startswith("/"):
        return f"{state}/runmeter"
    return f"{home}/.local/state/runmeter" if home.startswith("/") else ""
