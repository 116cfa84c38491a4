"""Flags and variables: which counts, what is refused, what only warns around a command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runmeter.collector.config import settings
from runmeter.collector.config.endpoint import Endpoint
from runmeter.collector.errors import UsageError
from runmeter.collector.model import Limit, Scope

SCOPE = {
    "GITHUB_REPOSITORY": "my-org/my-repo",
    "GITHUB_WORKFLOW": "ci.yml",
    "GITHUB_JOB": "build",
}
PUSHING = {**SCOPE, "COLLECTOR_PUSH_TOKEN": "t0ken"}
SECRET = "s3cr3t-value-nobody-may-see"

# flag, field, default, (text, value) for the variable, (text, value) for the flag
SETTINGS: list[tuple[str, str, Any, tuple[str, Any], tuple[str, Any]]] = [
    ("interval", "interval_ns", 2 * 10**9, ("100ms", 10**8), ("1h", 3600 * 10**9)),
    ("proc-path", "proc_path", "/proc", ("/host/proc", "/host/proc"), ("/p", "/p")),
    ("top", "top", 10, ("0", 0), ("1000", 1000)),
    ("push-token", "push_token", "", ("a", "a"), ("b", "b")),
    ("log-level", "log_level", "info", ("warn", "warning"), ("error", "error")),
    ("log-format", "log_format", "json", ("text", "text"), ("json", "json")),
    ("spool-dir", "spool_dir", "", ("/a", "/a"), ("/b", "/b")),
    ("spool-max", "spool_max", (100, 2**26), ("7", (7, 2**26)), ("2,1Gi", (2, 2**30))),
    ("checkpoint-interval", "checkpoint_interval_ns", 30 * 10**9, ("0", 0), ("100ms", 10**8)),
    ("checkpoint-push", "checkpoint_push_ns", 300 * 10**9, ("0", 0), ("1s", 10**9)),
    ("shutdown-timeout", "shutdown_timeout_ns", 25 * 10**9, ("1s", 10**9), ("2s", 2 * 10**9)),
    ("summary-file", "summary_file", "", ("/a", "/a"), ("/b", "/b")),
    ("tls-ca", "tls_ca", "", ("/a", "/a"), ("/b", "/b")),
    ("tls-cert", "tls_cert", "", ("/a", "/a"), ("/b", "/b")),
    ("tls-key", "tls_key", "", ("/a", "/a"), ("/b", "/b")),
    ("tls-server-name", "tls_server_name", "", ("a.b", "a.b"), ("c.d", "c.d")),
]
SWITCHES = [("all-containers", "all_containers"), ("exit-zero", "exit_zero")]


def _variable(flag: str) -> str:
    return f"COLLECTOR_{flag.replace('-', '_').upper()}"


@pytest.mark.parametrize(("flag", "field", "default", "variable", "given"), SETTINGS)
def test_flag_counts_over_variable_over_default(
    flag: str, field: str, default: Any, variable: tuple[str, Any], given: tuple[str, Any]
) -> None:
    """Every setting has a default, a variable named after its flag, and the flag, which wins."""
    environment = {_variable(flag): variable[0]}
    assert getattr(settings.load([], {}), field) == default
    assert getattr(settings.load([], {_variable(flag): ""}), field) == default
    assert getattr(settings.load([], environment), field) == variable[1]
    assert getattr(settings.load([f"--{flag}={given[0]}"], environment), field) == given[1]
    assert getattr(settings.load([f"--{flag}", given[0]], environment), field) == given[1]


@pytest.mark.parametrize(("flag", "field"), SWITCHES)
def test_switches_are_off_unless_turned_on(flag: str, field: str) -> None:
    """A switch is turned on by its flag or its variable."""
    assert getattr(settings.load([], {}), field) is False
    assert getattr(settings.load([], {_variable(flag): "true"}), field) is True
    assert getattr(settings.load([], {_variable(flag): "off"}), field) is False
    assert getattr(settings.load([f"--{flag}"], {_variable(flag): "off"}), field) is True


def test_every_flag_of_the_help_is_covered() -> None:
    """The settings above and the three that need more than one are all there is."""
    found = subprocess.run(
        [sys.executable, "-I", "-m", "runmeter.collector", "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lines = [line.split()[0] for line in found.splitlines() if line.startswith("  --")]
    covered = [s[0] for s in SETTINGS] + [s[0] for s in SWITCHES]
    others = ["version", "push-endpoint", "push-token-file"]
    assert sorted(lines) == sorted(f"--{flag}" for flag in covered + others)


def test_endpoint_comes_from_flag_or_variable() -> None:
    """The endpoint's flag counts over its variable; without both nothing is pushed."""
    environment = {**PUSHING, "COLLECTOR_PUSH_ENDPOINT": "grpc://a:1"}
    assert settings.load([], PUSHING).endpoint is None
    assert settings.load([], environment).endpoint == Endpoint("grpc", "a", 1, "")
    found = settings.load(["--push-endpoint=http://b/"], environment).endpoint
    assert found == Endpoint("http", "b", 80, "/api/v1/metrics")


BAD = [
    ("interval", "99ms", "a duration from 100ms to 1h"),
    ("checkpoint-interval", "99ms", "100ms to 24h, such as 2s or 1m30s, or 0 for never"),
    ("checkpoint-push", "x", "a duration from 1s to 24h, such as 2s or 1m30s, or 0 for never"),
    ("spool-max", "0", "runs (1 to 999999), a size such as 64Mi, or both as in 100,64Mi"),
    ("interval", "2", "a duration from 100ms to 1h, such as 2s or 1m30s"),
    ("top", "1001", "a whole number from 0 to 1000"),
    ("log-level", "loud", "one of debug, info, warning, error"),
    ("log-format", "xml", "one of json, text"),
    ("shutdown-timeout", "0", "a duration from 1s to 1h"),
    ("push-endpoint", "ftp://x", "grpc://host:port"),
]


BAD_VARIABLES = [
    ("COLLECTOR_EXIT_ZERO", "maybe", "true or false"),
    ("COLLECTOR_ALL_CONTAINERS", "2", "true or false"),
    ("COLLECTOR_LABELS", "x", "key=value pairs"),
    ("GITHUB_RUN_ATTEMPT", "0", "a whole number from 1"),
    ("CGROUP_PROCESS_MAP", '["node"]', '{"node":"runner"}'),
    ("CGROUP_LIMITS", "{", '{"runner":{"cpu":"2","memory":"1Gi"}}'),
]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        *((f"--{flag}", value, allowed) for flag, value, allowed in BAD),
        *((_variable(flag), value, allowed) for flag, value, allowed in BAD),
        *BAD_VARIABLES,
    ],
)
def test_a_bad_value_is_one_sentence(name: str, value: str, allowed: str) -> None:
    """The error names flag or variable, the value and what is allowed."""
    is_flag = name.startswith("--")
    argv, environment = ([f"{name}={value}"], {}) if is_flag else ([], {name: value})
    with pytest.raises(UsageError) as caught:
        settings.load(argv, {**PUSHING, **environment})
    text = str(caught.value)
    assert text.startswith(name)
    assert repr(value.partition("://")[0]) in text
    assert allowed in text
    assert "\n" not in text


def test_a_long_bad_value_is_cut() -> None:
    """Eighty characters of a bad value are enough."""
    with pytest.raises(UsageError) as caught:
        settings.load([f"--interval={'x' * 5000}"], {})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["--nonsense"], "unknown flag '--nonsense'"),
        (["--inter=2s"], "unknown flag '--inter'"),
        (["make", "test"], "unexpected argument 'make'"),
        (["--top"], "--top: expected one argument"),
        (["--exit-zero=x"], "--exit-zero"),
        (["--"], "-- must be followed by the command to run"),
        (["--top=3", "--"], "-- must be followed by the command to run"),
    ],
)
def test_a_malformed_command_line_is_refused_even_around_a_command(
    argv: list[str], shown: str
) -> None:
    """The error names what is wrong and where to read more."""
    for line in (argv, [*argv, "--", "true"]) if "--" not in argv else (argv,):
        with pytest.raises(UsageError) as caught:
            settings.load(line, {})
        assert shown in str(caught.value)
        assert "collector --help" in str(caught.value)


def test_the_command_stands_behind_the_first_two_dashes() -> None:
    """What follows the first -- is the command, untouched, flags and further -- included."""
    found = settings.load(["--top=3", "--", "sh", "--top=4", "--", "x"], {})
    assert found.top == 3
    assert found.command == ("sh", "--top=4", "--", "x")
    assert settings.load([], {}).command == ()


def test_around_a_command_bad_variables_only_warn() -> None:
    """A bad variable is one warning that names it, and its default is used."""
    bad = {
        "COLLECTOR_INTERVAL": "soon",
        "COLLECTOR_TOP": "-1",
        "COLLECTOR_LOG_LEVEL": "loud",
        "COLLECTOR_LABELS": "x",
        "GITHUB_RUN_ATTEMPT": "first",
        "CGROUP_PROCESS_MAP": "{",
        "CGROUP_LIMITS": "[]",
    }
    found = settings.load(["--", "true"], bad)
    assert sorted(w.replace("=", ":").partition(":")[0] for w in found.warnings) == sorted(bad)
    assert all(warning.endswith("; continuing without it") for warning in found.warnings)
    assert found == settings.load(["--", "true"], {})._replace(
        warnings=found.warnings, command_environment=bad
    )


def test_around_a_command_a_bad_flag_is_an_error() -> None:
    """A flag with a bad value is a malformed command line."""
    with pytest.raises(UsageError, match="--interval"):
        settings.load(["--interval=soon", "--", "true"], {})


@pytest.mark.parametrize(
    ("argv", "environment"),
    [
        (["--push-endpoint=nonsense"], PUSHING),
        ([], {**PUSHING, "COLLECTOR_PUSH_ENDPOINT": "nonsense"}),
        (["--push-endpoint=grpc://a:1"], SCOPE),
        (["--push-endpoint=grpc://a:1"], {"COLLECTOR_PUSH_TOKEN": "t"}),
    ],
)
def test_around_a_command_what_prevents_pushing_only_warns(
    argv: list[str], environment: dict[str, str]
) -> None:
    """An unusable endpoint, a missing token, a missing scope is one warning, and no push.

    With a scope the run is kept.
    """
    found = settings.load([*argv, "--", "true"], environment)
    assert found.is_kept == ("GITHUB_JOB" in environment)
    ending = "the run will be kept, not pushed" if found.is_kept else "the run will not be pushed"
    assert found.warnings == (f"{found.unpushed}; {ending}",)
    with pytest.raises(UsageError):
        settings.load(argv, environment)


def test_what_a_push_needs_is_named() -> None:
    """All missing variables of the scope are named at once; a missing token as well."""
    with pytest.raises(UsageError) as caught:
        settings.load(["--push-endpoint=grpc://a:1"], {"COLLECTOR_PUSH_TOKEN": "t"})
    assert str(caught.value).startswith(
        "GITHUB_REPOSITORY, GITHUB_REPOSITORY_OWNER, GITHUB_WORKFLOW, GITHUB_JOB must be set"
    )
    with pytest.raises(UsageError, match=r"COLLECTOR_PUSH_TOKEN \(or --push-token-file\)"):
        settings.load(["--push-endpoint=grpc://a:1"], SCOPE)


def test_the_owner_is_derived_from_the_repository() -> None:
    """Without GITHUB_REPOSITORY_OWNER it is the part before the first slash."""
    assert settings.load([], SCOPE).scope == Scope("my-org", "my-org/my-repo", "ci.yml", "build")
    given = {**SCOPE, "GITHUB_REPOSITORY_OWNER": "other", "GITHUB_REPOSITORY": "group/sub/repo"}
    assert settings.load([], given).scope.organization == "other"
    del given["GITHUB_REPOSITORY_OWNER"]
    assert settings.load([], given).scope.organization == "group"


def test_variables_without_a_flag() -> None:
    """The environment says run, attempt, runner, labels, process map and limits."""
    found = settings.load(
        [],
        {
            "GITHUB_RUN_ID": "run-123",
            "GITHUB_RUN_ATTEMPT": "2",
            "RUNNER_NAME": "runner-a",
            "COLLECTOR_LABELS": "os=debian",
            "CGROUP_PROCESS_MAP": '{"node":"runner"}',
            "CGROUP_LIMITS": '{"runner":{"cpu":"2","memory":"1Gi"}}',
        },
    )
    assert (found.run_id, found.run_attempt, found.runner_name) == ("run-123", 2, "runner-a")
    assert found.labels == {"os": "debian"}
    assert found.process_map == {"node": "runner"}
    assert found.limits == {"runner": Limit(2.0, 2**30)}


def test_a_token_flag_warns() -> None:
    """Other processes can read a flag: one warning, which does not hold the token."""
    found = settings.load([f"--push-token={SECRET}"], {})
    assert found.push_token == SECRET
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("--push-token: other processes of the pod can read it")
    assert settings.load([], {"COLLECTOR_PUSH_TOKEN": SECRET}).warnings == ()


def test_a_newline_at_the_end_of_a_token_is_dropped(tmp_path: Path) -> None:
    """One newline is dropped, of a flag, a variable and a file; of two the token is refused."""
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    assert settings.load([f"--push-token={SECRET}\n"], {}).push_token == SECRET
    assert settings.load([], {"COLLECTOR_PUSH_TOKEN": f"{SECRET}\n"}).push_token == SECRET
    with pytest.raises(UsageError, match="printable ASCII"):
        settings.load([], {"COLLECTOR_PUSH_TOKEN": f"{SECRET}\n\n"})
    assert settings.load([f"--push-token-file={file}"], {}).push_token == SECRET
    assert settings.load([], {"COLLECTOR_PUSH_TOKEN_FILE": str(file)}).push_token == SECRET


def test_a_token_flag_of_either_kind_counts_over_both_variables(tmp_path: Path) -> None:
    """The order is: token flag, file flag, token variable, file variable."""
    for name in ("flag", "variable"):
        (tmp_path / name).write_text(f"file-by-{name}")
    by_flag = f"--push-token-file={tmp_path / 'flag'}"
    by_variable = {"COLLECTOR_PUSH_TOKEN_FILE": str(tmp_path / "variable")}
    both = {**by_variable, "COLLECTOR_PUSH_TOKEN": "variable"}
    assert settings.load(["--push-token=flag", by_flag], both).push_token == "flag"
    assert settings.load([by_flag], both).push_token == "file-by-flag"
    assert settings.load([], both).push_token == "variable"
    assert settings.load([], by_variable).push_token == "file-by-variable"


def test_a_token_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A missing file, bytes that are no text, a token out of shape: named, never shown."""
    binary, spaced = tmp_path / "binary", tmp_path / "spaced"
    binary.write_bytes(b"\xff\xfe")
    spaced.write_text(f"{SECRET} {SECRET}\n\n")
    for file, reason in (
        (tmp_path / "none", "No such file"),
        (binary, "it is not text"),
        (spaced, "printable ASCII"),
        (tmp_path, "Is a directory"),
    ):
        for argv, environment, name in (
            ([f"--push-token-file={file}"], {}, "--push-token-file"),
            ([], {"COLLECTOR_PUSH_TOKEN_FILE": str(file)}, "COLLECTOR_PUSH_TOKEN_FILE"),
        ):
            with pytest.raises(UsageError) as caught:
                settings.load(argv, environment)
            assert str(caught.value).startswith(name)
            assert reason in str(caught.value)
            assert SECRET not in str(caught.value)
            around = settings.load([*argv, "--", "true"], environment)
            assert (len(around.warnings), around.push_token) == (1, "")
            assert SECRET not in around.warnings[0]


@pytest.mark.parametrize(
    ("argv", "environment"),
    [
        ([f"--push-token={SECRET} x"], {}),
        ([f"--push-tokn={SECRET}"], {}),
        (["--push-tokn", SECRET], {}),
        ([f"--push-token={SECRET}", "--interval=x"], {}),
        ([f"--push-endpoint=http://u:{SECRET}@h/"], {}),
        ([], {"COLLECTOR_PUSH_TOKEN": f"{SECRET}\n\n"}),
        (["--push-endpoint=x"], {"COLLECTOR_PUSH_TOKEN": SECRET}),
    ],
)
def test_no_error_shows_a_token(argv: list[str], environment: dict[str, str]) -> None:
    """Whatever is wrong, also a misspelt flag, the token stays out of the error."""
    with pytest.raises(UsageError) as caught:
        settings.load(argv, environment)
    assert SECRET not in str(caught.value)


def test_the_command_gets_the_environment_without_our_secrets() -> None:
    """Both token variables are taken out, all others stay as they are."""
    environment = {
        "COLLECTOR_PUSH_TOKEN": "t",
        "COLLECTOR_PUSH_TOKEN_FILE": "/t",
        "COLLECTOR_TOP": "3",
        "PATH": "/bin",
    }
    found = settings.load(["--", "true"], environment)
    assert found.command_environment == {"COLLECTOR_TOP": "3", "PATH": "/bin"}


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/runmeter"),
        ({"HOME": "/h"}, "/h/.local/state/runmeter"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/runmeter"),
        ({}, ""),
    ],
)
def test_the_spool_lies_in_the_state_folder(environment: dict[str, str], folder: str) -> None:
    """The default is the XDG state folder, an absolute path or none."""
    assert settings.load([], environment).spool_dir == folder
