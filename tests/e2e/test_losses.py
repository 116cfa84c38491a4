"""Collectors ended at random moments: what was on disk is stored, once, or waits to be."""

import os
import signal
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from rig.losses import Left, Losses, is_begun, left, names, push_id, settle, together
from rig.programs import Program

pytestmark = pytest.mark.slow

LATEST_SECONDS = 1.5
POLL_COUNT = 50_000
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


def terminate(program: Program, chance: Random, count: int) -> Ended:
    """Send SIGTERM at a random moment, the second one perhaps at once, perhaps later."""
    if chance.random() < 0.7:  # on a slow machine the others all end before the run
        program.event("run.started")
    wait(chance.uniform(0, LATEST_SECONDS))
    send(program, signal.SIGTERM)
    if count == 2:
        wait(chance.choice([0, 0.002, chance.uniform(0, 0.6)]))
        send(program, signal.SIGTERM)
    return Ended(program.wait(), program)


def test_terminated(losses: Losses, run_count: int, seed: str, tally: Counter[str]) -> None:
    """SIGTERM at any moment: every run that had begun is stored, once, and nothing is left."""

    def end_one(chance: Random) -> Ended:
        return terminate(losses.start(), chance, 1)

    ended = together(end_one, seed, run_count)
    stored = losses.stored()
    for code, program in ended:
        tally[f"ended with {code}"] += 1
        if not is_before_all(code, program):
            assert code == PUSHED, program.text
            assert program.event("run.pushed")["push_id"] == push_id(program)
    assert set(stored) == {push_id(program) for code, program in ended if code == PUSHED}
    assert {record["state"] for record in stored.values()} == {"completed"}
    assert names(losses.spool) == []


def test_terminated_twice(losses: Losses, run_count: int, seed: str, tally: Counter[str]) -> None:
    """SIGTERM twice: every run that had begun is stored, or waits for ``collector push``."""

    def end_one(chance: Random) -> Counter[str]:
        spool = losses.stage.folder / f"spool-{chance.getrandbits(64):x}"
        code, program = terminate(losses.start(spool=spool), chance, 2)
        counts = Counter({f"ended with {code}": 1})
        if not is_before_all(code, program):
            assert code in (PUSHED, KEPT), program.text
            # ended by the second signal while the answer came: stored already, perhaps
            assert left(spool).keys() == ({push_id(program)} if code == KEPT else set())
        if names(spool):
            assert losses.push(spool)["pushed"], program.text
            counts["stored by collector push"] += 1
        assert names(spool) == []
        return counts + Counter(push_id(program).split())

    ended: Counter[str] = sum(together(end_one, seed, run_count), Counter())
    stored = losses.stored()
    assert {record["state"] for record in stored.values()} == {"completed"}
    assert stored.keys() == {name for name in ended if is_uuid(name)}
    tally.update({name: count for name, count in ended.items() if name not in stored})


def is_uuid(text: str) -> bool:
    """Tell a push_id from what is counted beside it."""
    return text.count("-") == 4


def is_before_all(code: int, program: Program) -> bool:
    """Tell whether SIGTERM came before Python could block it: nothing was measured."""
    if code == -signal.SIGTERM:
        assert not push_id(program), program.text
        assert not is_begun(program), program.text
    return code == -signal.SIGTERM


def await_writing(spool: Path, run: str) -> None:
    """Wait until something about the run's file changes: it is being written just now."""
    before = state_of(spool, run)
    for _ in range(POLL_COUNT):
        if state_of(spool, run) != before:
            return
        wait(0.0002)
    raise AssertionError("no checkpoint comes")


def state_of(spool: Path, run: str) -> list[int]:
    """Return what distinguishes one state of a run's files from the next."""
    found = []
    for name in (f"{run}.json", f"{run}.json.tmp"):
        try:
            found.append(os.stat(spool / name).st_ino)
        except FileNotFoundError:
            found.append(0)
    return found


def kill_all(program: Program) -> None:
    """Send SIGKILL to a collector and all it has started, as the end of a container does."""
    try:
        os.killpg(program.process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has ended, or leads no group yet
        send(program, signal.SIGKILL)


@pytest.mark.parametrize("recovery", ["collector push", "next collector"])
def test_killed(
    losses: Losses, run_count: int, seed: str, tally: Counter[str], recovery: str
) -> None:
    """SIGKILL at any moment, also while it ends: the last checkpoint is stored as INTERRUPTED
    with its revision, an ended run as COMPLETED; of one without a checkpoint nothing is left."""

    def end_one(chance: Random) -> Ended:
        program = losses.start(*["--checkpoint-push=1s"] * chance.randrange(2), wrapper=["setsid"])
        if chance.random() < 0.3 and program.event("run.started"):
            wait(chance.uniform(0, 0.3))
            await_writing(losses.spool, push_id(program))
        else:
            wait(chance.uniform(0, LATEST_SECONDS))
            if chance.random() < 0.4:
                send(program, signal.SIGTERM)
                wait(chance.uniform(0, 0.6))
        if chance.random() < 0.3:
            send(program, signal.SIGKILL)  # what it has started goes on
        else:
            kill_all(program)
        return Ended(program.wait(), program)

    # a collector that ends well would push what the others left: it is the later one that shall
    ended = together(end_one, seed, run_count)
    settle(losses.spool)
    waiting = left(losses.spool)
    before = losses.stored()
    for code, program in ended:
        run = push_id(program)
        assert code in (-signal.SIGKILL, -signal.SIGTERM, PUSHED, KEPT), program.text
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
