"""More pushes than can wait: those beyond are refused at once, by name, and cost no memory."""

import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from rig.places import Place
from rig.pushers import a_run
from rig.service import Client, Service
from rig.stack import Scope

from runmeter.v1 import run_pb2

pytestmark = pytest.mark.slow

CLIENT_COUNT = 4
WAVE = 800  # of 64 KiB each: more than the 32 MiB that wait and the batch that is written
WARM_WAVES, WAVES = 2, 4
WAITING_MAX = 700
PADDING = "x" * 1000
SURGE = 2500  # gRPC's own bound of what was not yet looked at begins at 1000
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
AT_ONCE_SECONDS = 1.0  # who waits does so for the lock, at least as long as the receiver tries
GROWTH_BYTES_MAX = 96 * 2**20  # as of wave to wave; four waves that are kept would be 200 MiB
PATIENCE_SECONDS = 60.0


def rss_bytes(pid: int) -> int:
    """Return the resident set of a process."""
    (line,) = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    ]
    return int(line.split()[1]) * 1024


def retry_seconds(call: Any) -> float:
    """Return the hint that a refused call carries."""
    (detail,) = rpc_status.from_call(call).details
    hint = error_details_pb2.RetryInfo()
    assert detail.Unpack(hint)
    return float(hint.retry_delay.ToTimedelta().total_seconds())


def send_wave(
    clients: list[Client], scope: Scope, chance: random.Random, going: list[Any]
) -> list[tuple[run_pb2.Run, Any]]:
    """Push many at once; return runs and calls when all that exceed the queue were refused."""
    runs = [a_run(scope, chance, 64, PADDING) for _ in range(WAVE)]
    sent = [
        (run, clients[number % CLIENT_COUNT].push_later(run, scope, PATIENCE_SECONDS))
        for number, run in enumerate(runs)
    ]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sum(not call.done() for call in [*going, *(call for _, call in sent)]) > WAITING_MAX:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return sent


def test_more_than_can_wait(
    service: Service, place: Place, scope: Scope, seed: str, tally: Counter[str]
) -> None:
    """While nothing can be written the queue fills: RESOURCE_EXHAUSTED with a hint, at once, and
    memory stays flat; then all that was acknowledged is stored once, and pushes go through."""
    chance = random.Random(seed)
    receiver = service.receivers[0]
    service.token(scope)
    clients = [Client(service) for _ in range(CLIENT_COUNT)]
    with place.locked():
        sent: list[tuple[run_pb2.Run, Any]] = []
        sizes: list[int] = []
        for _ in range(WARM_WAVES + WAVES):
            sent += send_wave(clients, scope, chance, [call for _, call in sent])
            sizes.append(rss_bytes(receiver.process.pid))
    growth_bytes = sizes[-1] - sizes[WARM_WAVES - 1]
    codes = Counter(call.code() for _, call in sent)
    tally.update({code.name: count for code, count in codes.items()})
    tally["MiB grown"] = growth_bytes // 2**20
    refused = [call for _, call in sent if call.code() is FULL]
    assert len(refused) > WAVES * WAVE // 2, codes
    assert {retry_seconds(call) for call in refused} == {1.0}
    assert {call.details() for call in refused} == {
        "too many pushes are waiting to be stored; try again"
    }
    finished = receiver.events("rpc.finished")
    durations = [line["duration_seconds"] for line in finished if line["code"] == FULL.name]
    assert statistics.median(durations) < AT_ONCE_SECONDS
    assert growth_bytes < GROWTH_BYTES_MAX, sizes
    acknowledged = [run for run, call in sent if call.code() is grpc.StatusCode.OK]
    assert acknowledged
    for run, call in sent[-20:]:
        if call.code() is not grpc.StatusCode.OK:
            assert service.client.push(run, scope).receipt is not None
            acknowledged.append(run)
    counts = place.push_ids()
    assert {run.push_id for run in acknowledged} <= counts.keys()
    assert set(counts.values()) == {1}
    place.check_whole()
    for client in clients:
        client.close()


def test_thousands_at_once(service: Service, scope: Scope, seed: str, tally: Counter[str]) -> None:
    """A surge is answered push by push: none is cancelled by gRPC, unseen and without reason."""
    chance = random.Random(seed)
    service.token(scope)
    clients = [Client(service) for _ in range(CLIENT_COUNT)]
    runs = [a_run(scope, chance) for _ in range(SURGE)]
    sent = [
        clients[number % CLIENT_COUNT].push_later(run, scope, PATIENCE_SECONDS)
        for number, run in enumerate(runs)
    ]
    codes = Counter(call.code() for call in sent)
    tally.update({code.name: count for code, count in codes.items()})
    # UNAVAILABLE: on a busy machine the database may not answer in time
    assert codes.keys() <= {grpc.StatusCode.OK, FULL, grpc.StatusCode.UNAVAILABLE}
    assert codes[grpc.StatusCode.OK] > SURGE // 2
    for client in clients:
        client.close()
