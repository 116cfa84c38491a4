"""``collector push`` and ``collector spool``, as a person runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from runmeter.collector.spool.folder import write_file
from runmeter.collector.spool.format import encode
from runmeter.collector.spool.locks import lock

COLLECTOR = Path(sys.executable).with_name("collector")
TOKEN = "t0ken-nobody-may-see"
IDS = [f"00000000-0000-4000-8000-{number:012}" for number in range(4)]


class Person:
    """A user with a spool and a shell."""

    def __init__(self, home: Path, run: dict[str, Any]) -> None:
        self.spool = home / ".local" / "state" / "runmeter"
        self.run = run
        self.environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def add(self, number: int, **changes: Any) -> Path:
        """Write run n to the spool."""
        run = {**self.run, "push_id": IDS[number], **changes}
        return Path(write_file(str(self.spool), IDS[number], encode(run)))

    def __call__(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the collector; the token is never shown."""
        done = subprocess.run(
            [COLLECTOR, *words], env={**self.environment, **variables}, timeout=30,
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert TOKEN not in done.stdout + done.stderr
        return done


@pytest.fixture
def person(tmp_path: Path, golden_run: dict[str, Any]) -> Person:
    """Return a user with an empty home folder."""
    return Person(tmp_path, golden_run)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_an_empty_spool_says_so(person: Person, receiver: Any, flags: tuple[str, ...]) -> None:
    """An empty spool is no failure, and no folder is made."""
    listed = person("spool", *flags)
    pushed = person("push", f"--push-endpoint={receiver.endpoint}", *flags,
                    COLLECTOR_PUSH_TOKEN=TOKEN)  # fmt: skip
    assert (listed.returncode, pushed.returncode, pushed.stderr) == (0, 0, "")
    if flags:
        empty = {"pushed": [], "kept": [], "rejected": [], "live": []}
        assert json.loads(listed.stdout) == {"spool_dir": str(person.spool), "runs": []}
        assert json.loads(pushed.stdout) == {"spool_dir": str(person.spool), **empty}
    else:
        assert listed.stdout == f"no run is in {person.spool}\n"
        assert pushed.stdout == f"no run waits in {person.spool}\n"
    assert not person.spool.exists()


def test_waiting_runs_are_delivered_and_listed(person: Person, receiver: Any) -> None:
    """One line for each run, and a line of counts; flags take precedence over variables."""
    person.add(0)
    person.add(1, state="running")
    done = person(
        "push",
        f"--push-endpoint={receiver.endpoint}",
        COLLECTOR_PUSH_TOKEN=TOKEN,
        COLLECTOR_PUSH_ENDPOINT="grpc://127.0.0.1:1",
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, count = done.stdout.splitlines()
    assert first.split()[:2] == ["pushed", IDS[0]]
    assert first.endswith("completed  as id 7")
    assert "interrupted  as id 7" in second
    assert count == "2 pushed"
    assert [receiver.pushes.get_nowait().authorization for _ in range(2)] == [f"Bearer {TOKEN}"] * 2
    assert list(person.spool.iterdir()) == []


def test_the_report_says_what_was_not_delivered(person: Person, receiver: Any) -> None:
    """The report and the list of the spool show the reason; exit code 4."""
    person.add(0)

    def refuse(context: Any) -> Any:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "payload.end_time: is before the start")

    receiver.answer = refuse
    variables = {"COLLECTOR_PUSH_ENDPOINT": receiver.endpoint, "COLLECTOR_PUSH_TOKEN": TOKEN}
    done = person("push", **variables)
    assert done.returncode == 4
    assert "(INVALID_ARGUMENT: payload.end_time: is before the start)" in done.stdout
    listed = person("spool").stdout
    assert f"{IDS[0]} rejected: INVALID_ARGUMENT: payload.end_time" in listed
    receiver.answer = receiver.acknowledge
    assert person("push", **variables).stdout == f"no run waits in {person.spool}\n"
    assert person("push", "--rejected", **variables).returncode == 0
    assert not list(person.spool.rglob("*.json"))


def test_the_list_shows_a_refused_token(person: Person, receiver: Any) -> None:
    """The list says which token the runs need, and why; their age stays the same."""
    files = [person.add(0), person.add(1), person.add(2, job="other")]
    times = [file.stat().st_mtime_ns for file in files]

    def refuse(context: Any) -> Any:
        if receiver.pushes.queue[-1].run.scope.job != "other":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "the push token is not for this")
        return receiver.acknowledge(context)

    receiver.answer = refuse
    variables = {"COLLECTOR_PUSH_ENDPOINT": receiver.endpoint, "COLLECTOR_PUSH_TOKEN": TOKEN}
    assert person("push", **variables).returncode == 4
    scope = " ".join(person.run[name] for name in ("repository", "workflow", "job"))
    reason = "PERMISSION_DENIED: the push token is not for this"
    table = person("spool").stdout
    for push_id in IDS[:2]:
        assert f"{push_id} waiting, needs a token for {scope}: {reason}\n" in table
    runs = json.loads(person("spool", "--json").stdout)["runs"]
    assert [(run["push_id"], run["is"], run["reason"]) for run in runs] == [
        (push_id, "waiting", reason) for push_id in IDS[:2]
    ]
    assert [file.stat().st_mtime_ns for file in files[:2]] == times[:2]
    receiver.answer = receiver.acknowledge
    assert person("push", **variables).returncode == 0
    assert list(person.spool.iterdir()) == []


def test_the_list_shows_every_run(person: Person) -> None:
    """The list shows state, scope and revision of each run; no file is changed."""
    person.add(0)
    person.add(1, state="running", revision=5)
    damaged = person.spool / f"{IDS[2]}.json"
    damaged.write_text("{")
    evil = person.add(3, job="\x1b[31mred", payload="none")
    descriptor = lock(str(person.spool), IDS[1])
    before = sorted(p.name for p in person.spool.rglob("*"))
    table, listed = person("spool"), person("spool", "--json")
    os.close(descriptor)
    assert (table.returncode, table.stderr, listed.returncode) == (0, "", 0)
    rows = {line.split()[0]: line.split() for line in table.stdout.splitlines() if line}
    assert rows[IDS[0]][1:4] == ["waiting", "completed", str(person.run["revision"])]
    assert rows[IDS[1]][1:4] == ["live", "running", "5"]
    assert "\x1b" not in table.stdout
    runs = {run["push_id"]: run for run in json.loads(listed.stdout)["runs"]}
    assert {push_id: run["is"] for push_id, run in runs.items()} == {
        IDS[0]: "waiting", IDS[1]: "live", IDS[2]: "unreadable", IDS[3]: "waiting",
    }  # fmt: skip
    assert runs[IDS[0]]["start_time"] == person.run["payload"]["start_time"]
    assert runs[IDS[2]]["reason"].startswith("is not a run")
    assert runs[IDS[3]]["size_bytes"] == evil.stat().st_size
    assert sorted(p.name for p in person.spool.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (("push",), {}, "--push-endpoint (or COLLECTOR_PUSH_ENDPOINT) must say where to push"),
        (("push", "--push-endpoint=ftp://x"), {}, "'ftp' is not a known scheme"),
        (("push", "--push-endpoint=grpc://x:1"), {}, "must hold the push token"),
        (("push", "--timeout=0s"), {"COLLECTOR_PUSH_ENDPOINT": "grpc://x:1",
                                    "COLLECTOR_PUSH_TOKEN": TOKEN}, "--timeout='0s': must be "),
        (("push", "--nonsense=1"), {}, "unknown flag '--nonsense'; see collector push --help"),
        (("push", "--nonsense=" + TOKEN), {}, "unknown flag '--nonsense'"),
        (("spool", "more"), {}, "unexpected argument; see collector spool --help"),
        (("spool",), {"HOME": ""}, "there is no home folder; give --spool-dir"),
    ],
)  # fmt: skip
def test_a_bad_configuration_is_one_sentence(
    person: Person, words: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    """It names flag or variable and what is allowed; exit code 2, nothing is pushed."""
    file = person.add(0)
    done = person(*words, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("collector: ")
    assert said in line
    assert file.exists()


@pytest.mark.parametrize("command", ["push", "spool"])
def test_help_explains(person: Person, command: str) -> None:
    """Each command has help of its own."""
    done = person(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--spool-dir" in done.stdout
    assert ("exit codes" if command == "push" else "rejected") in done.stdout
