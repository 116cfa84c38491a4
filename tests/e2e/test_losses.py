"""Collectors ended at random moments: what was on disk is stored, once, or waits to be."""

import signal
import threading
from collections import Counter
from random import Random
from typing import NamedTuple

import pytest
from rig.losses import Left, Losses, is_begun, left, names, push_id, together
from rig.programs import Program

LATEST_SECONDS = 1.5
PUSHED, KEPT = 0, 3


class Ended(NamedTuple):
    """A collector that has ended."""

    code: int
    program: Program


def wait(seconds: float) -> None:
    """Let the random moment come."""
    threading.Event().wait(seconds)


def send(program: Program, number: signal.Signals) -> None:
    """Send a signal, unless it has ended."""
    if program.process.poll() is None:
        program.send(number)


@pytest.mark.parametrize("count", [1, 2], ids=["once", "twice"])
def test_terminated(
    losses: Losses, run_count: int, seed: str, tally: Counter[str], count: int
) -> None:
    """SIGTERM at any moment, also twice: the run is stored, or waits for ``collector push``."""

    def end_one(chance: Random) -> Ended:
        program = losses.start()
        wait(chance.uniform(0, LATEST_SECONDS))
        send(program, signal.SIGTERM)
        if count == 2:
            wait(chance.choice([0, 0.002, chance.uniform(0, 0.6)]))
            send(program, signal.SIGTERM)
        return Ended(program.wait(), program)

    ended = together(end_one, seed, run_count)
    waiting = left(losses.spool)
    before = losses.stored()
    assert set(waiting.values()) <= {left_run for left_run in waiting.values() if left_run.revision}
    for code, program in ended:
        check_terminated(code, program, waiting, set(before))
        tally[f"ended with {code}"] += 1
    losses.push()
    stored = losses.stored()
    assert set(stored) == set(waiting) | set(before)
    assert set(stored) >= {push_id(program) for _, program in ended if is_begun(program)}
    assert {record["state"] for record in stored.values()} <= {"completed"}
    assert names(losses.spool) == []
    tally["stored by collector push"] += len(stored.keys() - before.keys())
    tally["stored by themselves"] += len(before)


def check_terminated(
    code: int, program: Program, waiting: dict[str, Left], stored: set[str]
) -> None:
    """Check that the exit code says where the run is."""
    run = push_id(program)
    if code == -signal.SIGTERM:  # before Python could even block it: nothing was measured
        assert not run, program.text
        assert not is_begun(program)
        return
    assert code in (PUSHED, KEPT), program.text
    if code == PUSHED:
        assert run in stored, program.text
        assert run not in waiting, program.text
    else:
        assert run in waiting, program.text
        assert "collector push" in program.text or program.events("run.kept"), program.text


@pytest.mark.parametrize("recovery", ["collector push", "next collector"])
def test_killed(
    losses: Losses, run_count: int, seed: str, tally: Counter[str], recovery: str
) -> None:
    """SIGKILL at any moment, also while it ends: the last checkpoint is stored as INTERRUPTED
    with its revision, an ended run as COMPLETED; of one without a checkpoint nothing is left."""

    def end_one(chance: Random) -> Ended:
        program = losses.start("--checkpoint-push=1s" if chance.random() < 0.2 else "--top=1")
        wait(chance.uniform(0, LATEST_SECONDS))
        if chance.random() < 0.4:
            send(program, signal.SIGTERM)
            wait(chance.uniform(0, 0.6))
        send(program, signal.SIGKILL)
        return Ended(program.wait(), program)

    # a collector that ends well would push what the others left: it is the later one that shall
    ended = together(end_one, seed, run_count)
    waiting = left(losses.spool)
    before = losses.stored()
    for code, program in ended:
        run = push_id(program)
        tally["killed" if code == -signal.SIGKILL else f"ended with {code}"] += 1
        if is_begun(program):
            assert run in waiting or run in before, program.text
            revision = max(e["revision"] for e in program.events("checkpoint.written"))
            found = waiting[run].revision if run in waiting else before[run]["revision"]
            assert found >= revision
    if recovery == "collector push":
        losses.push()
    else:
        following = losses.start("--shutdown-timeout=1h")
        following.event("checkpoint.written")
        assert following.stop() == PUSHED
        waiting[push_id(following)] = Left("completed", 0)
    stored = losses.stored()
    assert set(stored) == set(waiting) | set(before)
    for run, (state, revision) in waiting.items():
        assert stored[run]["state"] == ("interrupted" if state == "running" else "completed")
        assert revision in (0, stored[run]["revision"])
    assert names(losses.spool) == []
    states = Counter(record["state"] for record in stored.values())
    tally.update({f"stored as {state}": count for state, count in states.items()})
    tally["without a checkpoint"] += run_count - sum(is_begun(program) for _, program in ended)
