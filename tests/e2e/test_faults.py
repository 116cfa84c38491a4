"""Receivers that are down, slow, half-open or replaced: no run is lost, none is stored twice."""

import random
import signal
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.losses import Losses, left, names, push_id, together
from rig.programs import Program, Stage
from rig.proxy import Fault, Proxy
from rig.stack import Scope, Stack

pytestmark = pytest.mark.slow

PUSHED, KEPT = 0, 3
BRIEFLY = "--shutdown-timeout=1s"
LONG_ENOUGH_TO_CONNECT = "--shutdown-timeout=10s"


@pytest.fixture
def proxy_of(losses: Losses) -> Iterator[Callable[..., Proxy]]:
    """Return the maker of proxies in front of the receiver."""
    made = []

    def make(*plan: Fault, **settings: Any) -> Proxy:
        made.append(Proxy(losses.stack.receiver.address, plan, **settings))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


def ended_run(losses: Losses, proxy: Proxy, *flags: str) -> Program:
    """Start a collector that pushes through a proxy; ask it to end once its run has begun."""
    collector = losses.start(*flags, endpoint=f"grpc://{proxy.address}")
    collector.event("checkpoint.written")
    collector.send(signal.SIGTERM)
    return collector


def check_stored(losses: Losses, program: Program) -> None:
    """Check that the run is stored, once and completed, and that the spool is empty."""
    stored = losses.stored()
    assert list(stored) == [push_id(program)]
    assert stored[push_id(program)]["state"] == "completed"
    assert names(losses.spool) == []


def check_kept(losses: Losses, program: Program) -> str:
    """Check that the run waits in the spool, with exit code 3; return the reason given."""
    assert program.wait() == KEPT, program.text
    assert list(left(losses.spool)) == [push_id(program)]
    kept = program.event("run.kept")
    assert kept["path"] == str(losses.spool / f"{push_id(program)}.json")
    return str(kept["reason"])


def test_down_at_the_end_and_up_again(losses: Losses, proxy_of: Callable[..., Proxy]) -> None:
    """A receiver that is back before the budget ends gets the run."""
    proxy = proxy_of(is_up=False)
    collector = ended_run(losses, proxy)
    collector.event("push.retrying", count=3)
    assert losses.stored() == {}
    proxy.up()
    assert collector.wait() == PUSHED, collector.text
    check_stored(losses, collector)


def test_down_for_ten_seconds(losses: Losses, proxy_of: Callable[..., Proxy]) -> None:
    """A receiver that is back ten seconds after the end gets the run, within the default budget."""
    proxy = proxy_of(is_up=False)
    collector = ended_run(losses, proxy)
    threading.Event().wait(10)
    assert collector.process.poll() is None, collector.text
    assert losses.stored() == {}
    proxy.up()
    assert collector.wait() == PUSHED, collector.text
    check_stored(losses, collector)


@pytest.mark.parametrize("way", ["grpc", "http"])
def test_a_connection_that_goes_dead(
    losses: Losses, proxy_of: Callable[..., Proxy], way: str
) -> None:
    """A connection that goes silent in the middle of a push, without being closed, costs one
    attempt: the next one pushes the run, within the default budget."""
    proxy = proxy_of(Fault.SWALLOW, cut_bytes=600)
    endpoint = f"grpc://{proxy.address}"
    if way == "http":
        proxy.target = losses.stack.gateway.url.removeprefix("http://")
        endpoint = f"http://{proxy.address}/api/v1/metrics"
    collector = losses.start(endpoint=endpoint)
    collector.event("checkpoint.written")
    collector.send(signal.SIGTERM)
    assert collector.wait() == PUSHED, collector.text
    assert proxy.seen == [Fault.SWALLOW, Fault.NONE]
    assert collector.event("run.pushed")["duplicate"] is False  # nothing of the first came
    assert len(collector.events("push.retrying")) == 1
    check_stored(losses, collector)


def test_down_past_the_budget(losses: Losses, proxy_of: Callable[..., Proxy]) -> None:
    """A receiver that stays away leaves the run in the spool, for ``collector push``."""
    collector = ended_run(losses, proxy_of(is_up=False), BRIEFLY)
    reason = check_kept(losses, collector)
    assert reason.startswith(("UNAVAILABLE", "DEADLINE_EXCEEDED"))
    assert losses.stored() == {}
    (pushed,) = losses.push()["pushed"]
    assert pushed["push_id"] == push_id(collector)
    check_stored(losses, collector)


def test_accepts_and_never_answers(losses: Losses, proxy_of: Callable[..., Proxy]) -> None:
    """A receiver that hangs costs the budget, not more; the run is kept."""
    proxy = proxy_of(*[Fault.STALL] * 100)
    collector = ended_run(losses, proxy, LONG_ENOUGH_TO_CONNECT)
    reason = check_kept(losses, collector)
    assert "DEADLINE_EXCEEDED" in reason or "UNAVAILABLE" in reason
    assert proxy.seen
    losses.push()
    check_stored(losses, collector)


@pytest.mark.parametrize("number", [1, 3])
def test_an_answer_that_is_lost(
    losses: Losses, proxy_of: Callable[..., Proxy], number: int
) -> None:
    """A run that is stored but not acknowledged is pushed again, and stays one."""
    proxy = proxy_of(*[Fault.LOSE_ANSWER] * number)
    collector = ended_run(losses, proxy)
    assert collector.wait() == PUSHED, collector.text
    assert collector.event("run.pushed")["duplicate"] is True
    assert len(collector.events("push.retrying")) == number
    assert proxy.seen == [Fault.LOSE_ANSWER] * number + [Fault.NONE]
    check_stored(losses, collector)


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.HOLD_ANSWER], ids=lambda f: f.name)
def test_an_answer_that_never_comes(
    losses: Losses, proxy_of: Callable[..., Proxy], fault: Fault
) -> None:
    """A run that is stored but never acknowledged is kept, and later found to be a duplicate."""
    collector = ended_run(losses, proxy_of(*[fault] * 100), LONG_ENOUGH_TO_CONNECT)
    check_kept(losses, collector)
    before = losses.stored()
    assert list(before) == [push_id(collector)]
    (pushed,) = losses.push()["pushed"]
    assert pushed["duplicate"] is True
    check_stored(losses, collector)
    assert losses.stored() == before


def test_unreachable_five_times(losses: Losses, proxy_of: Callable[..., Proxy]) -> None:
    """Connections that fail five times in a row are tried a sixth time."""
    proxy = proxy_of(*[Fault.REFUSE] * 5)
    collector = ended_run(losses, proxy)
    assert collector.wait() == PUSHED, collector.text
    assert len(proxy.seen) == 6
    check_stored(losses, collector)


def test_restarted_in_between(stage: Stage, scope: Scope) -> None:
    """A receiver that is replaced while a run is pushed has it once, whichever took it."""
    key = stage.secret()
    stack = Stack(stage, hmac_key=key)
    losses = Losses(stack, stage, scope)
    with Proxy(stack.receiver.address, [Fault.LOSE_ANSWER]) as proxy:
        collector = ended_run(losses, proxy)
        proxy.wait_for(1)
        collector.event("push.retrying")
        assert stack.receiver.stop() == 0
        again = stage.receiver(
            hmac_key=key, read_token=stack.receiver.read_token, database=stack.receiver.database
        )
        proxy.target = again.address
        assert collector.wait() == PUSHED, collector.text
    stack.rest.base_url = stage.gateway(again.address).url
    check_stored(losses, collector)
    stack.close()


@pytest.fixture
def certificates(tmp_path: Path) -> list[tuple[Path, Path]]:
    """Two self-signed certificates of localhost, with their keys; each is its own CA."""
    made = []
    for name in ("ours", "theirs"):
        made.append((tmp_path / f"{name}.pem", tmp_path / f"{name}.key"))
        command = "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
        more = ["-addext", "subjectAltName=IP:127.0.0.1", "-subj", f"/CN={name}"]
        files = ["-out", str(made[-1][0]), "-keyout", str(made[-1][1])]
        subprocess.run([*command.split(), *more, *files], check=True, capture_output=True)
    return made


def test_another_ca(losses: Losses, certificates: list[tuple[Path, Path]]) -> None:
    """A receiver whose certificate another CA signed gets nothing: the run is kept at once, and
    the reason says what to give; with that it is pushed."""
    ours, theirs = certificates
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ours)
    context.set_alpn_protocols(["h2"])
    with Proxy(losses.stack.receiver.address, tls=context) as proxy:
        endpoint = f"grpcs://{proxy.address}"
        collector = losses.start(f"--tls-ca={theirs[0]}", endpoint=endpoint)
        collector.event("checkpoint.written")
        collector.send(signal.SIGTERM)
        assert "--tls-ca" in check_kept(losses, collector)
        assert len(proxy.seen) == 1
        second = losses.start(f"--tls-ca={ours[0]}", endpoint=endpoint)
        second.event("checkpoint.written")
        assert second.stop() == PUSHED, second.text
    assert set(losses.stored()) == {push_id(collector), push_id(second)}
    assert names(losses.spool) == []


FAULTS = {
    Fault.DELAY: 2,
    Fault.REFUSE: 2,
    Fault.CUT: 4,
    Fault.LOSE_ANSWER: 4,
    Fault.HOLD_ANSWER: 1,
    Fault.STALL: 1,
    Fault.SWALLOW: 1,
}


def test_any_faults(losses: Losses, run_count: int, seed: str, tally: Counter[str]) -> None:
    """Whatever goes wrong between the two, in whatever order, a run that was acknowledged has
    left the spool, one that was not waits there; at the end all are stored once."""
    lock = threading.Lock()
    spools: list[Path] = []

    def end_one(chance: random.Random) -> str:
        plan = chance.choices([*FAULTS], weights=[*FAULTS.values()], k=chance.randrange(1, 4))
        spool = losses.stage.folder / f"spool-{chance.getrandbits(64):x}"
        settings = {"cut_bytes": chance.randrange(1, 2000), "delay_seconds": chance.random() / 10}
        with Proxy(losses.stack.receiver.address, plan, **settings) as proxy:
            flags = ["--shutdown-timeout=2s", *["--checkpoint-push=1s"] * chance.randrange(2)]
            collector = losses.start(*flags, spool=spool, endpoint=f"grpc://{proxy.address}")
            collector.event("checkpoint.written")
            code = collector.stop()
        assert code in (PUSHED, KEPT), collector.text
        assert set(left(spool)) == ({push_id(collector)} if code == KEPT else set())
        with lock:
            tally[f"ended with {code}"] += 1
            tally["connections that failed"] += sum(f is not Fault.NONE for f in proxy.seen)
            spools.extend([spool] * (code == KEPT))
        return push_id(collector)

    runs = together(end_one, seed, run_count)
    for spool in spools:
        assert len(losses.push(spool)["pushed"]) == 1
        assert names(spool) == []
    stored = losses.stored()
    assert set(stored) == set(runs)
    assert {record["state"] for record in stored.values()} == {"completed"}
