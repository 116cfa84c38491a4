"""Runs that are pushed in any order through any receiver, and a check of their receipts."""

import itertools
import random
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import grpc
from rig.pushers import BY_DATABASE, RETRIED, a_run
from rig.service import Attempt, Client, Service
from rig.stack import Scope

from runmeter.v1 import run_pb2

RUNNING, INTERRUPTED, COMPLETED = (
    run_pb2.RUN_STATE_RUNNING,
    run_pb2.RUN_STATE_INTERRUPTED,
    run_pb2.RUN_STATE_COMPLETED,
)
PATIENCE_SECONDS = 90.0


class Told(NamedTuple):
    """What became of one record, over all tries; the last one was answered."""

    run: run_pb2.Run
    first_began_seconds: float
    tries: int
    last: Attempt

    @property
    def rank(self) -> tuple[bool, int, int]:
        """What decides which of two counts."""
        return rank(self.run)

    @property
    def changed(self) -> bool:
        """The receipt says that this try stored it."""
        return self.last.receipt is not None and not self.last.receipt.duplicate


def rank(run: run_pb2.Run) -> tuple[bool, int, int]:
    """Return what decides which of two records of a run counts."""
    return run.state == COMPLETED, run.revision, run.state


def a_life(scope: Scope, chance: random.Random) -> list[run_pb2.Run]:
    """Return all records of one run, in any order: checkpoints, recovered ones, its end.

    Some are sent twice; some have a rival: the same state and revision with other content.
    """
    push_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    count = chance.randrange(1, 4)
    steps = [(RUNNING, n) for n in range(1, count + 1)]
    steps += [(INTERRUPTED, n) for n in range(1, count + 1) if chance.random() < 0.4]
    steps += [(COMPLETED, count + 1)] if chance.random() < 0.7 else []
    records = []
    for state, revision in steps:
        for _ in range(1 + (chance.random() < 0.2)):
            run = a_run(scope, chance)
            run.push_id, run.state, run.revision = push_id, state, revision
            records += [run] * (1 + (chance.random() < 0.3))
    chance.shuffle(records)
    return records


def push_all(
    service: Service, scope: Scope, records: Iterable[run_pb2.Run], seed: str, at_once: int
) -> tuple[list[Told], Counter[str]]:
    """Push records, so many at once, each through receivers of the moment until answered.

    Returns what each was told in the end, and how often tries were cut off.
    """
    cut_off: Counter[str] = Counter()
    own = threading.local()
    clients: list[Client] = []
    lock = threading.Lock()

    def mine(slot: int) -> Client:
        if not hasattr(own, "clients"):
            own.clients = [Client(service, n) for n in range(len(service.receivers))]
            with lock:
                clients.extend(own.clients)
        found: Client = own.clients[slot]
        return found

    def push(numbered: tuple[int, run_pb2.Run]) -> Told:
        chance = random.Random(f"{seed} {numbered[0]}")
        began = time.monotonic()
        for tries in itertools.count(1):
            attempt = mine(chance.randrange(len(service.receivers))).push(numbered[1], scope)
            if attempt.code in (grpc.StatusCode.OK, grpc.StatusCode.ALREADY_EXISTS):
                return Told(numbered[1], began, tries, attempt)
            assert attempt.code in RETRIED, attempt
            # no deadlock, no lost race, no failed statement reaches a client
            assert BY_DATABASE not in attempt.details, attempt
            assert time.monotonic() - began < PATIENCE_SECONDS, attempt
            with lock:
                cut_off[attempt.code.name] += 1
            time.sleep(0.01 + chance.random() * 0.1)
        raise AssertionError("it tries for ever")

    service.token(scope)
    try:
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(push, enumerate(records))), cut_off
    finally:
        for client in clients:
            client.close()


def check_told(told: Iterable[Told], stored: dict[str, run_pb2.Run], ids: dict[str, int]) -> None:
    """Compare the receipts of all runs with what is stored of them."""
    by_run: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        by_run[one.run.push_id].append(one)
    assert stored.keys() == by_run.keys()
    for push_id, of_run in by_run.items():
        greatest = max(one.rank for one in of_run)
        assert rank(stored[push_id]) == greatest
        receipts = [one.last.receipt for one in of_run if one.last.receipt is not None]
        assert {receipt.id for receipt in receipts} == {ids[push_id]}
        for one in of_run:
            _check_one(one, of_run, greatest, stored[push_id])


def _check_one(
    one: Told, of_run: list[Told], greatest: tuple[bool, int, int], stands: run_pb2.Run
) -> None:
    others = [other for other in of_run if other is not one]
    equals = [other for other in others if other.rank == one.rank]
    if one.last.code is grpc.StatusCode.ALREADY_EXISTS:
        assert any(other.run != one.run for other in equals)
        return
    if one.rank == greatest:
        assert one.run == stands, "acknowledged, and its rival is stored"
    if one.changed:
        # stored by this try: nothing equal or greater was stored before it began, and no equal
        # one can be stored again
        assert not any(other.changed for other in equals)
        before = [o for o in others if o.rank >= one.rank and o.last.receipt is not None]
        assert not [o for o in before if o.last.ended_seconds < one.last.began_seconds]
    else:
        # stored by an earlier try of its own, or by another client that had begun by then
        began = [o for o in others if o.first_began_seconds < one.last.ended_seconds]
        assert one.tries > 1 or [o for o in began if o.rank >= one.rank]
