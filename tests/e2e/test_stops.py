"""Servers that are asked to end: in order, with 0, and nothing acknowledged lost."""

import functools
import signal
import threading

import pytest
from rig.programs import Stage
from rig.stack import Scope, Stack, a_record

SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"]
)


@SIGNALS
def test_receiver(stage: Stage, number: signal.Signals) -> None:
    """The receiver ends with 0 and says that it has stopped."""
    receiver = stage.receiver()
    assert receiver.stop(number) == 0
    assert receiver.event("server.stopped")
    assert not list(stage.folder.glob("*.db-wal"))


@SIGNALS
def test_gateway(own_stack: Stack, number: signal.Signals) -> None:
    """The gateway ends with 0 even while a client keeps its connection open."""
    assert own_stack.rest.get("/health").status_code == 200
    assert own_stack.gateway.stop(number) == 0
    assert own_stack.gateway.event("server.stopped")["aborted_count"] == 0


class Pushing:
    """Clients that push until they are refused; ``ids``: what was acknowledged."""

    def __init__(self, stack: Stack, scope: Scope, client_count: int) -> None:
        self.ids: list[int] = []
        self.refusals: list[int] = []
        self._push = functools.partial(stack.post, a_record(scope), stack.token(scope))
        self._begun = threading.Barrier(client_count + 1)
        self._clients = [threading.Thread(target=self._run) for _ in range(client_count)]
        for client in self._clients:
            client.start()
        self._begun.wait(20)

    def _run(self) -> None:
        first = True
        while (answer := self._push()).status_code == 201:
            self.ids.append(answer.json()["id"])
            if first:
                self._begun.wait(20)
            first = False
        self.refusals.append(answer.status_code)

    def end(self) -> None:
        """Wait until every client was refused."""
        for client in self._clients:
            client.join(30)
        assert len(self.refusals) == len(self._clients)


def test_what_was_acknowledged_is_stored(own_stack: Stack, scope: Scope) -> None:
    """While the receiver is asked to end a push is stored or refused: what was answered 201 is
    there afterwards."""
    stack, client_count = own_stack, 4
    pushing = Pushing(stack, scope, client_count)
    assert stack.receiver.stop() == 0
    pushing.end()
    again = stack.stage.receiver(
        read_token=stack.receiver.read_token, database=stack.receiver.database
    )
    stack.rest.base_url = stack.stage.gateway(again.address).url
    stored = [run["id"] for run in stack.listed(scope, limit=10000)]
    assert set(pushing.ids) <= set(stored)
    assert len(set(pushing.ids)) == len(pushing.ids)
    # a push whose answer was cut off may be stored: one per client at most
    assert len(stored) - len(pushing.ids) <= client_count


def test_a_receiver_that_ends_is_unavailable(own_stack: Stack, scope: Scope) -> None:
    """Pushes that meet a receiver that ends are refused as such: 503."""
    pushing = Pushing(own_stack, scope, 16)
    assert own_stack.receiver.stop() == 0
    pushing.end()
    assert set(pushing.refusals) == {503}
