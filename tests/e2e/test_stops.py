"""Servers that are asked to end: in order, with 0, and nothing acknowledged lost."""

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


def test_what_was_acknowledged_is_stored(own_stack: Stack, scope: Scope) -> None:
    """Pushes that come while the receiver is asked to end are stored or refused, never both."""
    stack = own_stack
    token = stack.token(scope)
    acknowledged: list[int] = []
    begun = threading.Event()

    def push() -> None:
        while (answer := stack.post(a_record(scope), token)).status_code == 201:
            acknowledged.append(answer.json()["id"])
            begun.set()
        refused.append(answer.status_code)

    refused: list[int] = []
    pushers = [threading.Thread(target=push) for _ in range(4)]
    for pusher in pushers:
        pusher.start()
    assert begun.wait(20)
    assert stack.receiver.stop() == 0
    for pusher in pushers:
        pusher.join(30)
    assert set(refused) == {503}
    again = stack.stage.receiver(
        read_token=stack.receiver.read_token, database=stack.receiver.database
    )
    gateway = stack.stage.gateway(again.address)
    stack.rest.base_url = gateway.url
    stored = {run["id"] for run in stack.listed(scope, limit=10000)}
    assert set(acknowledged) <= stored
    # a push whose answer was cut off may be stored: one per pusher at most
    assert len(stored) - len(acknowledged) <= len(pushers)
