"""Whose request it is, and what it is called, from HTTP through to the receiver's log."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from rig.programs import Gateway, Stage
from rig.stack import Scope, Stack, a_record, bearer

REPOS = "/api/v1/repos"


def test_a_request_can_be_followed(own_stack: Stack, scope: Scope) -> None:
    """Its id is in the answer, in the gateway's line and in those of the receiver."""
    stack = own_stack
    token = stack.token(scope)
    names = {"X-Request-ID": "follow-me.1"}
    answer = stack.rest.post("/api/v1/metrics", json=a_record(scope), headers=bearer(token) | names)
    assert answer.status_code == 201
    own = stack.rest.get(scope.path, headers=stack.reading)  # of this one the gateway makes the id
    refused = stack.rest.get(REPOS, headers=bearer("x") | {"X-Request-ID": "follow-me.2"})
    assert refused.json()["request_id"] == "follow-me.2"
    expected = {
        "follow-me.1": ("/runmeter.v1.IngestService/PushRun", "OK"),
        own.headers["x-request-id"]: ("/runmeter.v1.RunService/ListRuns", "OK"),
        "follow-me.2": ("/runmeter.v1.RunService/ListRepositories", "UNAUTHENTICATED"),
    }
    assert stack.receiver.stop() == stack.gateway.stop() == 0
    called = {
        line["request_id"]: (line["method"], line["code"])
        for line in stack.receiver.events("rpc.finished")
    }
    assert expected.items() <= called.items()
    served = {line["request_id"] for line in stack.gateway.events("request.finished")}
    assert set(called) == served


@contextmanager
def client_of(gateway: Gateway, address: str) -> Iterator[httpx.Client]:
    """Hold a client that calls from this address of the loopback network."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=gateway.url, transport=transport, trust_env=False) as client:
        yield client


def test_http_clients_are_told_apart(stage: Stage) -> None:
    """Behind a trusted gateway one client's refused bearers limit only that client."""
    receiver = stage.receiver("--trusted-peers=127.0.0.1", "--max-auth-failures=2")
    gateway = stage.gateway(receiver.address)
    with client_of(gateway, "127.0.0.2") as loud, client_of(gateway, "127.0.0.3") as other:
        codes = [loud.get(REPOS, headers=bearer(f"a-{n}")).status_code for n in range(4)]
        assert codes == [401, 401, 429, 429]
        assert other.get(REPOS, headers=bearer("b")).status_code == 401
        claimed = bearer("c") | {"X-Forwarded-For": "127.0.0.9"}
        assert loud.get(REPOS, headers=claimed).status_code == 429
        assert loud.get(REPOS, headers=bearer(receiver.read_token)).status_code == 200
    assert receiver.event("caller.limited")["caller"] == "127.0.0.2"
    assert receiver.stop() == 0
    clients = [line["client"] for line in receiver.events("rpc.finished")]
    assert clients == ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.2"]


def test_an_untrusted_gateway_speaks_for_nobody(stage: Stage) -> None:
    """Without --trusted-peers all of its clients are one caller: the gateway."""
    receiver = stage.receiver("--max-auth-failures=2")
    gateway = stage.gateway(receiver.address)
    with client_of(gateway, "127.0.0.2") as one, client_of(gateway, "127.0.0.3") as other:
        codes = [one.get(REPOS, headers=bearer(f"a-{n}")).status_code for n in range(3)]
        assert codes == [401, 401, 429]
        assert other.get(REPOS, headers=bearer("b")).status_code == 429
    assert receiver.event("caller.limited")["caller"] == "127.0.0.1"
