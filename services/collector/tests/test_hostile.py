"""What may happen to a job must not depend on being measured: odd scripts, pipes, signals."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

PROGRAM = (sys.executable, "-I", "-m", "runmeter.collector", "--interval=100ms")
WAIT_SECONDS = 60
SCOPE = {
    "GITHUB_REPOSITORY": "my-org/my-repo",
    "GITHUB_WORKFLOW": "ci.yml",
    "GITHUB_JOB": "build",
    "COLLECTOR_PUSH_TOKEN": "t0ken-nobody-may-see",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return a job's environment with a home folder of its own."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


def run(environment: dict[str, str], *argv: str, **settings: Any) -> subprocess.CompletedProcess:
    """Run a collector to its end."""
    return subprocess.run(
        [*PROGRAM, *argv],
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        **settings,
    )


@pytest.mark.parametrize("measured", [True, False])
def test_a_script_without_interpreter_line_is_run_by_sh(
    environment: dict[str, str], tmp_path: Path, measured: bool
) -> None:
    """As execvp(3) does, measured or not, found by PATH or named by its path."""
    script = tmp_path / "steps"
    script.write_text('test "$1" = "a b" && exit 5\n')
    script.chmod(0o755)
    environment["PATH"] += f":{tmp_path}"
    flags = () if measured else (f"--proc-path={tmp_path}",)
    for name in (str(script), "steps"):
        assert run(environment, *flags, "--", name, "a b").returncode == 5


def test_a_variable_without_a_name_does_not_stop_the_job(environment: dict[str, str]) -> None:
    """What cannot be handed on is left out."""
    wrapped = ["env", "-i", "=odd", "LEFT=1", *PROGRAM, "--", "/bin/sh", "-c", "exit ${LEFT}5"]
    assert subprocess.run(wrapped, capture_output=True, timeout=WAIT_SECONDS).returncode == 15


def test_stderr_that_nobody_reads_does_not_hold_up_the_job(environment: dict[str, str]) -> None:
    """A full pipe loses lines; the job's exit code is still the same."""
    read, write = os.pipe()
    try:
        os.set_blocking(write, False)
        with suppress(BlockingIOError):
            while True:
                os.write(write, b"x" * 4096)
        os.set_blocking(write, True)
        done = subprocess.run(
            [*PROGRAM, "--", "/bin/sh", "-c", "exit 5"],
            env=environment,
            stderr=write,
            timeout=WAIT_SECONDS,
        )
        assert done.returncode == 5
    finally:
        os.close(read)
        os.close(write)


def test_a_hangup_of_the_terminal_reaches_the_command() -> None:
    """The kernel sends the hangup only to the leader of the session, which passes it on."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(PROGRAM[0], [*PROGRAM, "--", "/bin/sleep", "60"])
    seen = b""
    while b"run.started" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    deadline = time.monotonic() + WAIT_SECONDS
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        assert time.monotonic() < deadline, os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    assert os.waitstatus_to_exitcode(ended[1]) == 128 + signal.SIGHUP


def test_the_terminals_signals_reach_a_command_of_its_own_session() -> None:
    """Ctrl-C ends a command to which the terminal does not send it."""
    pid, terminal = pty.fork()
    if pid == 0:
        setsid = (
            "import os; os.setsid(); print('apart', flush=True); "
            "os.execv('/bin/sleep', ['sleep', '60'])"
        )
        os.execv(PROGRAM[0], [*PROGRAM, "--", sys.executable, "-I", "-c", setsid])
    seen = b""
    while b"apart" not in seen:
        seen += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    deadline = time.monotonic() + WAIT_SECONDS
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        assert time.monotonic() < deadline, os.kill(pid, signal.SIGKILL)
        with suppress(OSError):
            fcntl.fcntl(terminal, fcntl.F_SETFL, os.O_NONBLOCK)
            os.read(terminal, 4096)
        time.sleep(0.05)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(ended[1]) == 128 + signal.SIGINT


@pytest.fixture
def silent() -> Iterator[int]:
    """Return the port of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT])
def test_signals_for_the_command_do_not_disturb_the_push(
    environment: dict[str, str], silent: int, number: signal.Signals
) -> None:
    """A signal for the command has no effect once the command has ended."""
    environment.update(SCOPE)
    flags = (f"--push-endpoint=http://127.0.0.1:{silent}", "--shutdown-timeout=2s")
    process = subprocess.Popen(
        [*PROGRAM, *flags, "--", "/bin/sh", "-c", "exit 5"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    read = ""
    while "run.measured" not in read:
        read += process.stderr.readline()
    for _ in range(20):
        with suppress(ProcessLookupError):
            process.send_signal(number)
        time.sleep(0.05)
    read += process.communicate(timeout=WAIT_SECONDS)[1]
    assert process.returncode == 5
    assert "run.kept" in read


def test_an_answer_that_drips_does_not_exceed_the_budget(environment: dict[str, str]) -> None:
    """The budget is for the whole push, not for each read of it."""
    environment.update(SCOPE)
    ended = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not ended.wait(0.2):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        endpoint = f"--push-endpoint=http://127.0.0.1:{server.getsockname()[1]}"
        try:
            done = run(environment, endpoint, "--shutdown-timeout=3s", "--", "/bin/true")
        finally:
            ended.set()
            socket.create_connection(server.getsockname()).close()  # if nothing has connected
            thread.join()
    assert done.returncode == 0
    assert "no complete answer in time" in done.stderr


def test_the_jobs_proxy_does_not_get_the_token(
    environment: dict[str, str], receiver: Any, silent: int
) -> None:
    """The token goes only to the receiver, even if the job uses a proxy."""
    environment.update(SCOPE, http_proxy=f"http://127.0.0.1:{silent}")
    done = run(environment, f"--push-endpoint={receiver.endpoint}", "--", "/bin/true")
    assert done.returncode == 0
    assert '"run.pushed"' in done.stderr


@pytest.mark.parametrize("wrapped", [True, False])
def test_being_stopped_and_continued_changes_nothing(
    environment: dict[str, str], wrapped: bool
) -> None:
    """Ctrl-Z and fg, past several ticks: the run goes on, and ends as it would have."""
    command = ("--", "/bin/sh", "-c", "sleep 1.5; exit 5") if wrapped else ()
    process = subprocess.Popen(
        [*PROGRAM, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "run.started" in process.stderr.readline()
    for _ in range(3):
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.25)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.15)
        assert process.poll() is None
    if not wrapped:
        process.send_signal(signal.SIGTERM)
    printed = "".join(process.communicate(timeout=WAIT_SECONDS))
    assert process.returncode == (5 if wrapped else 0), printed
    found = re.search(r'"missed_samples":(\d+)', printed)
    assert found is not None
    assert int(found[1]) >= 3  # a stop of 250 ms passes two ticks
