"""The collector as a real program: exit codes, signals, what it prints and what it pushes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from typing import Any

import pytest

from runmeter.collector.version import VERSION

WAIT_SECONDS = 60


# -- around a command ---------------------------------------------------------------------


def test_a_command_that_cannot_run_is_named(collector: Any) -> None:
    """127 if it is not there, 126 if it cannot be executed, as in a shell."""
    plain = collector.folder / "plain"
    plain.write_text("x")
    for command, code, reason in (
        ("no-such-command", 127, "No such file or directory"),
        ("", 127, "it has no name"),
        (str(plain), 126, "Permission denied"),
        (str(collector.folder), 126, "Permission denied"),
        (f"{plain}/below", 126, "Not a directory"),
    ):
        done = collector("--", command)
        assert (done.code, done.output) == (code, "")
        assert done.errors == f"collector: {command!r} cannot be run: {reason}\n"


def test_standard_output_is_the_commands_alone(collector: Any) -> None:
    """Payload and log go to standard error, the command's output stays as it is."""
    done = collector("--", "sh", "-c", "echo out; echo err >&2")
    assert done.output == "out\n"
    assert "err\n" in done.errors
    assert [c["name"] for c in done.payload["containers"] if c["name"] == "command"]
    assert done.event_names == ["run.started", "run.measured"]


def test_a_command_reads_a_closed_pipe_as_usual(collector: Any) -> None:
    """SIGPIPE ends a command whose reader is gone, as it would without us."""
    done = collector("--", "sh", "-c", "yes | head -n 1; yes >&- 2>&-; kill -PIPE $$; exit 0")
    assert done.code == 128 + signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(collector: Any, number: signal.Signals) -> None:
    """A signal for the collector is one for the command, whose end is waited for."""
    name = number.name.removeprefix("SIG")
    script = f"trap 'exit 7' {name}; echo ready; while :; do sleep 0.02; done"
    process = collector.start("--", "sh", "-c", script)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert collector.end(process).code == 7


def test_orphans_of_the_command_are_measured(collector: Any) -> None:
    """A process of the command counts to it after its parent has ended."""
    code = (
        "import os, time\n"
        "reading, writing = os.pipe()\n"
        "if not os.fork():\n"
        "    if not os.fork():\n"
        "        while time.process_time() < 0.3: pass\n"
        "        os.write(writing, b'x')\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "os.read(reading, 1)\n"
    )
    done = collector("--", sys.executable, "-I", "-c", code)
    assert done.code == 0
    [found] = [c for c in done.payload["containers"] if c["name"] == "command"]
    assert found["cpu_seconds"] >= 0.28


def test_the_command_has_all_that_the_kernel_shows_its_parent(collector: Any) -> None:
    """Of short children nothing is missing for want of a clock tick: getrusage(2) has no more.

    It ends when more than half a tick of both times of its children is not shown in ticks.
    """
    code = (
        "import os, time, resource as r\n"
        "tick, used = 1 / os.sysconf('SC_CLK_TCK'), (0, 0)\n"
        "while min(one % tick for one in used) < tick / 2:\n"
        "    os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)\n"
        "    used = r.getrusage(r.RUSAGE_CHILDREN)[:2]\n"
        "with open('used', 'w') as file: file.write(str(sum(used) + time.process_time()))\n"
        "os._exit(0)"
    )
    done = collector("--", sys.executable, "-I", "-S", "-c", code)
    [found] = [c for c in done.payload["containers"] if c["name"] == "command"]
    assert found["cpu_seconds"] >= float((collector.folder / "used").read_text()) - 0.000_01


def test_ignored_children_do_not_hide_the_end(collector: Any) -> None:
    """If SIGCHLD is inherited as ignored, the end of the command is still noticed."""
    wrapper = (
        "import os, signal, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    before = (sys.executable, "-I", "-c", wrapper)
    assert collector("--", "sh", "-c", "exit 3", before=before).code == 3


# -- configuration ------------------------------------------------------------------------


@pytest.mark.parametrize("proc_path", ["/none", "/dev/null", "."])
def test_a_mount_that_cannot_be_measured(collector: Any, proc_path: str) -> None:
    """Without a command exit 2; a command runs unmeasured with its own exit code."""
    done = collector(f"--proc-path={proc_path}")
    assert (done.code, done.output) == (2, "")
    assert done.errors.startswith(f"collector: {proc_path!r} cannot be measured: ")
    done = collector(f"--proc-path={proc_path}", "--", "sh", "-c", "echo ran; exit 5")
    assert (done.code, done.output) == (5, "ran\n")
    assert [line["event"] for line in done.lines] == ["run.skipped"]
    done = collector(f"--proc-path={proc_path}", "--", "no-such-command")
    assert done.code == 127


@pytest.mark.parametrize(
    ("flag", "shown"), [("--version", f"collector {VERSION}\n"), ("--help", "usage: ")]
)
def test_version_and_help_are_printed(collector: Any, flag: str, shown: str) -> None:
    """Both are printed on standard output, with exit code 0."""
    done = collector(flag)
    assert (done.code, done.errors) == (0, "")
    assert done.output.startswith(shown)


# -- without a command --------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run(collector: Any, number: signal.Signals) -> None:
    """The run ends, standard output holds the payload as JSON and nothing else, exit 0."""
    process = collector.start()
    read = collector.until_started(process)
    process.send_signal(number)
    done = collector.end(process, read)
    assert done.code == 0
    payload = json.loads(done.output)
    assert payload["sample_count"] >= 2
    assert payload["containers"]
    assert payload["host"]["clock_source"] == "process_clock"
    assert payload["coverage"]["interval_seconds"] == 0.1
    assert payload["start_time"] < payload["end_time"]
    assert done.event_names == ["run.started", "run.measured"]


def test_an_ignored_interrupt_still_ends_the_run(collector: Any) -> None:
    """Started in the background of a script, where SIGINT is ignored, it still handles signals."""
    process = collector.start(before=("sh", "-c", 'trap "" INT; exec "$@"', "sh"))
    collector.until_started(process)
    process.send_signal(signal.SIGINT)
    assert collector.end(process).code == 0


def test_every_sample_is_a_line_at_debug(collector: Any) -> None:
    """At debug each snapshot is logged, with containers and top processes, as JSON or text."""
    done = collector("--log-level=debug", "--top=2", "--", "sleep", "0.35")
    samples = done.events("sample.taken")
    assert len(samples) >= 4
    assert {"system", "containers", "top_processes"} <= set(samples[0])
    assert all(len(sample["top_processes"]) <= 2 for sample in samples)
    assert "command" in {c["name"] for c in samples[-2]["containers"]}
    done = collector("--log-level=debug", "--log-format=text", "--", "sleep", "0.25")
    assert " debug   sample.taken sample=" in done.errors
    assert "CONTAINER" in done.errors


def test_the_summary_is_also_a_file(collector: Any) -> None:
    """The payload is written to the file; a file that cannot be written is a warning."""
    done = collector("--summary-file=out.json", "--", "true")
    assert json.loads((collector.folder / "out.json").read_text()) == done.payload
    done = collector("--summary-file=/none/out.json", "--", "sh", "-c", "exit 3")
    assert done.code == 3
    assert "/none/out.json" in done.events("summary_file.failed")[0]["reason"]


def test_a_terminal_gets_a_table_and_a_file_the_payload(collector: Any) -> None:
    """With standard error on a terminal and output in a file: a table there, JSON here."""
    ours, theirs = pty.openpty()
    process = collector.start(stderr=theirs, stdout=subprocess.PIPE)
    os.close(theirs)
    shown = b""
    while b"run.started" not in shown:
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=WAIT_SECONDS)[0]
    while b"run.measured" not in shown:
        shown += os.read(ours, 65536)
    os.close(ours)
    assert json.loads(output)["sample_count"] >= 2
    assert b"CONTAINER" in shown


def test_a_full_log_does_not_end_the_run(collector: Any) -> None:
    """If standard error and output cannot be written, the exit code is still the command's."""
    with open("/dev/full", "w") as full:
        process = collector.start("--", "sh", "-c", "exit 3", stdout=full, stderr=full)
        assert process.wait(WAIT_SECONDS) == 3


# -- pushing ------------------------------------------------------------------------------


UNUSABLE = [
    (("--push-endpoint={0}",), {"COLLECTOR_PUSH_TOKEN": ""}, "COLLECTOR_PUSH_TOKEN"),
    (("--push-endpoint={0}", "--push-token-file=empty"), {}, "COLLECTOR_PUSH_TOKEN"),
    (("--push-endpoint={0}", "--push-token-file=none"), {}, "--push-token-file"),
    (("--push-endpoint=localhost:50051",), {}, "--push-endpoint"),
    (("--push-endpoint=",), {}, "--push-endpoint"),
    ((), {"COLLECTOR_PUSH_ENDPOINT": "localhost:50051"}, "COLLECTOR_PUSH_ENDPOINT"),
]


@pytest.mark.parametrize(("flags", "variables", "name"), UNUSABLE)
def test_a_run_that_cannot_be_pushed_yet_is_kept(
    collector: Any,
    receiver: Any,
    flags: tuple[str, ...],
    variables: dict[str, str],
    name: str,
) -> None:
    """If endpoint or token cannot be used, the next collector delivers the run."""
    collector.pushing(receiver.endpoint)
    (collector.folder / "empty").write_text("\n")
    right = dict(collector.environment)
    collector.environment.update(variables)
    done = collector(*(f.format(receiver.endpoint) for f in flags), "--", "sh", "-c", "exit 5")
    assert done.code == 5
    [warned] = done.events("config.warned")
    assert warned["reason"].endswith("; the run will be kept, not pushed")
    last = done.lines[-1]
    assert (last["event"], last["level"]) == ("run.kept", "error")
    assert last["reason"].startswith(name)
    assert last["hint"].endswith(f"collector push --spool-dir={collector.spool}")
    [file] = collector.spool.glob("*.json")
    assert last["path"] == str(file)
    assert receiver.pushes.empty()
    collector.environment = right
    assert collector("--", "true").code == 0
    pushed = [receiver.pushes.get_nowait().run for _ in range(2)]
    assert [run.exit_code for run in pushed] == [0, 5]
    assert list(collector.spool.iterdir()) == []


@pytest.mark.parametrize(
    ("token", "limit", "instead"),
    [
        ("", "unlimited", "; the run will not be kept"),
        ("t0ken", "unlimited", "; pushing from memory"),
        ("t0ken", "0", "; pushing from memory"),  # memory cannot hold it, either
    ],
)
def test_a_run_that_can_be_neither_pushed_nor_kept_is_an_error(
    collector: Any, token: str, limit: str, instead: str
) -> None:
    """Without token or receiver, and without a spool, the log says that the run is lost."""
    collector.pushing("grpc://127.0.0.1:1", token=token)
    flags = ("--spool-dir=/dev/null/x", "--shutdown-timeout=1s")
    before = ("sh", "-c", f'ulimit -f {limit}; exec "$@"', "sh")
    done = collector(*flags, "--", "sh", "-c", "exit 5", before=before)
    assert done.code == 5
    assert done.events("spool.failed")[0]["reason"].endswith(instead)
    [lost] = done.events("run.lost")
    assert "path" not in lost
    assert "Traceback" not in done.errors


def test_modules_of_the_jobs_folder_are_not_imported(collector: Any, receiver: Any) -> None:
    """A file grpc.py in the job's folder is not imported by the pusher."""
    for name in ("grpc", "structlog", "json", "runmeter"):
        (collector.folder / f"{name}.py").write_text("raise SystemExit(77)")
    collector.environment["PYTHONPATH"] = str(collector.folder)
    collector.pushing(receiver.endpoint)
    assert collector("--", "true").code == 0
    assert receiver.pushes.qsize() == 1


def test_the_console_script_is_installed() -> None:
    """The distribution has the program ``collector``; its module is not in ``runmeter``."""
    from importlib.metadata import distribution

    from _runmeter_collector import main

    [script] = distribution("runmeter-collector").entry_points.select(group="console_scripts")
    assert script.name == "collector"
    assert script.load() is main
    assert distribution("runmeter-collector").version == VERSION
