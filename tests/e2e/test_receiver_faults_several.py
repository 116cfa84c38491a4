"""Several receivers on one PostgreSQL: which of them takes a push makes no difference."""

import random
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from rig.lives import a_life, check_told, push_all
from rig.places import PostgresPlace
from rig.postgres import Postgres
from rig.programs import Stage
from rig.service import Service
from rig.stack import Scope

pytestmark = pytest.mark.slow

RECEIVER_COUNT = 3
AT_ONCE = 24


@pytest.fixture
def shared(stage: Stage, postgres: Postgres) -> Iterator[tuple[Service, PostgresPlace]]:
    """Three receivers and their database."""
    place = PostgresPlace(postgres, postgres.create_database())
    service = Service(stage, place.url, count=RECEIVER_COUNT)
    yield service, place
    service.close()


@pytest.mark.parametrize("killed", [False, True], ids=["living", "killed"])
def test_the_same_runs_through_all_of_them(
    shared: tuple[Service, PostgresPlace],
    scope: Scope,
    run_count: int,
    seed: str,
    tally: Counter[str],
    killed: bool,
) -> None:
    """Every record of many runs, in any order through any receiver, also while receivers are
    killed: of each run the greatest by (COMPLETED or not, revision, state) is stored, under one
    id; receipts and conflicts are true; no error of the database reaches a client."""
    service, place = shared
    chance = random.Random(seed)
    lives = [a_life(scope, chance) for _ in range(run_count * (6 if killed else 2))]
    # a few runs at a time, so that records of one meet
    records = []
    for first in range(0, len(lives), 4):
        together = [record for life in lives[first : first + 4] for record in life]
        chance.shuffle(together)
        records += together
    ended = threading.Event()
    killer = threading.Thread(target=_kill, args=(service, ended, seed, tally))
    if killed:
        killer.start()
    try:
        told, cut_off = push_all(service, scope, records, seed, AT_ONCE)
    finally:
        ended.set()
        if killed:
            killer.join()
    stored = service.client.stored(scope)
    check_told(
        told,
        {push_id: found.run for push_id, found in stored.items()},
        {push_id: found.id for push_id, found in stored.items()},
    )
    assert place.push_ids() == Counter(stored.keys())
    containers = sum(len(found.run.payload.containers) for found in stored.values())
    assert place.number("SELECT count(*) FROM run_container") == containers
    place.check_whole()
    assert killed or not cut_off
    tally["records"] += len(records)
    tally["runs"] += len(lives)
    tally["conflicts"] += sum(one.last.receipt is None for one in told)
    tally["tries cut off"] += sum(cut_off.values())


def _kill(service: Service, ended: threading.Event, seed: str, tally: Counter[str]) -> None:
    chance = random.Random(f"{seed} kills")
    while not ended.wait(chance.random() * 0.3):
        slot = chance.randrange(RECEIVER_COUNT)
        service.kill(slot)
        service.start(slot)
        tally["kills"] += 1
