"""Which of two pushes of one run counts, over REST and over gRPC."""

import itertools
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rig.problem import problem
from rig.stack import Scope, Stack, a_record, golden_run

from runmeter.v1 import run_pb2

PUSH_ID = "0c8f5b1e-3d52-4c8e-9a57-6f1f0d2b7a44"
NEW, LATER, DUPLICATE, CONFLICT = "new", "later", "duplicate", "conflict"


class Step(NamedTuple):
    """One push and what comes of it; ``stored``: the (state, revision) that then stands."""

    state: str
    revision: int
    content: str
    verdict: str
    stored: tuple[str, int]


# COMPLETED or not, then the revision, then the state
STORY = [
    Step("running", 1, "a", NEW, ("running", 1)),
    Step("running", 1, "a", DUPLICATE, ("running", 1)),
    Step("running", 1, "b", CONFLICT, ("running", 1)),
    Step("running", 3, "b", LATER, ("running", 3)),
    Step("running", 2, "c", DUPLICATE, ("running", 3)),
    Step("interrupted", 2, "c", DUPLICATE, ("running", 3)),
    Step("interrupted", 3, "b", LATER, ("interrupted", 3)),
    Step("interrupted", 3, "b", DUPLICATE, ("interrupted", 3)),
    Step("interrupted", 3, "d", CONFLICT, ("interrupted", 3)),
    Step("running", 3, "b", DUPLICATE, ("interrupted", 3)),
    Step("running", 4, "e", LATER, ("running", 4)),
    Step("completed", 2, "f", LATER, ("completed", 2)),
    Step("running", 9, "g", DUPLICATE, ("completed", 2)),
    Step("interrupted", 9, "g", DUPLICATE, ("completed", 2)),
    Step("completed", 1, "h", DUPLICATE, ("completed", 2)),
    Step("completed", 2, "f", DUPLICATE, ("completed", 2)),
    Step("completed", 2, "h", CONFLICT, ("completed", 2)),
    Step("completed", 3, "h", LATER, ("completed", 3)),
]

Push = Callable[[Stack, Scope, Step], tuple[str, int | None]]


def by_rest(stack: Stack, scope: Scope, step: Step) -> tuple[str, int | None]:
    """Push a step over REST; return the verdict and the id."""
    record = a_record(scope, push_id=PUSH_ID, state=step.state, revision=step.revision)
    answer = stack.post(record | {"run_id": step.content}, stack.token(scope))
    if answer.status_code == 409:
        problem(answer, 409)
        return CONFLICT, None
    assert answer.status_code == (200 if answer.json()["duplicate"] else 201)
    return DUPLICATE if answer.json()["duplicate"] else LATER, answer.json()["id"]


def by_grpc(stack: Stack, scope: Scope, step: Step) -> tuple[str, int | None]:
    """Push a step over gRPC; return the verdict and the id."""
    run = golden_run()
    run.scope.MergeFrom(run_pb2.Scope(**scope._asdict()))
    run.push_id, run.revision, run.run_id = PUSH_ID, step.revision, step.content
    run.state = run_pb2.RunState.Value(f"RUN_STATE_{step.state.upper()}")
    run.ClearField("next_push_within_seconds")
    try:
        answer = stack.rpc.push(run, stack.token(scope))
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise
        return CONFLICT, None
    return DUPLICATE if answer.duplicate else LATER, answer.id


@pytest.mark.parametrize("push", [by_rest, by_grpc], ids=["rest", "grpc"])
def test_story(stack: Stack, scope: Scope, push: Push) -> None:
    """Push by push, the later one counts, under one id; everything else changes nothing."""
    before: dict[str, Any] = {}
    for number, step in enumerate(STORY):
        verdict, given = push(stack, scope, step)
        expected = LATER if step.verdict == NEW else step.verdict
        assert verdict == expected, (number, step)
        (now,) = stack.listed(scope, state="all")
        assert (now["state"], now["revision"]) == step.stored, (number, step)
        assert given in (None, now["id"])
        if step.verdict in (DUPLICATE, CONFLICT):
            assert now == before
        elif before:
            assert now["id"] == before["id"]
            assert now["received_at"] == before["received_at"]
            assert now["updated_at"] >= before["updated_at"]
            assert now["run_id"] == step.content
        before = now


def test_a_push_id_counts_within_its_scope(stack: Stack, scope: Scope) -> None:
    """The same push_id in another scope is another run: a token never touches a foreign one."""
    other = scope._replace(job="other")
    ids = set()
    for number, place in enumerate((scope, other)):
        record = a_record(place, push_id=PUSH_ID, run_id=f"run-{number}")
        answer = stack.post(record, stack.token(place))
        assert answer.status_code == 201
        ids.add(answer.json()["id"])
    assert len(ids) == 2
    assert [run["run_id"] for run in stack.listed(scope)] == ["run-0"]


def test_without_push_id_each_post_is_a_run(stack: Stack, scope: Scope) -> None:
    """The documented body has no push_id: each POST is a completed run of its own."""
    token = stack.token(scope)
    ids = [stack.post(a_record(scope), token).json()["id"] for _ in range(3)]
    found = stack.listed(scope)
    assert [run["id"] for run in found] == sorted(ids, reverse=True)
    assert {run["state"] for run in found} == {"completed"}
    assert len({run["push_id"] for run in found}) == 3


def test_a_silent_run_reads_as_interrupted(stack: Stack, scope: Scope) -> None:
    """A RUNNING run without the push it announced reads as INTERRUPTED, and recovers."""
    token = stack.token(scope)
    record = a_record(scope, push_id=PUSH_ID, state="running", revision=1)
    lively = record | {"next_push_within_seconds": 60}
    assert stack.post(lively, token).status_code == 201
    assert stack.listed(scope) == []
    assert [run["state"] for run in stack.listed(scope, state="running")] == ["running"]
    silent = record | {"revision": 2, "next_push_within_seconds": 0.05}
    assert stack.post(silent, token).status_code == 201
    deadline = time.monotonic() + 10
    while not (found := stack.listed(scope)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [run["state"] for run in found] == ["interrupted"]
    assert stack.listed(scope, state="running") == []
    assert stack.post(lively | {"revision": 3}, token).status_code == 201
    assert [run["state"] for run in stack.listed(scope, state="running")] == ["running"]


# -- any order ----------------------------------------------------------------------------


class Version(NamedTuple):
    """One record of a run, as its collector or a later one sends it."""

    state: str
    revision: int
    content: str


RANK = {"running": 0, "interrupted": 1, "completed": 2}


def order(version: Version) -> tuple[bool, int, int]:
    """Return what decides which of two counts."""
    return version.state == "completed", version.revision, RANK[version.state]


@st.composite
def lives(draw: st.DrawFn) -> list[Version]:
    """Return what is sent of one run: each checkpoint, perhaps recovered, perhaps its end.

    Of one state and revision there is one content; the recovered checkpoint has its own.
    """
    checkpoints = draw(st.integers(0, 3))
    running = [Version("running", n, f"run-{n}") for n in range(1, checkpoints + 1)]
    recovered = draw(st.lists(st.sampled_from(running), max_size=2)) if running else []
    versions = running + [Version("interrupted", n, f"run-{n}") for _, n, _ in recovered]
    if draw(st.booleans()) or not versions:
        # a collector that was taken for dead ends after all
        versions.append(Version("completed", checkpoints + 1, "run-end"))
    return versions


@st.composite
def arrivals(draw: st.DrawFn) -> list[Version]:
    """Return a life's records in any order, some of them twice."""
    versions = draw(lives())
    twice = draw(st.lists(st.sampled_from(versions), max_size=3))
    return draw(st.permutations(versions + twice))


class Arrived(NamedTuple):
    """What the receiver shall hold after some arrivals."""

    greatest: Version | None = None

    def take(self, version: Version) -> "tuple[Arrived, bool]":
        """Return what it holds after one more, and whether that one shall be a duplicate."""
        if self.greatest is not None and order(version) <= order(self.greatest):
            return self, True
        return Arrived(version), False


@settings(settings.get_profile("losses"), suppress_health_check=[*HealthCheck])
@given(order_of_arrival=arrivals(), through=st.sampled_from([by_rest, by_grpc]))
@example(
    order_of_arrival=[
        Version("completed", 3, "run-end"),
        Version("interrupted", 2, "run-2"),
        Version("running", 1, "run-1"),
        Version("running", 2, "run-2"),
    ],
    through=by_grpc,
)
def test_any_order(
    stack: Stack, scope: Scope, order_of_arrival: list[Version], through: Push
) -> None:
    """Late, twice, out of order: the greatest by the rule stands, COMPLETED is never undone, all
    are acknowledged under one id, as duplicates exactly when they change nothing."""
    place = scope._replace(job=str(uuid.uuid4()))
    arrived = Arrived()
    ids = set()
    for version in order_of_arrival:
        step = Step(version.state, version.revision, version.content, "", ("", 0))
        verdict, given_id = through(stack, place, step)
        arrived, is_duplicate = arrived.take(version)
        assert verdict == (DUPLICATE if is_duplicate else LATER)
        ids.add(given_id)
    (stored,) = stack.listed(place, state="all")
    assert Version(stored["state"], stored["revision"], stored["run_id"]) == arrived.greatest
    assert arrived.greatest == max(order_of_arrival, key=order)
    assert ids == {stored["id"]}


def test_every_order_of_a_few(stack: Stack, scope: Scope) -> None:
    """All interleavings of two checkpoints, one recovery and the end give the same run."""
    versions = [
        Version("running", 1, "run-1"),
        Version("running", 2, "run-2"),
        Version("interrupted", 2, "run-2"),
        Version("completed", 3, "run-end"),
    ]
    count = 0
    for arriving in itertools.permutations(versions):
        place = scope._replace(job=f"build-{count}")
        arrived = Arrived()
        for version in arriving:
            step = Step(version.state, version.revision, version.content, "", ("", 0))
            verdict, given_id = by_grpc(stack, place, step)
            arrived, is_duplicate = arrived.take(version)
            assert verdict == (DUPLICATE if is_duplicate else LATER), (arriving, version)
            (stored,) = stack.listed(place, state="all")
            found = Version(stored["state"], stored["revision"], stored["run_id"])
            assert (found, stored["id"]) == (arrived.greatest, given_id), (arriving, version)
        assert arrived.greatest == versions[-1]
        count += 1
    assert count == 24
