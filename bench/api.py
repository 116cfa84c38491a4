"""REST beside the gRPC call it is made of, and beside the same bytes served as they lie there."""

import json
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec

from bench.databases import folder
from bench.receivers import KEY, READ_TOKEN, ROOT, Load, Receiver, receiver, serving
from bench.report import Claim, Result, at_least, show
from bench.runs import SCOPE
from runmeter.gateway.schemas.api import StoredRun, encode
from runmeter.receiver.model import Scope
from runmeter.receiver.tokens import Keyring

CONCURRENCIES = (1, 32)
LIMITS = (1, 50, 1000)
ROUNDS = 3
SECONDS = 3.0
POSTED = {**SCOPE, "job": "posted"}
_FLAGS = ("--addr=127.0.0.1:0", "--ops-addr=none", "--rate-limit=none")
_PATH = "/api/v1/metrics/repo/{organization}/{repository}/{workflow}/{job}"
_ASSIGNED = ("id", "push_id", "received_at", "updated_at")


class Side(NamedTuple):
    """One way to ask: the arguments of `bench.requests`."""

    arguments: tuple[str, ...]

    def load(self, concurrency: int, seconds: float) -> Load:
        """Ask with a client process."""
        bounds = (f"--concurrency={concurrency}", f"--seconds={seconds}")
        done = subprocess.run(
            [sys.executable, "-m", "bench.requests", *self.arguments, *bounds],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return Load(**json.loads(done.stdout))


class Pushes(NamedTuple):
    """Pushing by gRPC, as a side."""

    server: Receiver

    def load(self, concurrency: int, seconds: float) -> Load:
        """Push with a client process."""
        return self.server.load(concurrency, 10**9, seconds)


def run(quick: bool = False) -> Result:
    """Measure all sides of each question in turns."""
    with ExitStack() as held:
        place = held.enter_context(folder())
        server = held.enter_context(receiver(place, str(place / "runs.db")))
        server.load(32, max(LIMITS))
        target = f"--receiver=grpc://{server.address}"
        _, gateway = held.enter_context(serving(place, "runmeter.gateway", *_FLAGS, target))
        questions: dict[str, dict[str, Side | Pushes]] = {}
        answers = {limit: _answer(gateway, limit) for limit in LIMITS}
        for limit, body in answers.items():
            held_at = place / f"{limit}.json"
            held_at.write_bytes(body)
            _, static = held.enter_context(serving(place, "bench.static", str(held_at)))
            get = (f"--token={READ_TOKEN}", f"--path={_PATH.format(**SCOPE)}?limit={limit}")
            questions[f"GET of {limit}"] = {
                "gateway": Side(("get", gateway, *get)),
                "gRPC": Side(("list", server.address, get[0], f"--limit={limit}")),
                "static": Side(("get", static, *get)),
            }
        questions["POST"] = {"gateway": _post(gateway, answers[1], place), "gRPC": Pushes(server)}
        found = _measured(questions, 1 if quick else ROUNDS, 1.0 if quick else SECONDS)
        encoding_ms = _encoding_ms(answers[max(LIMITS)])
    rows = [
        (f"{question}, {side}", *_shown(found, question, side))
        for question, sides in questions.items()
        for side in sides
    ]
    rows.append((f"msgspec alone, {max(LIMITS)} runs", f"{1000 / encoding_ms:.0f}", "-", "-", "-"))
    return Result(
        "REST",
        "One gateway process in front of one receiver (SQLite), runs as above. *gRPC* is the call "
        "that the gateway makes, made by the client itself, its messages parsed; *static* is Sanic "
        "with the same bytes in memory; *msgspec alone* encodes the runs of that answer, decoded "
        f"beforehand. Median of {ROUNDS} turns of {SECONDS:.0f} s, all sides in turns, each "
        "client a process of its own; all share the machine's cores. POSTs are stored as pushes "
        "are.",
        ("requests/s and p99, ms", *(f"{what} at {at}" for at in CONCURRENCIES for what in _WHAT)),
        tuple(rows),
        tuple(_claims(found, encoding_ms)),
    )


_WHAT = ("rate", "p99")
_Found = dict[tuple[str, str, int], list[Load]]


def _shown(found: _Found, question: str, side: str) -> list[str]:
    texts = []
    for at in CONCURRENCIES:
        loads = found[question, side, at]
        texts.append(f"{median(load.rate for load in loads):.0f}")
        texts.append(f"{median(load.p99_ms for load in loads):.1f}")
    return texts


def _claims(found: _Found, encoding_ms: float) -> list[Claim]:
    def rate(question: str, side: str, at: int) -> float:
        return median(load.rate for load in found[question, side, at])

    most = f"GET of {max(LIMITS)}"
    times = rate(most, "gRPC", 1) / rate(most, "gateway", 1)
    encoded = 1000 / rate(most, "gateway", 1) / encoding_ms
    share = rate("POST", "gateway", 32) / rate("POST", "gRPC", 32)
    return [
        Claim(f"{most}: at most 2.5 times the gRPC call alone", times, 2.5, f"{times:.2f}"),
        Claim(f"{most}: at most 3 times msgspec alone", encoded, 3.0, f"{encoded:.2f}"),
        at_least("POST at 32: at least 0.6 of the gRPC pushes", share, 0.6),
    ]


def _measured(
    questions: dict[str, dict[str, Side | Pushes]], rounds: int, seconds: float
) -> _Found:
    found: _Found = {}
    for _ in range(rounds):
        for question, sides in questions.items():
            for at in CONCURRENCIES:
                for name, side in sides.items():
                    load = side.load(at, seconds)
                    if load.failures:
                        raise RuntimeError(f"{question}, {name}: {load.failures}")
                    found.setdefault((question, name, at), []).append(load)
    return found


def _answer(gateway: str, limit: int) -> bytes:
    request = urllib.request.Request(
        f"http://{gateway}{_PATH.format(**SCOPE)}?limit={limit}",
        headers={"Authorization": f"Bearer {READ_TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        body: bytes = response.read()
    if len(json.loads(body)) != limit:
        raise RuntimeError(f"{len(json.loads(body))} runs of {limit}")
    return body


def _post(gateway: str, answer: bytes, place: Path) -> Side:
    record: dict[str, Any] = json.loads(answer)[0]
    for name in _ASSIGNED:  # without push_id each is a run of its own
        del record[name]
    held_at = place / "post.json"
    held_at.write_text(json.dumps({**record, "job": POSTED["job"]}))
    token = Keyring([KEY]).mint(Scope(**POSTED))
    return Side(
        ("post", gateway, f"--token={token}", "--path=/api/v1/metrics", f"--body={held_at}")
    )


def _encoding_ms(answer: bytes) -> float:
    runs = msgspec.json.decode(answer, type=list[StoredRun])
    times = []
    for _ in range(30):
        begun = time.perf_counter()
        encode(runs)
        times.append(1000 * (time.perf_counter() - begun))
    return median(times)


if __name__ == "__main__":
    show(run("--quick" in sys.argv))
