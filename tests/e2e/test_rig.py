"""The checks that these tests share can fail."""

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


def test_golden_record_has_the_shape() -> None:
    """The golden record is a record as a collector could have made it."""
    check_record(golden_record())


def test_broken_record_is_seen() -> None:
    """A record whose average is no integer is seen."""
    record = copy.deepcopy(golden_record())
    record["payload"]["mem_used_bytes"]["avg"] = 1.5
    with pytest.raises(AssertionError):
        check_record(record)


def answer(document: dict[str, Any], media: str = "application/problem+json") -> httpx.Response:
    """Return an answer that holds a document."""
    headers = {"content-type": media, "x-request-id": "r"}
    return httpx.Response(document["status"], json=document, headers=headers)


def test_problem_is_read() -> None:
    """A problem as documented gives its bad fields; one with a traceback in it is seen."""
    assert problem(answer(PROBLEM), 400) == {"f": "bad"}
    with pytest.raises(AssertionError):
        problem(answer(PROBLEM | {"detail": 'File "app.py", line 3'}), 400)


def test_a_secret_in_a_log_is_seen(tmp_path: Path) -> None:
    """A secret that a program writes, anywhere in a line, is seen when all have ended."""
    stage = Stage(tmp_path)
    program = stage.start("sh", "-c", "printf 'a%sb' $0", stage.secret())
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
