"""Every bad input ends with one sentence that names it and says what to do, and an exit code.

One example of each kind: all bad values of all settings are tested in the packages.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.programs import Program, Stage, staged
from rig.stack import Scope, Stack

SCOPE = Scope("bad", "bad/repo", "ci.yml", "build")
GITHUB = SCOPE.variables
FORM = "0123456789abcdef" * 4
OPS = "--ops-addr=127.0.0.1:0"
LOCAL = Path(__file__).parents[2] / "scripts" / "local.py"
SECRETS = {"RECEIVER_READ_TOKEN": "a-read-token-of-tests", "RECEIVER_HMAC_KEY": "k" * 16}
# arguments, environment, what the sentence must hold: the name, the value, what is allowed
Bad = tuple[list[str], dict[str, str], list[str]]

COLLECTOR: list[Bad] = [
    (["--interval=soon"], {}, ["--interval", "'soon'", "duration", "100ms"]),
    ([], {"COLLECTOR_INTERVAL": "2h"}, ["COLLECTOR_INTERVAL", "'2h'", "100ms to 1h"]),
    (["--no-such-flag"], {}, ["--no-such-flag", "--help"]),
    (["stray"], {}, ["stray", "--help"]),
    (["--"], {}, ["--", "command", "--help"]),
    ([], {"CGROUP_PROCESS_MAP": "{node:runner}"}, ["CGROUP_PROCESS_MAP", "JSON", '"node"']),
    ([], {"CGROUP_PROCESS_MAP": '{"node": 1}'}, ["CGROUP_PROCESS_MAP", "'node'", '"runner"']),
    ([], {"CGROUP_LIMITS": '{"a":{"cpu":"two"}}'}, ["CGROUP_LIMITS", "'a'", "'two'", "500m"]),
    ([], {"CGROUP_LIMITS": '{"a":{"memory":"-1"}}'}, ["CGROUP_LIMITS", "'a'", "256Mi"]),
    ([], {"CGROUP_LIMITS": '{"a":{"disk":"1"}}'}, ["CGROUP_LIMITS", "'a'", "cpu, memory"]),
    (["--push-endpoint=grpc://r:1"], GITHUB, ["COLLECTOR_PUSH_TOKEN", "--push-token-file"]),
    (["--push-endpoint=grpc://r:1", f"--push-token={FORM}"], {}, ["GITHUB_REPOSITORY", "set"]),
    (["--push-token-file=/no/such/file"], {}, ["--push-token-file", "'/no/such/file'", "No such"]),
    (["--proc-path=/no/such/folder"], {}, ["'/no/such/folder'", "cannot be (measured|read)"]),
    (["--proc-path=/etc"], {}, ["'/etc'", "cannot be (measured|read)"]),
]
RECEIVER: list[Bad] = [
    (["--addr=somewhere"], SECRETS, ["--addr", "'somewhere'", "host:port"]),
    ([], SECRETS | {"RECEIVER_ADDR": "x"}, ["RECEIVER_ADDR", "'x'", "host:port"]),
    ([], {"RECEIVER_HMAC_KEY": "k" * 16}, ["RECEIVER_READ_TOKEN", "--read-token-file"]),
    ([], {"RECEIVER_READ_TOKEN": "t"}, ["RECEIVER_HMAC_KEY", "--hmac-key-file"]),
    (["--read-token-file=/no/such"], {"RECEIVER_HMAC_KEY": "k"}, ["--read-token-file", "No such"]),
]
GATEWAY: list[Bad] = [
    (["--addr=somewhere"], {}, ["--addr", "'somewhere'", "host:port"]),
    ([], {"GATEWAY_LOG_LEVEL": "loud"}, ["GATEWAY_LOG_LEVEL", "'loud'", "debug"]),
]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Stage]:
    """A stage that knows the secrets of this file."""
    with staged(tmp_path) as stage:
        for secret in (FORM, *SECRETS.values()):
            stage.keep(secret)
        yield stage


def shown(value: Any) -> str:
    """Return a short test id."""
    return " ".join(value)[:40] if isinstance(value, list) else str(list(value))[:40]


def check_sentence(program: Program, patterns: list[str]) -> None:
    """Check that it says one sentence, and nothing else, that holds these."""
    (sentence,) = (line for line in program.log if not line.lower().startswith("usage:"))
    assert program.output == []
    assert sentence.startswith(f"{program.name}: ")
    for pattern in patterns:
        assert re.search(pattern if "|" in pattern else re.escape(pattern), sentence), sentence


@pytest.mark.parametrize(("arguments", "environment", "says"), COLLECTOR, ids=shown)
def test_collector(
    beside: Stage, arguments: list[str], environment: dict[str, str], says: list[str]
) -> None:
    """The collector starts nothing and ends with 2."""
    collector = beside.start("collector", *arguments, environment=environment)
    assert collector.wait() == 2
    check_sentence(collector, says)


@pytest.mark.parametrize(("arguments", "environment", "says"), RECEIVER, ids=shown)
def test_receiver(
    beside: Stage, arguments: list[str], environment: dict[str, str], says: list[str]
) -> None:
    """The receiver serves nothing, makes no database, and ends with 2."""
    receiver = beside.start("receiver", *arguments, environment=environment)
    assert receiver.wait() == 2
    check_sentence(receiver, says)
    assert list(beside.folder.iterdir()) == []


@pytest.mark.parametrize(("arguments", "environment", "says"), GATEWAY, ids=shown)
def test_gateway(
    beside: Stage, arguments: list[str], environment: dict[str, str], says: list[str]
) -> None:
    """The gateway serves nothing and ends with 2."""
    gateway = beside.start("gateway", *arguments, environment=environment)
    assert gateway.wait() == 2
    check_sentence(gateway, says)


@pytest.mark.parametrize(
    ("database", "says"),
    [
        ("/proc/metrics.db", "/proc"),  # not even root creates files there
        ("/no/such/folder/metrics.db", "there is no folder /no/such/folder"),
        ("/etc", "it is a folder"),
        ("/etc/passwd", "SQLite file"),
    ],
)
def test_database_that_cannot_be_used(beside: Stage, database: str, says: str) -> None:
    """A database that cannot be made or read ends the receiver with 1 and says why."""
    before = Path("/etc/passwd").read_bytes()
    receiver = beside.start(
        "receiver", "--addr=127.0.0.1:0", OPS, f"--db={database}", environment=SECRETS
    )
    assert receiver.wait() == 1
    sentence = receiver.log[-1]
    assert sentence.startswith("receiver: cannot use the database ")
    assert database in sentence
    assert says in sentence
    assert not re.search("Traceback", receiver.text)
    assert Path("/etc/passwd").read_bytes() == before


def pushing(
    beside: Stage, endpoint: str, token: str, *more: str, signal_it: bool = True
) -> tuple[int, Program]:
    """Run a collector as a sidecar for a moment; return how it ended."""
    collector: Program = beside.start(
        "collector",
        *("--interval=100ms", "--shutdown-timeout=1s", f"--push-endpoint={endpoint}", *more),
        environment={**GITHUB, "COLLECTOR_PUSH_TOKEN": token},
    )
    if signal_it:
        collector.event("run.started")
        collector.send(signal.SIGTERM)
    return collector.wait(), collector


def kept(beside: Stage) -> list[Path]:
    """Return the runs in the spool."""
    return sorted((beside.folder / ".local/state/runmeter").glob("*.json"))


@pytest.mark.parametrize("form", ["grpc://127.0.0.1:{}", "http://127.0.0.1:{}/api/v1/metrics"])
def test_unreachable(beside: Stage, form: str) -> None:
    """No server listens: exit code 3, the run is kept, and the log says where."""
    with socket.socket() as reserved:  # bound and not listening: refused, and not free for others
        reserved.bind(("127.0.0.1", 0))
        code, collector = pushing(beside, form.format(reserved.getsockname()[1]), FORM)
    assert code == 3
    line = collector.event("run.kept")
    (path,) = kept(beside)
    assert line["path"] == str(path)
    assert line["reason"]
    document = json.loads(path.read_text())
    assert document["run"]["organization"] == SCOPE.organization
    assert FORM not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_unreachable_with_exit_zero(beside: Stage) -> None:
    """With --exit-zero the exit code is 0; the run is kept."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{reserved.getsockname()[1]}/api/v1/metrics"
        code, _ = pushing(beside, endpoint, FORM, "--exit-zero")
    assert code == 0
    assert len(kept(beside)) == 1


def test_unreachable_around_a_command(beside: Stage) -> None:
    """A command's exit code is its own, whatever comes of the push."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{reserved.getsockname()[1]}/api/v1/metrics"
        arguments = ("--", sys.executable, "-c", "raise SystemExit(5)")
        code, _ = pushing(beside, endpoint, FORM, *arguments, signal_it=False)
    assert code == 5
    assert len(kept(beside)) == 1


@pytest.mark.parametrize("variable", ["RECEIVER_ADDR", "GATEWAY_ADDR"])
def test_make_up_names_its_own_variables(tmp_path: Path, variable: str) -> None:
    """An address that is taken is chosen by a variable there, which the sentence names."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addresses = {"RECEIVER_ADDR": "127.0.0.1:0", "GATEWAY_ADDR": "127.0.0.1:0"}
        addresses[variable] = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-I", LOCAL, "up"],
            env={**os.environ, **addresses},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"choose another {variable}" in done.stderr
    assert "--addr" not in done.stderr


def test_the_port_of_the_gateway_is_not_the_receivers(stack: Stack, beside: Stage) -> None:
    """Calls to the gateway's port are tried once; what it takes is said, and the run kept."""
    authority = stack.gateway.url.removeprefix("http://")
    code, collector = pushing(beside, f"grpc://{authority}", FORM, "--shutdown-timeout=25s")
    assert code == 3
    assert collector.event("run.kept")["reason"] == (
        f"{authority} answers HTTP/1: for the gateway use {stack.gateway.url}/api/v1/metrics; "
        "for the receiver use its gRPC port"
    )
    assert collector.events("push.retrying") == []
    assert len(kept(beside)) == 1


@pytest.mark.parametrize("way", ["grpc", "http"])
@pytest.mark.parametrize("kind", ["of no key", "of another scope", "of no form"])
def test_rejected(stack: Stack, beside: Stage, way: str, kind: str) -> None:
    """A token the receiver does not take for this scope: 4, said so, the run kept."""
    token = {
        "of no key": FORM,
        "of another scope": beside.keep(stack.token(SCOPE._replace(job="other"))),
        "of no form": beside.keep("not-a-push-token-at-all"),
    }[kind]
    grpc_, http = f"grpc://{stack.receiver.address}", f"{stack.gateway.url}/api/v1/metrics"
    endpoint = grpc_ if way == "grpc" else http
    code, collector = pushing(beside, endpoint, token, "--shutdown-timeout=25s")
    assert code == 4
    line = collector.event("run.rejected")
    assert "token" in line["reason"]
    assert len(kept(beside)) == 1
    assert stack.listed(SCOPE, state="all") == []


@pytest.mark.parametrize(
    "environment",
    [
        {"COLLECTOR_INTERVAL": "soon"},
        {"CGROUP_LIMITS": "{"},
        {"CGROUP_PROCESS_MAP": "[]"},
        {"COLLECTOR_PUSH_ENDPOINT": "ftp://x"},
        {"COLLECTOR_PUSH_ENDPOINT": "grpc://127.0.0.1:1", "COLLECTOR_PUSH_TOKEN": FORM},
        {"COLLECTOR_PUSH_ENDPOINT": "grpc://127.0.0.1:1", **GITHUB},
        {"COLLECTOR_PUSH_TOKEN_FILE": "/no/such/file"},
        {"COLLECTOR_PUSH_TOKEN": "\u00e9"},
        {"COLLECTOR_PROC_PATH": "/no/such/folder"},
        {"GITHUB_RUN_ATTEMPT": "first"},
        {"COLLECTOR_LABELS": "os"},
    ],
    ids=shown,
)
def test_the_job_never_fails_because_of_us(beside: Stage, environment: dict[str, str]) -> None:
    """Around a command a bad value of the environment is one warning, and the command runs.

    A run that cannot be pushed for it is said to be kept, or lost, by one error at the end.
    """
    script = "import sys; print('the job'); sys.exit(6)"
    collector = beside.start(
        "collector", "--", sys.executable, "-c", script, environment=environment
    )
    assert collector.wait() == 6
    assert "the job" in collector.output
    logged = [json.loads(line) for line in collector.log if line.startswith("{")]
    levels = [line.get("level") for line in logged]  # the payload is printed there, too
    assert levels.count("warning") == 1
    ends = [line["event"] for line in logged if line.get("level") == "error"]
    has_scope = "GITHUB_JOB" in environment
    is_wanted = "COLLECTOR_PUSH_ENDPOINT" in environment
    assert ends == ["run.kept" if has_scope else "run.lost"] * is_wanted


def test_malformed_command_line_ends_before_the_command(beside: Stage) -> None:
    """A malformed command line exits 2, and the command does not run."""
    made = beside.folder / "made"
    collector = beside.start("collector", "--no-such", "--", "touch", str(made))
    assert collector.wait() == 2
    assert not made.exists()


def test_second_signal_ends_at_once(beside: Stage) -> None:
    """While a push hangs a second signal ends the collector at once; the run is kept."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        collector: Program = beside.start(
            "collector",
            *("--interval=100ms", "--shutdown-timeout=20s"),
            f"--push-endpoint=http://127.0.0.1:{silent.getsockname()[1]}/api/v1/metrics",
            environment={**GITHUB, "COLLECTOR_PUSH_TOKEN": FORM},
        )
        collector.event("run.started")
        collector.send(signal.SIGTERM)
        silent.settimeout(20)
        connection, _ = silent.accept()  # it pushes, and gets no answer
        with connection:
            arguments = Path(f"/proc/{collector.process.pid}/cmdline").read_bytes()
            assert b"runmeter.collector.push" in arguments
            assert FORM.encode() not in arguments
            assert collector.process.poll() is None
            collector.send(signal.SIGINT)
            assert collector.wait(10) == 3
    assert len(kept(beside)) == 1
    assert os.listdir(f"{beside.folder}/.local/state/runmeter") == [kept(beside)[0].name]
