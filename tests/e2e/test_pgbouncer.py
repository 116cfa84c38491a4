"""A PgBouncer between receivers and PostgreSQL, pooling sessions or transactions."""

import signal
import time
from collections.abc import Iterator

import pytest
from rig.pgbouncer import PgBouncer, pooling
from rig.places import PostgresPlace
from rig.postgres import Postgres, serving
from rig.programs import Stage
from rig.pushers import BY_DATABASE, Pushers
from rig.readers import Readers
from rig.service import Service
from rig.stack import Scope

pytestmark = pytest.mark.slow

SOON_SECONDS = 20.0
IN_TIME_SECONDS = 10.0
# a session has a connection of its own, up to six a receiver; transactions share a few
SIZES = {"session": 12, "transaction": 2}


@pytest.fixture(params=SIZES)
def mode(request: pytest.FixtureRequest) -> str:
    """How it pools."""
    return str(request.param)


@pytest.fixture
def pooler(postgres: Postgres, mode: str) -> Iterator[PgBouncer]:
    """One in front of a server."""
    with pooling(postgres, mode, SIZES[mode]) as pooler:
        yield pooler


@pytest.fixture
def place(postgres: Postgres) -> PostgresPlace:
    """An empty database, looked at past the pooler."""
    return PostgresPlace(postgres, postgres.create_database())


@pytest.fixture
def service(stage: Stage, place: PostgresPlace, pooler: PgBouncer) -> Iterator[Service]:
    """Two receivers, which reach the database by the pooler; so does the migration."""
    service = Service(stage, pooler.url(place.url), count=2)
    yield service
    service.close()


def test_reads_and_pushes(
    stage: Stage, service: Service, place: PostgresPlace, pooler: PgBouncer, scope: Scope, seed: str
) -> None:
    """Receivers that share the connections of a pooler serve as without it, and leave none of
    their settings behind."""
    gateway = stage.gateway(service.receivers[1].address)
    with Pushers(service, scope, seed, count=8) as pushers:
        readers = Readers(gateway, scope, service.read_token)
        pushers.wait_for_more(200)
        readers.finish()
    assert readers.count(200) == readers.answers.total()
    assert pushers.refusals == {}
    pushers.check_stored(place)
    for _ in range(10):
        assert pooler.rows("SHOW statement_timeout", place.url) == [("0",)]


def test_fewer_connections_than_calls(
    stage: Stage, postgres: Postgres, place: PostgresPlace, mode: str, scope: Scope, seed: str
) -> None:
    """Where the pooler takes no more connections, calls wait for one of the receiver's own."""
    with pooling(postgres, mode, SIZES[mode], clients=2) as pooler:
        service = Service(stage, pooler.url(place.url))
        gateway = stage.gateway(service.receivers[0].address)
        with Pushers(service, scope, seed, count=4) as pushers:
            readers = Readers(gateway, scope, service.read_token)
            pushers.wait_for_more(50)
            readers.finish()
        assert readers.count(200) == readers.answers.total()
        assert pushers.refusals == {}
        pushers.check_stored(place)
        service.close()
        stage.close()


def test_limits_and_settings(
    service: Service, place: PostgresPlace, scope: Scope, seed: str
) -> None:
    """A statement has its limit, and a commit waits for the disk, whatever the default is."""
    name = place.url.rpartition("/")[2]
    place.rows(f"ALTER DATABASE {name} SET synchronous_commit = off")
    place.rows(
        "CREATE FUNCTION check_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF current_setting('synchronous_commit') <> 'on' THEN RAISE 'not durable'; END IF; "
        "RETURN NEW; END $$; CREATE TRIGGER durable BEFORE INSERT ON run FOR EACH ROW "
        "EXECUTE FUNCTION check_commit()"
    )
    place.rows(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' "
        "AND pid <> pg_backend_pid()"
    )
    with Pushers(service, scope, seed, count=4, timeout_seconds=IN_TIME_SECONDS) as pushers:
        pushers.wait_for_more(4)
        with place.locked():
            pushers.wait_for_refusals("a statement took too long")
        pushers.wait_for_more(4, SOON_SECONDS)
    pushers.check_stored(place)


def test_the_pooler_starts_again(
    service: Service, place: PostgresPlace, pooler: PgBouncer, scope: Scope, seed: str
) -> None:
    """While it is away calls are refused with a reason; then they go on."""
    with Pushers(service, scope, seed, count=8, timeout_seconds=IN_TIME_SECONDS) as pushers:
        pushers.wait_for_more(8)
        pooler.stop()
        try:
            pushers.wait_for_refusals("it cannot be reached", 8)
        finally:
            pooler.start()
        pushers.wait_for_more(20, SOON_SECONDS)
    assert all(BY_DATABASE in details for _, details in pushers.refusals)
    pushers.check_stored(place)


def test_the_server_starts_again(stage: Stage, mode: str, scope: Scope, seed: str) -> None:
    """What the pooler says while the server is away is a reason of its own."""
    with serving() as server, pooling(server, mode, SIZES[mode]) as pooler:
        place = PostgresPlace(server, server.create_database())
        service = Service(stage, pooler.url(place.url))
        with Pushers(service, scope, seed, count=8, timeout_seconds=IN_TIME_SECONDS) as pushers:
            pushers.wait_for_more(8)
            server.stop(signal.SIGINT)
            try:
                pushers.wait_for_refusals(BY_DATABASE, 8)
            finally:
                server.start()
            pushers.wait_for_more(20, SOON_SECONDS)
        for _, details in pushers.refusals:
            assert BY_DATABASE in details
            assert "a statement failed" not in details
        pushers.check_stored(place)
        service.close()
        stage.close()


def test_commands(
    stage: Stage, place: PostgresPlace, pooler: PgBouncer, scope: Scope, seed: str
) -> None:
    """Migrating several times at once, exporting, importing and pruning work through it."""
    url = pooler.url(place.url)
    started = [stage.start("receiver", "migrate", f"--db={url}") for _ in range(4)]
    assert [program.wait() for program in started] == [0] * 4
    applied = [line for program in started for line in program.events("database.migrated")]
    assert len(applied) == 1
    service = Service(stage, url)
    with Pushers(service, scope, seed, count=4) as pushers:
        pushers.wait_for_more(20)
    count = len(pushers.acknowledged)
    service.close()
    exporting = stage.start("receiver", "export", f"--db={url}")
    assert exporting.wait() == 0, exporting.text
    export = stage.folder / "export.jsonl"
    export.write_text("\n".join([*exporting.output, ""]))
    deadline = time.monotonic() + SOON_SECONDS
    while place.number("SELECT count(*) FROM run"):  # until all are older than a second
        assert time.monotonic() < deadline
        pruning = stage.start("receiver", "prune", f"--db={url}", "--older-than=1s")
        assert pruning.wait() == 0, pruning.text
    importing = stage.start("receiver", "import", f"--db={url}", export)
    assert importing.wait() == 0, importing.text
    assert place.number("SELECT count(*) FROM run") == count


def test_what_it_refuses(stage: Stage, postgres: Postgres, pooler: PgBouncer) -> None:
    """What a pooler says is one sentence, and not taken for a server that cannot be reached."""
    for url, text in [
        (pooler.url("/nowhere"), "nowhere"),
        (f"{pooler.url('/postgres')}?options=-cwork_mem%3D4MB", "unsupported startup parameter"),
    ]:
        program = stage.start("receiver", "migrate", f"--db={url}")
        assert program.wait() == 1
        (line,) = program.log
        assert "its connection pooler refuses: " in line
        assert text in line
        assert "cannot be reached" not in line
