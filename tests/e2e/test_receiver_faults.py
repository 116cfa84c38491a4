"""Receivers that are killed while clients push: what was acknowledged is stored, once, whole."""

import random
import time
from collections import Counter

import pytest
from rig.places import Place
from rig.pushers import BY_DATABASE, Pushers
from rig.service import Service
from rig.stack import Scope

pytestmark = pytest.mark.slow


def test_killed_again_and_again(
    service: Service, place: Place, scope: Scope, run_count: int, seed: str, tally: Counter[str]
) -> None:
    """kill -9 at any moment while 32 clients push: each run, tried until it is acknowledged, is
    there once and as it was pushed."""
    chance = random.Random(seed)
    with Pushers(service, scope, seed) as pushers:
        for _ in range(max(3, run_count // 10)):
            pushers.wait_for_more(1)
            time.sleep(chance.random() * 0.5)
            service.kill()
            service.start()
            tally["kills"] += 1
    tally["runs acknowledged"] += len(pushers.acknowledged)
    tally["pushes cut off"] += sum(pushers.refusals.values())
    assert pushers.refused(BY_DATABASE) == 0
    assert not pushers.unknown
    pushers.check_stored(place)
