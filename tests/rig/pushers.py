"""Many clients that push runs of their own at once, each run again until it is acknowledged."""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection
from typing import Self

import grpc
from rig.places import Place
from rig.service import Attempt, Client, Service
from rig.stack import Scope, golden_run

from runmeter.v1 import run_pb2

RETRIED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
BY_DATABASE = "the database of the receiver"  # in a refusal: it came from a receiver that runs
PUSHER_COUNT = 32
PATIENCE_SECONDS = 90.0
_GOLDEN = golden_run()


def a_run(
    scope: Scope, chance: random.Random, container_count: int | None = None, padding: str = ""
) -> run_pb2.Run:
    """Return a completed run with a push_id and content of its own, as it will be answered.

    The names of its containers end in `padding`.
    """
    run = run_pb2.Run()
    run.CopyFrom(_GOLDEN)
    run.scope.CopyFrom(run_pb2.Scope(**scope._asdict()))
    run.push_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    run.run_id = f"run-{chance.getrandbits(64):x}"
    run.state = run_pb2.RUN_STATE_COMPLETED
    run.ClearField("next_push_within_seconds")
    del run.payload.containers[:]
    count = chance.randrange(6) if container_count is None else container_count
    for number in range(count):
        run.payload.containers.add(
            name=f"c{number}{padding}", cpu_seconds=chance.randrange(1000) / 8
        )
    return run


class Pushers:
    """So many clients; ``acknowledged`` holds the runs whose push was answered OK, by push_id.

    What one run may be refused with, on its way: UNAVAILABLE, DEADLINE_EXCEEDED and
    RESOURCE_EXHAUSTED; anything else fails the test, and so does a receipt that says duplicate
    at the first try.
    """

    def __init__(
        self,
        service: Service,
        scope: Scope,
        seed: str,
        count: int = PUSHER_COUNT,
        timeout_seconds: float = 20.0,
        retried: Collection[grpc.StatusCode] = RETRIED,
    ) -> None:
        self.scope = scope
        self.acknowledged: dict[str, run_pb2.Run] = {}
        self.unknown: dict[str, run_pb2.Run] = {}  # given up: stored or not
        self.refusals: Counter[tuple[str, str]] = Counter()
        self._service = service
        self._seed = seed
        self._timeout_seconds = timeout_seconds
        self._retried = retried
        self._ended = threading.Event()
        self._given_up = threading.Event()
        self._changed = threading.Condition()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(count)
        ]

    def __enter__(self) -> Self:
        self._service.token(self.scope)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._given_up.set()
        self.finish()

    def finish(self) -> None:
        """Stop beginning runs; return when each one is acknowledged or given up."""
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS + 30)
            assert not thread.is_alive()
        if self._failures:
            raise self._failures[0]

    def give_up(self) -> None:
        """Finish, and try none of the unacknowledged runs again."""
        self._given_up.set()
        self.finish()

    def acknowledged_so_far(self) -> set[str]:
        """Return the push_ids of the runs that are acknowledged by now."""
        with self._changed:
            return set(self.acknowledged)

    def believe_only(self, push_ids: set[str]) -> None:
        """Take all other runs for given up, whatever was answered."""
        for push_id in self.acknowledged.keys() - push_ids:
            self.unknown[push_id] = self.acknowledged.pop(push_id)

    def wait_for_more(self, count: int, timeout_seconds: float = 60.0) -> None:
        """Wait until so many more runs than now are acknowledged."""
        with self._changed:
            wanted = len(self.acknowledged) + count
            self._wait(lambda: len(self.acknowledged) >= wanted, timeout_seconds)

    def wait_for_refusals(self, text: str, count: int = 1, timeout_seconds: float = 60.0) -> None:
        """Wait until so many pushes were refused with a text that holds this one."""
        with self._changed:
            self._wait(lambda: self.refused(text) >= count, timeout_seconds)

    def _wait(self, done: Callable[[], bool], timeout_seconds: float) -> None:
        self._changed.wait_for(lambda: self._failures or done(), timeout_seconds)
        if self._failures:
            raise self._failures[0]
        assert done(), (len(self.acknowledged), self.refusals)

    def refused(self, text: str) -> int:
        """Return how many pushes were refused with a text that holds this one."""
        return sum(count for (_, details), count in self.refusals.items() if text in details)

    def _work(self, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        client = Client(self._service, number % len(self._service.receivers))
        try:
            while not self._ended.is_set():
                self._push(client, a_run(self.scope, chance), chance)
                self._ended.wait(chance.random() * 0.02)
        except BaseException as error:
            with self._changed:
                self._failures.append(error)
                self._changed.notify_all()
        finally:
            client.close()

    def _push(self, client: Client, run: run_pb2.Run, chance: random.Random) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        tries = 0
        while not self._given_up.is_set():
            tries += 1
            attempt = client.push(run, self.scope, self._timeout_seconds)
            self._note(run, attempt)
            if attempt.receipt is not None:
                assert tries > 1 or not attempt.receipt.duplicate, run.push_id
                return
            assert attempt.code in self._retried, attempt
            assert time.monotonic() < deadline, attempt
            self._given_up.wait(0.01 + chance.random() * 0.05)
        self.unknown[run.push_id] = run

    def _note(self, run: run_pb2.Run, attempt: Attempt) -> None:
        with self._changed:
            if attempt.receipt is not None:
                self.acknowledged[run.push_id] = run
            else:
                self.refusals[attempt.code.name, attempt.details] += 1
            self._changed.notify_all()

    def check_stored(self, place: Place) -> None:
        """Check that every acknowledged run is stored, once, whole and as it was pushed.

        Of those given up each is stored whole or not at all; of others there are none. Over the
        receiver and, past it, in the database.
        """
        pushed = self.acknowledged | self.unknown
        stored = self._service.client.stored(self.scope)
        assert self.acknowledged.keys() <= stored.keys() <= pushed.keys()
        for push_id, found in stored.items():
            assert found.run == pushed[push_id]
        container_count = sum(len(found.run.payload.containers) for found in stored.values())
        assert place.push_ids() == Counter(stored.keys())
        assert place.number("SELECT count(*) FROM run_container") == container_count
        place.check_whole()
