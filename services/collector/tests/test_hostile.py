"""A job behaves the same when it is measured: unusual scripts, pipes, terminals, signals."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

WAIT_SECONDS = 60


@pytest.mark.parametrize("measured", [True, False])
def test_a_script_without_interpreter_line_is_run_by_sh(
    collector: Any, tmp_path: Path, measured: bool
) -> None:
    """As execvp(3) does, measured or not, found by PATH or named by its path."""
    script = tmp_path / "steps"
    script.write_text('test "$1" = "a b" && exit 5\n')
    script.chmod(0o755)
    collector.environment["PATH"] += f":{tmp_path}"
    flags = () if measured else (f"--proc-path={tmp_path}",)
    for name in (str(script), "steps"):
        assert collector(*flags, "--", name, "a b").code == 5


def test_a_variable_without_a_name_does_not_stop_the_job(collector: Any) -> None:
    """A variable that cannot be passed on is left out."""
    before = ("env", "-i", "=odd", "LEFT=1")
    assert collector("--", "/bin/sh", "-c", "exit ${LEFT}5", before=before).code == 15


def test_a_full_standard_error_does_not_delay_the_job(collector: Any) -> None:
    """A full pipe loses lines; the job's exit code stays the same."""
    read, write = os.pipe()
    try:
        os.set_blocking(write, False)
        with suppress(BlockingIOError):
            while True:
                os.write(write, b"x" * 4096)
        os.set_blocking(write, True)
        process = collector.start("--", "/bin/sh", "-c", "exit 5", stderr=write)
        assert process.wait(WAIT_SECONDS) == 5
    finally:
        os.close(read)
        os.close(write)


def _on_terminal(collector: Any, *command: str, until: bytes) -> tuple[int, int]:
    """Start a collector on a terminal; return its pid and the terminal once a text was written."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(collector.program[0], [*collector.program, "--", *command])
    seen = b""
    while until not in seen:
        seen += os.read(terminal, 4096)
    return pid, terminal


def _exit_code(pid: int, terminal: int = -1) -> int:
    """Wait for the end of a process, and read what it writes to the terminal."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        assert time.monotonic() < deadline, os.kill(pid, signal.SIGKILL)
        with suppress(OSError):
            os.read(terminal, 4096)
        time.sleep(0.05)
    return os.waitstatus_to_exitcode(ended[1])


def test_a_hangup_of_the_terminal_reaches_the_command(collector: Any) -> None:
    """The kernel sends the hangup only to the leader of the session, which passes it on."""
    pid, terminal = _on_terminal(collector, "/bin/sleep", "60", until=b"run.started")
    os.close(terminal)
    assert _exit_code(pid) == 128 + signal.SIGHUP


def test_the_terminals_signals_reach_a_command_of_its_own_session(collector: Any) -> None:
    """Ctrl-C ends a command to which the terminal does not send it."""
    setsid = (
        "import os; os.setsid(); print('apart', flush=True); "
        "os.execv('/bin/sleep', ['sleep', '60'])"
    )
    command = (sys.executable, "-I", "-c", setsid)
    pid, terminal = _on_terminal(collector, *command, until=b"apart")
    os.write(terminal, b"\x03")
    os.set_blocking(terminal, False)
    assert _exit_code(pid, terminal) == 128 + signal.SIGINT
    os.close(terminal)


@pytest.fixture
def silent() -> Iterator[int]:
    """Return the port of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT])
def test_signals_for_the_command_do_not_disturb_the_push(
    collector: Any, silent: int, number: signal.Signals
) -> None:
    """A signal for the command has no effect once the command has ended."""
    collector.pushing(f"http://127.0.0.1:{silent}")
    process = collector.start("--shutdown-timeout=2s", "--", "/bin/sh", "-c", "exit 5")
    read = ""
    while "run.measured" not in read:
        read += process.stderr.readline()
    for _ in range(20):
        with suppress(ProcessLookupError):
            process.send_signal(number)
        time.sleep(0.05)
    done = collector.end(process, read)
    assert done.code == 5
    assert done.events("run.kept")


def test_an_answer_that_drips_does_not_exceed_the_budget(collector: Any) -> None:
    """The budget is for the whole push, not for each read of it."""
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
        collector.pushing(f"http://127.0.0.1:{server.getsockname()[1]}")
        try:
            done = collector("--shutdown-timeout=3s", "--", "/bin/true")
        finally:
            ended.set()
            socket.create_connection(server.getsockname()).close()  # if nothing has connected
            thread.join()
    assert done.code == 0
    assert "no complete answer in time" in done.errors


def test_the_jobs_proxy_does_not_get_the_token(collector: Any, receiver: Any, silent: int) -> None:
    """The token is sent only to the receiver, even if the job uses a proxy."""
    collector.pushing(receiver.endpoint)
    collector.environment["http_proxy"] = f"http://127.0.0.1:{silent}"
    done = collector("--", "/bin/true")
    assert done.code == 0
    assert done.events("run.pushed")


@pytest.mark.parametrize("wrapped", [True, False])
def test_being_stopped_and_continued_changes_nothing(collector: Any, wrapped: bool) -> None:
    """Ctrl-Z and fg, past several ticks: the run goes on, and ends as usual."""
    command = ("--", "/bin/sh", "-c", "sleep 1.5; exit 5") if wrapped else ()
    process = collector.start(*command)
    assert "run.started" in process.stderr.readline()
    for _ in range(3):
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.25)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.15)
        assert process.poll() is None
    if not wrapped:
        process.send_signal(signal.SIGTERM)
    done = collector.end(process)
    assert done.code == (5 if wrapped else 0)
    found = re.search(r'"missed_samples":(\d+)', done.output + done.errors)
    assert found is not None
    assert int(found[1]) >= 3  # a stop of 250 ms passes two ticks
