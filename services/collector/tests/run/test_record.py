"""The record of a run: facts of the environment, in a form that can be stored."""

from __future__ import annotations

import os
import uuid

from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.config import settings
from runmeter.collector.run.record import new_push_id, run_record, times
from runmeter.collector.version import VERSION

SCOPE = {
    "GITHUB_REPOSITORY": "my-org/my-repo",
    "GITHUB_WORKFLOW": "ci.yml",
    "GITHUB_JOB": "build",
}


def test_push_ids_are_random_uuids() -> None:
    """An identity is a version 4 UUID in lower case, another one each time."""
    found = {new_push_id() for _ in range(100)}
    assert len(found) == 100
    for text in found:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_a_record_holds_what_is_known() -> None:
    """Everything the environment says, and nothing it does not say."""
    environment = {
        **SCOPE,
        "GITHUB_RUN_ID": "run-123",
        "GITHUB_RUN_ATTEMPT": "2",
        "RUNNER_NAME": "runner-a",
        "COLLECTOR_LABELS": "os=debian",
    }
    scope = {
        "organization": "my-org",
        "repository": "my-org/my-repo",
        "workflow": "ci.yml",
        "job": "build",
    }
    ours = {"state": "completed", "revision": 1, "collector_version": VERSION}
    assert run_record(settings.load([], environment), "id", {"p": 1}, 3) == {
        **scope,
        **ours,
        "run_id": "run-123",
        "run_attempt": 2,
        "runner_name": "runner-a",
        "labels": {"os": "debian"},
        "push_id": "id",
        "exit_code": 3,
        "payload": {"p": 1},
    }
    assert run_record(settings.load([], SCOPE), "id", {}, None) == {
        **scope,
        **ours,
        "run_id": "",
        "push_id": "id",
        "payload": {},
    }


@given(st.binary().map(lambda raw: os.fsdecode(raw.replace(b"\0", b""))))
def test_any_environment_makes_a_record_that_can_be_stored(text: str) -> None:
    """Bytes that are no text and control characters are escaped, long texts cut."""
    loaded = settings.load([], {**SCOPE, "GITHUB_RUN_ID": text, "RUNNER_NAME": text})
    record = run_record(loaded, "id", {}, None)
    for name in ("run_id", "runner_name"):
        stored = record.get(name, "")
        assert len(stored.encode()) <= 255
        assert all(ord(c) > 31 and ord(c) != 127 for c in stored)
    assert bool(text) == ("runner_name" in record)


def test_the_end_is_the_start_plus_the_duration() -> None:
    """The end is not read from the wall clock, which may have been set."""
    assert times(1770388202185, 20.005) == {
        "start_time": "2026-02-06T14:30:02.185Z",
        "end_time": "2026-02-06T14:30:22.190Z",
    }
