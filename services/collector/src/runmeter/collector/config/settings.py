"""Flags and variables: the only reader of ``os.environ``.

A flag takes precedence over its variable, a variable over the default. With a wrapped command the
job never fails because of the collector: an error in a variable, the endpoint or the token becomes
a warning, and the collector goes on without it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from runmeter.collector.config import values
from runmeter.collector.config.endpoint import Endpoint, parse_endpoint
from runmeter.collector.config.flags import parse_flags, split_command
from runmeter.collector.config.lookup import Source, parsed
from runmeter.collector.errors import UsageError
from runmeter.collector.model import Limit, Scope

T = TypeVar("T")
_MS = 1_000_000
_HOUR_NS = 3_600_000_000_000
_UNPUSHED = "the run will not be pushed"
_KEPT = "the run will be kept, not pushed"
_TOKEN_SHOWN = (
    "--push-token: other processes of the pod can read it from the command line; "
    "use COLLECTOR_PUSH_TOKEN or --push-token-file"
)
_TOKEN_NEEDED = (
    "COLLECTOR_PUSH_TOKEN (or --push-token-file) must hold the push token of this scope: "
    "without it the receiver rejects the run"
)


class Config(NamedTuple):
    """The settings of a run.

    ``is_kept``: it is written to the spool, to be pushed now or later. ``unpushed``: why it is not
    pushed now, although an endpoint was given; empty: it is pushed.
    """

    command: tuple[str, ...]
    interval_ns: int
    proc_path: str
    top: int
    endpoint: Endpoint | None
    push_token: str
    is_kept: bool
    unpushed: str
    log_level: str
    log_format: str
    spool_dir: str
    spool_max: values.SpoolMax
    checkpoint_interval_ns: int
    checkpoint_push_ns: int
    shutdown_timeout_ns: int
    summary_file: str
    all_containers: bool
    exit_zero: bool
    tls_ca: str
    tls_cert: str
    tls_key: str
    tls_server_name: str
    scope: Scope
    run_id: str
    run_attempt: int | None
    runner_name: str
    labels: dict[str, str]
    process_map: dict[str, str]
    limits: dict[str, Limit]
    command_environment: dict[str, str]
    warnings: tuple[str, ...]


def load(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Config:
    """Read flags and environment.

    Raises:
        UsageError: one sentence that names flag or variable, value and what is allowed.
    """
    arguments, command = split_command(argv)
    flags = parse_flags(arguments)
    source = Source(flags, environment, forgiving=bool(command))
    scope = _scope(environment)
    endpoint, push_token, is_kept, unpushed = _destination(source, scope)
    if flags["push_token"] is not None:
        source.warnings.append(_TOKEN_SHOWN)
    return Config(
        command=command,
        interval_ns=source.value(
            "interval", values.duration(100 * _MS, _HOUR_NS, "100ms to 1h"), 2000 * _MS
        ),
        proc_path=source.value("proc-path", str, "/proc"),
        top=source.value("top", values.whole_number(0, 1000), 10),
        endpoint=endpoint,
        push_token=push_token,
        is_kept=is_kept,
        unpushed=unpushed,
        log_level=source.value("log-level", values.log_level, "info"),
        log_format=source.value("log-format", values.one_of("json", "text"), "json"),
        spool_dir=source.value("spool-dir", str, _default_spool(environment)),
        spool_max=source.value("spool-max", values.spool_max, values.SPOOL_MAX),
        checkpoint_interval_ns=source.value(
            "checkpoint-interval",
            values.duration(100 * _MS, 24 * _HOUR_NS, "100ms to 24h", or_never=True),
            30_000 * _MS,
        ),
        checkpoint_push_ns=source.value(
            "checkpoint-push",
            values.duration(1000 * _MS, 24 * _HOUR_NS, "1s to 24h", or_never=True),
            300_000 * _MS,
        ),
        shutdown_timeout_ns=source.value(
            "shutdown-timeout", values.duration(1000 * _MS, _HOUR_NS, "1s to 1h"), 25_000 * _MS
        ),
        summary_file=source.value("summary-file", str, ""),
        all_containers=source.value("all-containers", values.switch, False),
        exit_zero=source.value("exit-zero", values.switch, False),
        **_tls(source),
        scope=scope,
        run_id=environment.get("GITHUB_RUN_ID", ""),
        run_attempt=source.variable(
            "GITHUB_RUN_ATTEMPT", values.whole_number(1, 999_999_999), None
        ),
        runner_name=environment.get("RUNNER_NAME", ""),
        labels=source.variable("COLLECTOR_LABELS", values.labels, {}),
        process_map=source.variable("CGROUP_PROCESS_MAP", values.process_map, {}),
        limits=source.variable("CGROUP_LIMITS", values.limits, {}),
        command_environment=_without_secrets(environment),
        warnings=tuple(source.warnings),
    )


class PushConfig(NamedTuple):
    """The settings of ``collector push``."""

    spool_dir: str
    endpoint: Endpoint
    push_token: str
    timeout_ns: int
    log_level: str
    log_format: str
    tls_ca: str
    tls_cert: str
    tls_key: str
    tls_server_name: str
    warnings: tuple[str, ...]


def load_push(flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> PushConfig:
    """Read the settings of ``collector push``; errors as `load`."""
    source = Source(flags, environment, forgiving=False)
    spool_dir = load_spool_dir(flags, environment)
    endpoint = source.value("push-endpoint", parse_endpoint, None)
    if endpoint is None:
        raise UsageError("--push-endpoint (or COLLECTOR_PUSH_ENDPOINT) must say where to push")
    return PushConfig(
        spool_dir=spool_dir,
        endpoint=endpoint,
        push_token=_needed_token(source),
        timeout_ns=source.value(
            "timeout", values.duration(1000 * _MS, _HOUR_NS, "1s to 1h"), 25_000 * _MS
        ),
        log_level=source.value("log-level", values.log_level, "warning"),
        log_format=source.value("log-format", values.one_of("json", "text"), "text"),
        **_tls(source),
        warnings=(_TOKEN_SHOWN,) if flags["push_token"] is not None else (),
    )


def load_spool_dir(flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> str:
    """Return the folder of ``collector push`` and ``collector spool``; errors as `load`."""
    source = Source(flags, environment, forgiving=False)
    spool_dir = source.value("spool-dir", str, _default_spool(environment))
    if not spool_dir:
        raise UsageError("there is no home folder; give --spool-dir")
    return spool_dir


def _tls(source: Source) -> dict[str, str]:
    names = ("tls-ca", "tls-cert", "tls-key", "tls-server-name")
    return {name.replace("-", "_"): source.value(name, str, "") for name in names}


def silence_grpc() -> None:
    """Keep gRPC from writing lines of its own to standard error; call it before the import."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("COLLECTOR_PUSH_TOKEN", "COLLECTOR_PUSH_TOKEN_FILE")
    # a variable without a name cannot be passed to a process
    return {name: value for name, value in environment.items() if name and name not in ours}


def _scope(environment: Mapping[str, str]) -> Scope:
    repository = environment.get("GITHUB_REPOSITORY", "")
    owner = environment.get("GITHUB_REPOSITORY_OWNER", "") or repository.partition("/")[0]
    return Scope(
        owner, repository, environment.get("GITHUB_WORKFLOW", ""), environment.get("GITHUB_JOB", "")
    )


def _destination(source: Source, scope: Scope) -> tuple[Endpoint | None, str, bool, str]:
    """Return endpoint, push token, ``is_kept`` and ``unpushed``.

    Around a command the run is kept for a later push if endpoint or token cannot be used; without
    a scope it can never be pushed.
    """
    if not source.is_given("push-endpoint"):
        return None, source.forgive(lambda: _push_token(source), "", _UNPUSHED), False, ""
    faults: list[UsageError] = []

    def checked(make: Callable[[], T], default: T) -> T:
        try:
            return make()
        except UsageError as error:
            faults.append(error)
            return default

    endpoint = checked(lambda: source.strictly("push-endpoint", parse_endpoint, None), None)
    has_scope = checked(lambda: _has_scope(scope), False)
    token = checked(lambda: _needed_token(source), "")
    unpushed = "; ".join(map(str, faults))
    if faults:
        source.fail(UsageError(unpushed), _KEPT if has_scope else _UNPUSHED)
    return endpoint, token, has_scope, unpushed


def _has_scope(scope: Scope) -> bool:
    needed = (
        ("GITHUB_REPOSITORY", scope.repository),
        ("GITHUB_REPOSITORY_OWNER", scope.organization),
        ("GITHUB_WORKFLOW", scope.workflow),
        ("GITHUB_JOB", scope.job),
    )
    missing = [name for name, value in needed if not value]
    if missing:
        raise UsageError(f"{', '.join(missing)} must be set to push: they are the scope of the run")
    return True


def _needed_token(source: Source) -> str:
    token = _push_token(source)
    if not token:
        raise UsageError(_TOKEN_NEEDED)
    return token


def _push_token(source: Source) -> str:
    token = source.strictly("push-token", values.token, "")
    path = source.strictly("push-token-file", str, "")
    is_flag = source.has_flag("push-token-file")
    if not path or (token and (not is_flag or source.has_flag("push-token"))):
        return token
    name = "--push-token-file" if is_flag else "COLLECTOR_PUSH_TOKEN_FILE"
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read(65536)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{name}={path!r} cannot be read: {reason}") from error
    return parsed(name, content, values.token)


def _default_spool(environment: Mapping[str, str]) -> str:
    state = environment.get("XDG_STATE_HOME", "")
    home = environment.get("HOME", "")
    if state.startswith("/"):
        return f"{state}/runmeter"
    return f"{home}/.local/state/runmeter" if home.startswith("/") else ""
