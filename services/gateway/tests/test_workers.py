"""Several processes on one address: they share it, are replaced, and end together."""

import asyncio
import json
import os
import re
import select
import signal
import ssl
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography.x509 import load_pem_x509_certificate
from rig.certificates import Files
from rig.gateway import HEADERS, RUNS, WAIT_SECONDS, connect, head, until

from runmeter.gateway.config import environment, load
from runmeter.gateway.workers import Assignment, CannotStart, Workers
from runmeter.service.sockets import listen
from runmeter.service.values import Address


class Crew:
    """A gateway with two workers, and their process ids."""

    def __init__(self, start: Any, *flags: str) -> None:
        self.program = start("--workers=2", *flags)
        lines = map(json.loads, self.program.lines)
        self.pids = [line["pid"] for line in lines if line["event"] == "worker.started"]

    def get(self, path: str) -> httpx.Response:
        """Ask over a new connection."""
        url = self.program.url + path
        return httpx.get(url, headers=HEADERS, timeout=WAIT_SECONDS, trust_env=False)

    def metric(self, line: str) -> float:
        """Return the value of this series."""
        text = httpx.get(f"{self.program.ops_url}/metrics", trust_env=False).text
        found = re.findall(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))


@pytest.fixture
def crew(start: Any, own_double: Any) -> Crew:
    """Two workers in front of a double."""
    return Crew(start, f"--receiver=grpc://127.0.0.1:{own_double.port}")


def gone(pid: int) -> None:
    """Wait until a process that is not ours has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], WAIT_SECONDS)[0], pid
    finally:
        os.close(descriptor)


def test_both_serve(crew: Crew) -> None:
    """Each worker takes connections while the other cannot; the start is logged once."""
    assert len(set(crew.pids)) == 2
    for pid in crew.pids:
        os.kill(pid, signal.SIGSTOP)
        assert [crew.get("/health").status_code for _ in range(5)] == [200] * 5
        os.kill(pid, signal.SIGCONT)
    text = "".join(crew.program.lines)
    assert text.count('"server.started"') == 1
    assert '"workers": 2' in text
    assert httpx.get(f"{crew.program.ops_url}/readyz", trust_env=False).text == "ready\n"


@pytest.mark.slow
def test_metrics_are_sums(crew: Crew) -> None:
    """/metrics adds up all workers, those that have ended included."""
    health = 'runmeter_gateway_requests_total{method="GET",route="/health",status="200"}'
    for pid in crew.pids:  # the other one answers
        os.kill(pid, signal.SIGSTOP)
        assert [crew.get("/health").status_code for _ in range(5)] == [200] * 5
        os.kill(pid, signal.SIGCONT)
    assert crew.metric(health) == 10
    assert crew.metric("runmeter_gateway_requests_in_flight") == 0
    os.kill(crew.pids[0], signal.SIGKILL)
    crew.program.event("worker.died")
    assert crew.get("/health").status_code == 200
    assert crew.metric(health) == 11
    assert crew.metric("runmeter_gateway_workers_died_total") == 1


def test_dead_worker_is_replaced(crew: Crew) -> None:
    """A worker that dies is logged and replaced; the others continue."""
    os.kill(crew.pids[0], signal.SIGKILL)
    died = crew.program.event("worker.died")
    assert (died["pid"], died["exit_code"], died["level"]) == (crew.pids[0], -9, "error")
    assert crew.get("/health").status_code == 200
    fresh = crew.program.event("worker.started")["pid"]
    assert fresh not in crew.pids
    os.kill(crew.pids[1], signal.SIGSTOP)
    assert crew.get("/health").status_code == 200
    os.kill(crew.pids[1], signal.SIGCONT)
    crew.program.signal()
    assert crew.program.wait() == 0
    gone(fresh)


@pytest.mark.slow
def test_end_of_a_request_in_flight(crew: Crew, own_double: Any) -> None:
    """SIGTERM: open requests are answered, new ones refused, all processes end, the code is 0."""
    open_gate, gate = own_double.gate()
    own_double.listing = own_double.streams([], then=gate)
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(crew.get(RUNS)))
    asking.start()
    own_double.call()
    crew.program.signal()
    crew.program.event("shutdown.requested")

    def is_refused() -> bool:
        try:
            crew.get("/health")
        except httpx.TransportError:
            return True
        return False

    until(is_refused)
    open_gate()
    asking.join(WAIT_SECONDS)
    assert (answers[0].status_code, answers[0].text) == (200, "[]")
    assert crew.program.wait() == 0
    assert crew.program.event("server.stopped")["aborted_count"] == 0
    for pid in crew.pids:
        gone(pid)


@pytest.mark.slow
@pytest.mark.parametrize("second_signal", [False, True], ids=["timeout", "second-signal"])
def test_end_that_cuts_off(start: Any, own_double: Any, second_signal: bool) -> None:
    """Requests that do not end in time, or at a second signal, are cut off in every worker."""
    own_double.listing = own_double.streams([], then=own_double.hang)
    crew = Crew(
        start,
        f"--receiver=grpc://127.0.0.1:{own_double.port}",
        f"--shutdown-timeout={'1h' if second_signal else '200ms'}",
    )
    with connect(crew.program.address, head()):
        own_double.call()
        crew.program.signal()
        crew.program.event("shutdown.requested")
        if second_signal:
            crew.program.signal(signal.SIGINT)
        assert crew.program.wait() == 0
    assert own_double.cancelled.wait(WAIT_SECONDS)
    assert crew.program.event("server.stopped")["aborted_count"] == 1


@pytest.mark.slow
def test_no_worker_outlives_its_parent(crew: Crew) -> None:
    """If the parent is killed the workers end by themselves."""
    crew.program.signal(signal.SIGKILL)
    assert crew.program.wait() == -9
    for pid in crew.pids:
        gone(pid)


@pytest.mark.slow
def test_hangup_reaches_all(start: Any, tmp_path: Path) -> None:
    """SIGHUP: every worker uses the new certificate, and so does a later one."""
    ca = trustme.CA()

    def renew() -> Files:
        return Files.of(ca.issue_cert("127.0.0.1"), tmp_path)

    def serial(files: Files) -> int:
        return load_pem_x509_certificate(files.cert.read_bytes()).serial_number

    def shown() -> int:
        context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
        with (
            connect(crew.program.address) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
        ):
            found: Any = encrypted.getpeercert()
            return int(found["serialNumber"], 16)

    files = renew()
    crew = Crew(start, *files.flags())
    assert shown() == serial(files)
    second = serial(renew())
    crew.program.signal(signal.SIGHUP)
    for _ in range(3):  # the workers and the parent
        crew.program.event("certificates.reread")
    assert {shown() for _ in range(10)} == {second}
    os.kill(crew.pids[0], signal.SIGKILL)
    crew.program.event("worker.started")
    os.kill(crew.pids[1], signal.SIGSTOP)
    assert shown() == second
    os.kill(crew.pids[1], signal.SIGCONT)


@pytest.mark.slow
def test_workers_that_cannot_start() -> None:
    """If a worker ends before it serves, starting fails and leaves no process."""

    async def start() -> None:
        with listen(Address("127.0.0.1", 0), "--addr") as sock:
            assignment = Assignment(load({"log_format": "json"}, {}), "0", sock.fileno())
            environ = environment(PROMETHEUS_MULTIPROC_DIR="/nowhere")
            workers = Workers(2, assignment, environ, lambda pid: None)
            with pytest.raises(CannotStart):
                await workers.start()
            await workers.stop(0.0, asyncio.Event())

    asyncio.run(start())
