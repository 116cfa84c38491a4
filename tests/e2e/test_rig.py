"""The means of these tests can fail: each sees what it is there to see."""

import copy
from pathlib import Path
from typing import Any

import httpx
import pytest
from rig.problem import problem
from rig.programs import ProgramEnded, Stage
from rig.shape import check_record
from rig.stack import golden_record

PROBLEM = {
    "type": "urn:x",
    "title": "t",
    "status": 400,
    "detail": "d",
    "request_id": "r",
    "errors": [{"field": "f", "reason": "bad"}],
}
# path in the golden record → a value it must not have; None: it must not be absent
BROKEN: list[tuple[tuple[str | int, ...], Any]] = [
    (("run_id",), None),
    (("id",), "7"),
    (("push_id",), "0C8F5B1E-3D52-4C8E-9A57-6F1F0D2B7A44"),
    (("state",), "RUN_STATE_COMPLETED"),
    (("received_at",), "2026-02-06T14:30:23Z"),
    (("extra",), 1),
    (("repository",), "my-repo"),
    (("payload",), "{}"),
    (("payload", "start_time"), "2026-02-06T14:30:02.185+00:00"),
    (("payload", "end_time"), "2026-02-06T14:30:22.191Z"),
    (("payload", "duration_seconds"), 20.0051),
    (("payload", "sample_count"), 4),
    (("payload", "sample_count"), 30),
    (("payload", "cpu_total_percent", "peak"), 101),
    (("payload", "mem_used_bytes", "p75"), None),
    (("payload", "mem_used_bytes", "p75"), 5368709121),
    (("payload", "mem_used_bytes", "avg"), 1.5),
    (("payload", "containers", 0, "cpu_seconds"), -1.0),
    (("payload", "containers", 0, "sample_count"), 12),
    (("payload", "containers", 1, "name"), "runner"),
    (("payload", "containers", 1, "cpu_seconds"), 31.0),
    (("payload", "top_mem_processes", 1, "peak_mem_bytes"), 2**40),
    (("payload", "top_mem_processes", 1, "name"), "weird\x01"),
    (("payload", "host", "cgroup_version"), 3),
    (("payload", "coverage"), None),
    (("payload", "percentile_method"), "guess"),
]


def test_golden_record_has_the_shape() -> None:
    """The golden record is a record as a collector could have made it."""
    check_record(golden_record())


@pytest.mark.parametrize(("path", "value"), BROKEN, ids=str)
def test_broken_record_is_seen(path: tuple[str | int, ...], value: Any) -> None:
    """A record that differs in one forbidden way is seen."""
    record = copy.deepcopy(golden_record())
    inner: Any = record
    for step in path[:-1]:
        inner = inner[step]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    with pytest.raises(AssertionError):
        check_record(record)


def answer(document: dict[str, Any], media: str = "application/problem+json") -> httpx.Response:
    """Return an answer that holds a document."""
    headers = {"content-type": media, "x-request-id": "r"}
    return httpx.Response(document["status"], json=document, headers=headers)


def test_problem_is_read() -> None:
    """A problem as documented gives its bad fields."""
    assert problem(answer(PROBLEM), 400) == {"f": "bad"}


@pytest.mark.parametrize(
    "document",
    [
        PROBLEM | {"status": 401},
        PROBLEM | {"detail": 'File "app.py", line 3'},
        PROBLEM | {"detail": "grpc._channel"},
        PROBLEM | {"request_id": "other"},
        PROBLEM | {"more": 1},
        PROBLEM | {"errors": [{"field": "f"}]},
        {name: value for name, value in PROBLEM.items() if name != "title"},
    ],
    ids=["status", "traceback", "internal", "request", "more", "reason", "title"],
)
def test_broken_problem_is_seen(document: dict[str, Any]) -> None:
    """An answer that is no such problem is seen."""
    with pytest.raises(AssertionError):
        problem(answer(document), 400)
    with pytest.raises(AssertionError):
        problem(answer(PROBLEM, "application/json"), 400)


@pytest.mark.parametrize("script", ["echo $0", "echo $0 >&2", "printf 'a%sb' $0"])
def test_a_secret_in_a_log_is_seen(tmp_path: Path, script: str) -> None:
    """A secret that a program writes, anywhere in a line, is seen when all have ended."""
    stage = Stage(tmp_path)
    program = stage.start("sh", "-c", script, stage.secret())
    assert program.wait() == 0
    stage.close()
    assert len(stage.leaks()) == 1


def test_a_program_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    """Waiting for an event of a program that has ended fails at once, with its log."""
    stage = Stage(tmp_path)
    program = stage.start("sh", "-c", "echo 'cannot serve' >&2")
    with pytest.raises(ProgramEnded, match="cannot serve"):
        program.event("server.started")
    stage.close()
