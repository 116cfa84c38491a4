"""A PostgreSQL that stops, hangs, cuts connections or loses its database under a receiver.

Callers are told UNAVAILABLE and why, in time; the receiver goes on by itself once it can.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2
from rig.places import PostgresPlace
from rig.postgres import Postgres, serving
from rig.programs import Stage
from rig.pushers import BY_DATABASE, PUSHER_COUNT, Pushers, a_run
from rig.readers import READER_COUNT, Readers
from rig.service import Service
from rig.stack import Scope

pytestmark = pytest.mark.slow

IN_TIME_SECONDS = 10.0  # the deadline of a collector's try, and of the gateway
SOON_SECONDS = 20.0  # after the cause has gone
STATUSES = (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING)


@pytest.fixture(scope="module")
def breakable() -> Iterator[Postgres]:
    """A server of this module alone."""
    with serving() as server:
        yield server


@pytest.fixture
def place(breakable: Postgres) -> PostgresPlace:
    """An empty database of it."""
    return PostgresPlace(breakable, breakable.create_database())


@pytest.fixture
def service(stage: Stage, place: PostgresPlace) -> Iterator[Service]:
    """One receiver."""
    service = Service(stage, place.url)
    yield service
    service.close()


def check_refusals(pushers: Pushers) -> None:
    """Check that every refusal came from the receiver, in time, with a reason."""
    for code, details in pushers.refusals:
        assert code == "UNAVAILABLE", (code, details)
        assert BY_DATABASE in details
        assert "a statement failed" not in details


Pushing = Callable[..., AbstractContextManager[Pushers]]


@pytest.fixture
def pushing(service: Service, place: PostgresPlace, scope: Scope, seed: str) -> Pushing:
    """Clients that push; at their end refusals had a reason, what was acknowledged is stored."""

    @contextmanager
    def pushing(count: int = PUSHER_COUNT) -> Iterator[Pushers]:
        with Pushers(service, scope, seed, count, timeout_seconds=IN_TIME_SECONDS) as pushers:
            yield pushers
        check_refusals(pushers)
        pushers.check_stored(place)

    return pushing


def tally_pushes(tally: Counter[str], pushers: Pushers) -> None:
    """Count what came of them."""
    tally["runs acknowledged"] += len(pushers.acknowledged)
    tally["pushes refused"] += sum(pushers.refusals.values())


def check_query_refused(service: Service, scope: Scope) -> None:
    """Check that a query is refused, too, in time and with a reason."""
    with pytest.raises(grpc.RpcError) as caught:
        list(service.client.listed(scope, IN_TIME_SECONDS))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert BY_DATABASE in caught.value.details()
    assert "a statement failed" not in caught.value.details()


def stop(server: Postgres, number: signal.Signals) -> None:
    """End a server by a signal; SIGKILL goes to all its processes."""
    if number is signal.SIGKILL:
        server.kill()
    else:
        server.stop(number)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=lambda n: n.name
)
def test_stopped_and_started(
    service: Service,
    breakable: Postgres,
    scope: Scope,
    run_count: int,
    seed: str,
    tally: Counter[str],
    number: signal.Signals,
    pushing: Pushing,
) -> None:
    """A server that is stopped, or crashes, while clients push: they are refused with a reason,
    served again once it is back, and what was acknowledged is there."""
    chance = random.Random(seed)
    with pushing() as pushers:
        for _ in range(max(1, run_count // 40)):
            pushers.wait_for_more(1)
            time.sleep(chance.random() * 0.3)
            stop(breakable, number)
            try:
                refused = pushers.refused("it cannot be reached")
                pushers.wait_for_refusals("it cannot be reached", refused + 10)
                check_query_refused(service, scope)
                assert service.client.health() in STATUSES
            finally:
                breakable.start()
            pushers.wait_for_more(32, SOON_SECONDS)
            tally["stops"] += 1
    assert service.client.health() == health_pb2.HealthCheckResponse.SERVING
    tally_pushes(tally, pushers)


def test_hung_and_going_on(
    service: Service, breakable: Postgres, scope: Scope, pushing: Pushing
) -> None:
    """A server that stands still: callers are answered before their deadline, pushes as well as
    queries and health; when it goes on so do they, without a restart."""
    with pushing() as pushers:
        pushers.wait_for_more(32)
        list(service.client.listed(scope))  # a connection to read by is open
        breakable.signal_server(signal.SIGSTOP)
        try:
            assert service.client.health() in STATUSES
            check_query_refused(service, scope)
            pushers.wait_for_refusals("", timeout_seconds=IN_TIME_SECONDS + 10)
        finally:
            breakable.signal_server(signal.SIGCONT)
        pushers.wait_for_more(32, SOON_SECONDS)


@pytest.fixture
def readers(stage: Stage, service: Service, scope: Scope) -> Iterator[Readers]:
    """Clients that read during the test."""
    gateway = stage.gateway(service.receivers[0].address)
    readers = Readers(gateway, scope, service.read_token)
    readers.wait_for_more(200, 2 * READER_COUNT)
    yield readers
    readers.finish()


BACKENDS = "FROM pg_stat_activity WHERE datname = '{}' AND usename = '{}'"
CUT_ONE = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid {} {} LIMIT 1) AS found"


def test_locked_while_many_read(place: PostgresPlace, readers: Readers, pushing: Pushing) -> None:
    """A table that is locked for longer than a statement may take: reads and pushes are refused
    with a reason, and go on afterwards."""
    with pushing(4) as pushers:
        pushers.wait_for_more(4)
        place.rows("BEGIN; LOCK TABLE run IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(6); COMMIT")
        readers.wait_for_more(200, 2 * READER_COUNT)
        pushers.wait_for_more(4, SOON_SECONDS)
    assert any("took too long" in detail for _, detail in readers.answers)


def test_one_connection_of_many_is_cut(
    service: Service,
    place: PostgresPlace,
    breakable: Postgres,
    readers: Readers,
    scope: Scope,
    seed: str,
) -> None:
    """A connection that is cut costs at most the one read that uses it."""
    assert service.client.push(a_run(scope, random.Random(seed)), scope).receipt
    name = place.url.rpartition("/")[2]
    for number in range(1, 6):
        backends = BACKENDS.format(name, "postgres")
        assert breakable.execute(CUT_ONE.format(backends, "ORDER BY random()")) == [("1",)]
        readers.wait_for_more(200, 2 * READER_COUNT)
        assert readers.count(503) <= number


def test_connections_cut_while_many_read(
    place: PostgresPlace, breakable: Postgres, readers: Readers, pushing: Pushing, run_count: int
) -> None:
    """Connections cut at random, five a second: each costs a retry, nothing more."""
    name = place.url.rpartition("/")[2]
    with pushing(4) as pushers:
        for _ in range(5 * run_count):
            backends = BACKENDS.format(name, "postgres")
            breakable.execute(CUT_ONE.format(backends, "ORDER BY random()"))
            time.sleep(0.2)
        readers.wait_for_more(200, 2 * READER_COUNT)
        pushers.wait_for_more(4, SOON_SECONDS)


class TestFewConnections:
    """A role that may have fewer connections than the receiver wants."""

    @pytest.fixture
    def place(self, breakable: Postgres) -> PostgresPlace:
        """A database of a role of its own."""
        url = breakable.create_database()
        name = url.rpartition("/")[2]
        breakable.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 2")
        breakable.execute(f"ALTER DATABASE {name} OWNER TO {name}")
        return PostgresPlace(breakable, url.replace("postgres@", f"{name}@"))

    def test_reads_and_pushes_share_them(
        self, place: PostgresPlace, breakable: Postgres, readers: Readers, pushing: Pushing
    ) -> None:
        """Reads and pushes wait for each other; with no connection left they are refused."""
        name = place.url.rpartition("/")[2]
        with pushing(4) as pushers:
            pushers.wait_for_more(20)
            readers.wait_for_more(200, 2 * READER_COUNT)
            assert readers.count(503) == 0
            breakable.execute(f"ALTER ROLE {name} CONNECTION LIMIT 0")
            breakable.execute(f"SELECT pg_terminate_backend(pid) {BACKENDS.format(name, name)}")
            readers.wait_for_more(503)
            pushers.wait_for_refusals("it has too many connections")
            breakable.execute(f"ALTER ROLE {name} CONNECTION LIMIT 2")
            readers.wait_for_more(200, 2 * READER_COUNT)
            pushers.wait_for_more(20, SOON_SECONDS)


CUT = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}'"


def test_connections_cut_again_and_again(
    place: PostgresPlace,
    breakable: Postgres,
    run_count: int,
    seed: str,
    tally: Counter[str],
    pushing: Pushing,
) -> None:
    """Connections that an administrator, a proxy or a failover cuts cost a retry, nothing more."""
    chance = random.Random(seed)
    name = place.url.rpartition("/")[2]
    with pushing() as pushers:
        pushers.wait_for_more(1)
        rounds = iter(range(max(20, run_count // 2)))
        while next(rounds, None) is not None or tally["connections cut"] <= 5:
            time.sleep(chance.random() * 0.1)
            ((cut,),) = breakable.execute(CUT.format(name))
            tally["connections cut"] += int(cut)
        pushers.wait_for_more(32, SOON_SECONDS)
    tally_pushes(tally, pushers)


def test_read_only_and_back(
    service: Service, place: PostgresPlace, breakable: Postgres, pushing: Pushing
) -> None:
    """A database that is read-only for a while, also for the sessions of that time: pushes are
    refused, queries go on; then pushes do, too."""
    name = place.url.rpartition("/")[2]
    setting = f"ALTER DATABASE {name} SET default_transaction_read_only ="
    with pushing(4) as pushers:
        pushers.wait_for_more(4)
        breakable.execute(f"{setting} on")
        breakable.execute(CUT.format(name))
        pushers.wait_for_refusals("it is read-only", 4)
        service.await_readiness(503, "it is read-only")
        assert list(service.client.listed(pushers.scope))
        breakable.execute(f"{setting} off")
        pushers.wait_for_more(4, SOON_SECONDS)
        service.await_readiness(200, "ready")


def test_dropped_and_made_again(
    service: Service,
    place: PostgresPlace,
    breakable: Postgres,
    scope: Scope,
    seed: str,
    pushing: Pushing,
) -> None:
    """A database that is gone, then empty: refused, and the reason names what is wrong; once its
    tables are made runs are stored, without a restart."""
    name = place.url.rpartition("/")[2]
    run = a_run(scope, random.Random(seed))
    attempt = service.client.push(run, scope, IN_TIME_SECONDS)
    assert attempt.receipt is not None
    breakable.execute(f"DROP DATABASE {name} WITH (FORCE)")
    check_refused_for(service, scope, seed, "it does not exist")
    breakable.execute(f"CREATE DATABASE {name}")
    check_refused_for(service, scope, seed, "its tables are missing")
    service.migrate()
    with pushing(count=4) as pushers:
        pushers.wait_for_more(10, SOON_SECONDS)


def check_refused_for(service: Service, scope: Scope, seed: str, reason: str) -> None:
    """Check that pushes and queries are soon refused with this reason, and no push is taken."""
    deadline = time.monotonic() + SOON_SECONDS
    while True:
        attempt = service.client.push(a_run(scope, random.Random(seed)), scope, IN_TIME_SECONDS)
        assert attempt.code is grpc.StatusCode.UNAVAILABLE
        if reason in attempt.details:
            break
        assert time.monotonic() < deadline, attempt.details
        time.sleep(0.1)
    check_query_refused(service, scope)
    with pytest.raises(grpc.RpcError) as caught:
        list(service.client.listed(scope))
    assert reason in caught.value.details()
