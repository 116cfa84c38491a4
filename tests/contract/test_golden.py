"""The golden record: one run, over gRPC and over REST, the same on both sides."""

import json
import re
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from rig.programs import Stage
from rig.repository import GOLDEN
from rig.stack import Rpc, Scope, Stack, a_record, bearer, golden_record, golden_run

SCOPE = Scope("my-org", "my-org/my-repo", "ci.yml", "build")
GIVEN_BY_RECEIVER = ("id", "received_at", "updated_at")
STATISTICS = ["peak", "p99", "p95", "p75", "p50", "avg"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def without_received(record: dict[str, Any]) -> dict[str, Any]:
    """Return what of a record was pushed."""
    return {name: value for name, value in record.items() if name not in GIVEN_BY_RECEIVER}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Walk everything in a JSON document that holds nothing else."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Walk all objects in a JSON document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from objects(inner)


@pytest.fixture(scope="module")
def text(stack: Stack) -> str:
    """The text REST answers for the golden run, pushed over gRPC."""
    stack.rpc.push(golden_run(), stack.token(SCOPE))
    answer = stack.rest.get(SCOPE.path, headers=stack.reading)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    return answer.text


def test_pushed_by_grpc_read_by_rest(text: str) -> None:
    """What was pushed over gRPC reads over REST as the golden record, in the same order."""
    (record,) = json.loads(text)
    golden = golden_record()
    assert without_received(record) == without_received(golden)
    assert list(record) == list(golden)
    assert list(record["payload"]) == list(golden["payload"])


def test_pushed_by_rest_read_by_grpc(stack: Stack) -> None:
    """What was pushed over REST reads over gRPC as the golden run."""
    record = without_received(golden_record()) | {
        "push_id": "5e0f3f0a-8a0f-4a58-9a53-0d4a1c1f7c11",
        "job": "build over REST",
    }
    scope = SCOPE._replace(job=record["job"])
    assert stack.post(record, stack.token(scope)).status_code == 201
    (stored,) = stack.rpc.runs(scope, stack.receiver.read_token)
    golden = golden_run()
    golden.push_id, golden.scope.job = record["push_id"], record["job"]
    assert stored.run == golden
    wire = json.loads((GOLDEN / "stored_run.wire.json").read_text())
    written = json.loads(json_format.MessageToJson(stored, preserving_proto_field_name=True))
    assert written["run"]["payload"] == wire["run"]["payload"]


def test_both_ways_mean_the_same(stack: Stack, text: str) -> None:
    """The golden record pushed over REST is the run that gRPC has pushed, content and all."""
    answer = stack.post(without_received(golden_record()), stack.token(SCOPE))
    assert answer.status_code == 200
    assert answer.json() == {"id": json.loads(text)[0]["id"], "duplicate": True}


def test_numbers_are_numbers(text: str) -> None:
    """Every number is a JSON number, whole where the golden record is; none became a string."""
    (record,) = json.loads(text)
    golden = dict(leaves(golden_record()["payload"]))
    for path, value in leaves(record["payload"]):
        assert type(value) is type(golden[path]), path
    assert re.search(r'"mem_used_bytes":\{"peak":5368709120,', text)
    assert re.search(r'"memory_total_bytes":17179869184[,}]', text)
    assert re.search(r'"id":\d+,', text)


@pytest.mark.parametrize("count", [5 * 2**30, 2**53 + 1, 2**63 - 1])
def test_large_whole_numbers_are_exact(stack: Stack, scope: Scope, count: int) -> None:
    """Sizes beyond what a float holds come back digit by digit."""
    record = a_record(scope)
    record["payload"]["mem_used_bytes"] = dict.fromkeys(STATISTICS, count)
    assert stack.post(record, stack.token(scope)).status_code == 201
    answer = stack.rest.get(scope.path, headers=stack.reading)
    assert f'"avg":{count}}}' in answer.text


def test_times_have_milliseconds_and_z(text: str) -> None:
    """Every time is RFC 3339 in UTC with three decimals and Z."""
    (record,) = json.loads(text)
    times = [v for path, v in leaves(record) if path.endswith(("_time", "_at"))]
    assert len(times) == 4
    assert [time for time in times if not TIME.fullmatch(time)] == []


def test_statistics_have_all_six(text: str) -> None:
    """Every statistics object holds the six figures, in one order."""
    (record,) = json.loads(text)
    found = [list(value) for value in objects(record) if "peak" in value]
    assert len(found) == 9
    assert [names for names in found if names != STATISTICS] == []


def test_payload_is_an_object(text: str) -> None:
    """The payload is an object, not a text that holds JSON."""
    assert isinstance(json.loads(text)[0]["payload"], dict)


def test_absent_stays_absent(stack: Stack, scope: Scope) -> None:
    """What a push leaves out is not answered, as 0 or otherwise; lists are empty lists."""
    assert stack.post(a_record(scope), stack.token(scope)).status_code == 201
    (record,) = stack.listed(scope)
    assert record.keys() == {
        *("id", "organization", "repository", "workflow", "job", "run_id", "push_id", "state"),
        *("revision", "received_at", "updated_at", "payload"),
    }
    assert record["payload"] == a_record(scope)["payload"] | {
        "containers": [],
        "top_cpu_processes": [],
        "top_mem_processes": [],
    }


VECTORS = json.loads((GOLDEN / "push_tokens.json").read_text())


@pytest.fixture(scope="module")
def keys() -> list[str]:
    """The HMAC keys of the vectors, the documented one first."""
    found = dict.fromkeys(vector["hmac_key"] for vector in VECTORS)
    assert next(iter(found)) == "my-hmac-key"
    return list(found)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> Iterator[Rpc]:
    """A receiver that knows the keys of all vectors and mints with the documented one."""
    stage = Stage(tmp_path_factory.mktemp("keyed"))
    try:
        receiver = stage.receiver(hmac_key="\n".join(keys), read_token="read-token-of-vectors")
        rpc = Rpc(receiver.address)
        yield rpc
        rpc.channel.close()
    finally:
        stage.close()


def scope_of(vector: dict[str, Any]) -> Scope:
    """Return the scope of a vector."""
    return Scope(*(vector[name] for name in Scope._fields))


@pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS if v["expires_at_unix"] is None and v["hmac_key"] == "my-hmac-key"],
    ids=lambda vector: vector["comment"][:30],
)
def test_minted_tokens_are_the_vectors(keyed: Rpc, vector: dict[str, Any]) -> None:
    """Minting gives the very token of the contract."""
    assert keyed.mint(scope_of(vector), "read-token-of-vectors") == vector["token"]


@pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS if v["expires_at_unix"] in (None, 4294967296)],
    ids=lambda vector: vector["comment"][:30],
)
def test_tokens_of_all_keys_push(keyed: Rpc, vector: dict[str, Any]) -> None:
    """The token of every vector pushes its scope, whichever key made it, and no other scope."""
    run = golden_run()
    run.scope.MergeFrom(type(run.scope)(**scope_of(vector)._asdict()))
    keyed.push(run, vector["token"])
    run.scope.job += " other"
    with pytest.raises(grpc.RpcError) as caught:
        keyed.push(run, vector["token"])
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_expired_token_is_unauthenticated(stack: Stack, scope: Scope) -> None:
    """An expired token has another answer than an unknown one."""
    body = {**scope._asdict(), "expires_in_seconds": 1}
    answer = stack.rest.post("/api/v1/token", json=body, headers=stack.reading)
    token = stack.stage.keep(answer.json()["token"])
    assert re.fullmatch(r"[0-9a-f]{64}\.\d+", token)
    assert TIME.fullmatch(answer.json()["expires_at"])
    record = a_record(scope, push_id="2f1d5b1c-8b0e-4b39-9f1e-0a5b8d0f6f10")
    status = 201
    while status in (200, 201):  # until it expires, after a second
        status = stack.post(record, token).status_code
    assert status == 401
    moved = f"{token[:-1]}{(int(token[-1]) + 1) % 10}"
    answer = stack.rest.post("/api/v1/metrics", json=a_record(scope), headers=bearer(moved))
    assert answer.status_code == 403
