"""Callers that leave in the middle, by the thousand: nothing is lost, nothing stands still."""

import random
from collections import Counter, deque
from typing import Any

import grpc
import pytest
from rig.places import Place
from rig.pushers import a_run
from rig.service import Client, Service
from rig.stack import RPC_SECONDS, Scope

from runmeter.v1 import run_pb2

pytestmark = pytest.mark.slow

CHANNEL_COUNT = 6
IN_FLIGHT_MAX = 200
LEFT = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
SOON_SECONDS = 10.0


def test_deadlines_and_cancellations_by_the_thousand(
    service: Service, place: Place, scope: Scope, run_count: int, seed: str, tally: Counter[str]
) -> None:
    """Thousands of pushes with deadlines of 1 to 30 ms and random cancellations, over several
    connections; then a push is stored at once, what was acknowledged is in the database, seen
    past the receiver, and so is what is acknowledged later; no run is there twice."""
    chance = random.Random(seed)
    service.token(scope)
    clients = [Client(service) for _ in range(CHANNEL_COUNT)]
    going: deque[tuple[run_pb2.Run, Any, bool]] = deque()
    pushed: dict[str, run_pb2.Run] = {}
    acknowledged: list[str] = []

    def settle(left: int) -> None:
        while len(going) > left:
            run, call, patient = going.popleft()
            code = call.code()
            assert code is grpc.StatusCode.OK or code in LEFT, (code, call.details())
            assert not patient or code is not grpc.StatusCode.DEADLINE_EXCEEDED
            tally[code.name] += 1
            if code is grpc.StatusCode.OK:
                assert not call.result().duplicate
                acknowledged.append(run.push_id)

    for _ in range(50 * run_count):
        run = a_run(scope, chance)
        pushed[run.push_id] = run
        patient = chance.random() < 0.02  # or a busy machine acknowledges none
        seconds = RPC_SECONDS if patient else chance.uniform(0.001, 0.03)
        call = chance.choice(clients).push_later(run, scope, seconds)
        going.append((run, call, patient))
        if chance.random() < 0.1:
            chance.choice(going)[1].cancel()
        settle(chance.randrange(IN_FLIGHT_MAX))
    settle(0)
    for client in clients:
        client.close()
    assert all(tally[code.name] for code in (grpc.StatusCode.OK, *LEFT))

    for _ in range(20):
        run = a_run(scope, chance)
        attempt = service.client.push(run, scope, SOON_SECONDS)
        assert attempt.receipt is not None, attempt
        pushed[run.push_id] = run
        acknowledged.append(run.push_id)
        # past the receiver: a wedged connection sees its own writes
        assert place.number(f"SELECT count(*) FROM run WHERE push_id = '{run.push_id}'") == 1
    counts = place.push_ids()
    assert set(acknowledged) <= counts.keys() <= pushed.keys()
    assert set(counts.values()) == {1}
    stored = service.client.stored(scope)
    assert stored.keys() == counts.keys()
    assert all(found.run == pushed[push_id] for push_id, found in stored.items())
    containers = sum(len(found.run.payload.containers) for found in stored.values())
    assert place.number("SELECT count(*) FROM run_container") == containers
    place.check_whole()
    tally["stored"] += len(stored)
    for receiver in service.receivers:
        assert not receiver.events("database.failed")
        assert not receiver.events("batch.failed")


def test_queries_that_are_left_in_the_middle(
    service: Service, place: Place, scope: Scope, run_count: int, seed: str
) -> None:
    """Clients that leave while pages are sent delay neither queries nor pushes."""
    chance = random.Random(seed)
    runs = [a_run(scope, chance, container_count=40) for _ in range(150)]
    assert all(service.client.push(run, scope).receipt for run in runs)
    clients = [Client(service) for _ in range(CHANNEL_COUNT)]
    codes = set()
    for number in range(5 * run_count):
        listing = clients[number % CHANNEL_COUNT].listed(scope, chance.uniform(0.001, 0.05))
        try:
            for _ in range(chance.randrange(100)):
                next(listing, None)
        except grpc.RpcError as error:
            codes.add(error.code())
        listing.close()
    for client in clients:
        client.close()
    assert codes
    assert codes <= set(LEFT)
    stored = service.client.stored(scope)
    assert stored.keys() == {run.push_id for run in runs}
    attempt = service.client.push(a_run(scope, chance), scope, SOON_SECONDS)
    assert attempt.receipt is not None
    assert place.number("SELECT count(*) FROM run") == len(runs) + 1
    assert not service.receivers[0].events("database.failed")
