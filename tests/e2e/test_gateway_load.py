"""More clients than the gateway can serve: it refuses some, uses no more memory, recovers."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rig.programs import Stage
from rig.repository import ROOT
from rig.stack import Scope, Stack, a_record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("wrk") is None, reason="needs the program wrk"),
]

LIMIT = 16
CLIENTS = 128
RUN_COUNT = 50
GROWTH_BYTES = 32 * 2**20
ANSWER_SECONDS = 60  # no measure of speed: by then every client has an answer


def storm(stack: Stack, path: str, seconds: int, flags: tuple[str, ...] = ()) -> str:
    """Ask with many more clients than are served at once; what wrk reports."""
    done = subprocess.run(
        [
            *("wrk", "--threads=2", f"--connections={CLIENTS}", f"--duration={seconds}s", *flags),
            f"--timeout={ANSWER_SECONDS}s",
            *("--header", f"Authorization: {stack.reading['Authorization']}"),
            f"{stack.gateway.url}{path}",
        ],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def counts(stack: Stack, name: str, label: str) -> Counter[str]:
    """Return a metric of /metrics by a label; refused requests have no route."""
    found: Counter[str] = Counter()
    text = httpx.get(f"{stack.gateway.ops_url}/metrics", trust_env=False, timeout=30).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels.get(label, "")] += int(sample.value)
    return found


def peak_bytes(stack: Stack) -> int:
    """The most memory that the gateway had so far."""
    status = Path(f"/proc/{stack.gateway.process.pid}/status").read_text()
    (found,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found) * 1024


@pytest.fixture
def started(stage: Stage) -> Iterator[Callable[..., Stack]]:
    """Starts receiver and gateway, with flags for the latter."""
    with ExitStack() as stacks:

        def start(*flags: str) -> Stack:
            stack = Stack(stage, *flags)
            stacks.callback(stack.close)
            return stack

        yield start


def test_more_than_it_can(
    started: Callable[..., Stack], scope: Scope, load_seconds: int, tally: Counter[str]
) -> None:
    """Clients beyond the limit get 429 or 503 at once; every client its answer;
    memory is flat; afterwards all is as before."""
    stack = started(f"--max-requests={LIMIT}")
    token = stack.token(scope)
    for _ in range(RUN_COUNT):
        assert stack.post(a_record(scope), token).status_code == 201
    storm(stack, scope.path, 3)  # as large as it gets
    before, peak_before = (
        counts(stack, "runmeter_gateway_requests_total", "status"),
        peak_bytes(stack),
    )
    report = storm(stack, scope.path, load_seconds)
    after = counts(stack, "runmeter_gateway_requests_total", "status")
    answered = after - before
    grown_bytes = peak_bytes(stack) - peak_before
    print(report, answered)
    tally.update({f"answers {status}": count for status, count in answered.items()})
    tally.update({"seconds": load_seconds, "bytes grown": grown_bytes})
    left = answered.pop("499", 0)  # in the middle of their last request: wrk does not wait
    assert left <= CLIENTS
    assert set(answered) <= {"200", "429", "503"}
    assert answered["200"] > 0
    assert answered["429"] + answered["503"] > 0
    assert "Socket errors" not in report
    assert grown_bytes < GROWTH_BYTES
    assert counts(stack, "runmeter_gateway_requests_in_flight", "")[""] == 0
    assert httpx.get(f"{stack.gateway.ops_url}/readyz", trust_env=False).status_code == 200
    assert len(stack.listed(scope)) == RUN_COUNT


def test_the_soak_takes_a_minute() -> None:
    """``make soak`` runs this, for a minute; CI for less."""
    done = subprocess.run(
        ["make", "-n", "soak"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "LOSSES_SECONDS=60 " in done.stdout
    assert f" {Path(__file__).relative_to(ROOT)} " in done.stdout


def test_more_than_its_rate(started: Callable[..., Stack], scope: Scope) -> None:
    """A client beyond its rate gets 429, not more answers than its rate and burst allow, and
    another client is served as if it were alone."""
    stack = started("--rate-limit=20", "--trusted-proxies=127.0.0.1")
    flags = ("--header", "X-Forwarded-For: 192.0.2.1")
    report = storm(stack, scope.path, 5, flags)
    answered = counts(stack, "runmeter_gateway_requests_total", "status")
    assert set(answered) - {"499"} == {"200", "429"}
    seconds = float(re.findall(r"requests in ([0-9.]+)s", report)[0])
    # the burst, and what the rate gives in the time that wrk has really taken
    assert answered["200"] <= 40 + 20 * (seconds + 2)
    other = stack.reading | {"X-Forwarded-For": "192.0.2.2"}
    assert stack.rest.get(scope.path, headers=other).status_code == 200
