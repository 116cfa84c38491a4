"""Disks that are full, refuse, slow down, stand still or lose power under a database.

Nothing is acknowledged that is not on the disk; callers are told UNAVAILABLE and why; queries go
on; once the cause has gone pushes do, too, without a restart.
"""

import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2
from rig.disks import Disk, mounted, refusing_writes
from rig.places import Place, PostgresPlace, SqlitePlace
from rig.postgres import Postgres, serving
from rig.programs import Stage
from rig.pushers import BY_DATABASE, Pushers, a_run
from rig.service import Service
from rig.stack import Scope

pytestmark = pytest.mark.slow

MIB = 2**20
SOON_SECONDS = 20.0
STATUSES = (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING)


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk of 16 MiB."""
    with mounted(16 * MIB) as disk:
        yield disk


@pytest.fixture
def place(disk: Disk) -> SqlitePlace:
    """A database on it."""
    return SqlitePlace(disk.path / "metrics.db")


@pytest.fixture
def service(disk: Disk, stage: Stage, place: SqlitePlace) -> Iterator[Service]:
    """One receiver; the stage ends it before the disk is unmounted."""
    service = Service(stage, place.url)
    yield service
    service.close()


def check_refusals(pushers: Pushers, *reasons: str) -> None:
    """Check that every refusal came from the receiver and has one of these reasons."""
    for code, details in pushers.refusals:
        assert code == "UNAVAILABLE", (code, details)
        assert BY_DATABASE in details
        assert any(reason in details for reason in reasons), details


def check_still_read(service: Service, pushers: Pushers) -> None:
    """Check that queries answer everything that was acknowledged, and health answers."""
    before = dict(pushers.acknowledged)
    stored = service.client.stored(pushers.scope)
    assert before.keys() <= stored.keys()
    assert all(stored[push_id].run == run for push_id, run in before.items())
    assert service.client.health() in STATUSES


def check_works_again(service: Service, place: Place, pushers: Pushers) -> None:
    """Check that pushes go through soon, and that all that was acknowledged is there."""
    pushers.wait_for_more(40, SOON_SECONDS)
    service.await_readiness(200, "ready", SOON_SECONDS)
    pushers.finish()
    pushers.check_stored(place)
    assert service.client.health() == health_pb2.HealthCheckResponse.SERVING


def test_a_disk_that_somebody_else_fills(
    service: Service, place: SqlitePlace, disk: Disk, scope: Scope, seed: str
) -> None:
    """No room at all, again and again: pushes are refused, queries go on; then room again."""
    with Pushers(service, scope, seed) as pushers:
        for _ in range(2):
            pushers.wait_for_more(20)
            disk.fill()
            pushers.wait_for_refusals("its disk is full", pushers.refused("") + 20)
            service.await_readiness(503, "its disk is full")
            check_still_read(service, pushers)
            disk.free()
            pushers.wait_for_more(20, SOON_SECONDS)
        check_works_again(service, place, pushers)
    check_refusals(pushers, "its disk is full")


@pytest.mark.parametrize("room_kib", [150, 450])
def test_a_disk_with_room_for_less_than_a_push(
    service: Service, place: SqlitePlace, disk: Disk, scope: Scope, seed: str, room_kib: int
) -> None:
    """Not ready from the refusal on, though a page, or the payload without the rows that go with
    it, could be written; ready as soon as there is room, without a push."""
    large = a_run(scope, random.Random(seed), container_count=300, padding="x" * 1000)
    disk.leave(room_kib * 1024)
    assert service.client.push(large, scope).details.endswith("its disk is full; try again later")
    service.await_readiness(503, "its disk is full")
    disk.free()
    service.await_readiness(200, "ready")
    assert service.client.push(large, scope).receipt is not None
    assert place.push_ids() == {large.push_id: 1}


def test_a_log_that_fills_the_disk(
    service: Service, place: SqlitePlace, disk: Disk, scope: Scope, seed: str
) -> None:
    """A reader holds one snapshot and the write-ahead log fills the disk: pushes are refused,
    queries are answered; when the reader has gone and there is room, all works."""
    disk.take(8 * MIB)
    with closing(sqlite3.connect(place.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM run").fetchone()
        with Pushers(service, scope, seed) as pushers:
            pushers.wait_for_refusals("its disk is full", 20)
            assert Path(f"{place.path}-wal").stat().st_size > MIB
            check_still_read(service, pushers)
            reader.execute("ROLLBACK")
            disk.free()
            check_works_again(service, place, pushers)
    check_refusals(pushers, "its disk is full")


def test_files_that_cannot_be_written(
    service: Service, place: SqlitePlace, scope: Scope, seed: str
) -> None:
    """The kernel refuses every change: so does the receiver, queries go on; then all works."""
    with Pushers(service, scope, seed) as pushers:
        pushers.wait_for_more(20)
        # not the index of the log, which is mapped into memory: that would be SIGBUS
        with refusing_writes(place.path, Path(f"{place.path}-wal")):
            pushers.wait_for_refusals(BY_DATABASE, 40)
            service.await_readiness(503, "not ready: the database: it")
            check_still_read(service, pushers)
        check_works_again(service, place, pushers)
    reasons = ("its disk cannot be read or written", "it is read-only", "it cannot be opened")
    check_refusals(pushers, *reasons)


def test_a_file_system_found_damaged(
    service: Service, place: SqlitePlace, disk: Disk, scope: Scope, seed: str
) -> None:
    """The kernel makes the file system read-only until it is mounted again: pushes are refused,
    queries answered, or the receiver is killed; after a restart all acknowledged runs are there."""
    with Pushers(service, scope, seed) as pushers:
        pushers.wait_for_more(20)
        before = pushers.acknowledged_so_far()
        disk.find_error()
        pushers.wait_for_refusals("", 40)
        pushers.give_up()
    pushers.believe_only(before)  # the last fsync may "succeed" after the error
    receiver = service.receivers[0]
    if receiver.process.poll() is None:
        check_refusals(pushers, "its disk cannot be read or written", "it is read-only")
        check_still_read(service, pushers)
        service.kill()
    else:
        # SQLite's index of the log is mapped memory: where it cannot be written, that is SIGBUS
        assert receiver.wait() == -signal.SIGBUS, receiver.text
    disk.unmount()
    disk.mount()
    service.start()
    pushers.check_stored(place)


def test_a_disk_that_stands_still(
    service: Service, place: SqlitePlace, disk: Disk, scope: Scope, seed: str
) -> None:
    """Writes hang: callers leave by their deadline, queries and health are answered meanwhile;
    when the disk goes on so do pushes, and none is stored twice."""
    with Pushers(service, scope, seed, timeout_seconds=1.0) as pushers:
        pushers.wait_for_more(20)
        disk.freeze()
        try:
            pushers.wait_for_refusals("", 40)
            check_still_read(service, pushers)
        finally:
            disk.thaw()
        check_works_again(service, place, pushers)
    assert {code for code, _ in pushers.refusals} == {"DEADLINE_EXCEEDED"}


def test_a_slow_disk(
    service: Service, place: SqlitePlace, disk: Disk, scope: Scope, seed: str, tally: Counter[str]
) -> None:
    """A disk of 64 KiB/s makes pushes slow, not wrong; queries do not wait for them."""
    with Pushers(service, scope, seed, timeout_seconds=1.0) as pushers:
        pushers.wait_for_more(20)
        with disk.slow(service.receivers[0].process.pid, 64 * 1024):
            pushers.wait_for_refusals("", 40)
            check_still_read(service, pushers)
        check_works_again(service, place, pushers)
    assert {code for code, _ in pushers.refusals} == {"DEADLINE_EXCEEDED"}
    tally["pushes given up in time"] += sum(pushers.refusals.values())


@pytest.fixture(params=["sqlite", "postgres"])
def on_a_disk(
    request: pytest.FixtureRequest,
) -> Iterator[tuple[Disk, Place, Postgres | None]]:
    """A disk and a database, all of whose files are on it."""
    with ExitStack() as held:
        disk = held.enter_context(mounted(256 * MIB))
        if request.param == "sqlite":
            yield disk, SqlitePlace(disk.path / "metrics.db"), None
            return
        server = held.enter_context(serving(disk.path))
        place = PostgresPlace(server, server.create_database())
        disk.sync()  # initdb has not: no run was in it
        yield disk, place, server


def test_power_lost_again_and_again(
    on_a_disk: tuple[Disk, Place, Postgres | None],
    stage: Stage,
    scope: Scope,
    run_count: int,
    seed: str,
    tally: Counter[str],
) -> None:
    """The power goes right after acknowledgements: every run acknowledged so far is there when it
    is back, whole, and pushes that were not acknowledged can be repeated."""
    disk, place, server = on_a_disk
    chance = random.Random(seed)
    service = Service(stage, place.url)
    for number in range(max(2, run_count // 20)):
        own = scope._replace(job=f"build-{number}")
        with Pushers(service, own, f"{seed} {number}") as pushers:
            pushers.wait_for_more(1 + chance.randrange(60))
            before = pushers.acknowledged_so_far()
            disk.cut_power()
            pushers.give_up()
        # a machine without power answers nothing; here the last fsync may "succeed" after it
        pushers.believe_only(before)
        service.kill()
        if server is not None:
            server.kill()
        disk.unmount()
        disk.mount()
        if server is not None:
            server.start()
        service.start()
        _check_after_power_loss(service, place, pushers)
        tally["power cuts"] += 1
        tally["runs acknowledged"] += len(pushers.acknowledged)
    place.check_whole()
    service.close()


def _check_after_power_loss(service: Service, place: Place, pushers: Pushers) -> None:
    stored = service.client.stored(pushers.scope)
    assert pushers.acknowledged.keys() <= stored.keys()
    pushed = pushers.acknowledged | pushers.unknown
    assert all(found.run == pushed[push_id] for push_id, found in stored.items())
    for push_id, run in pushers.unknown.items():
        receipt = service.client.push(run, pushers.scope).receipt
        assert receipt is not None
        assert receipt.duplicate == (push_id in stored)
    assert set(place.push_ids().values()) == {1}


def test_a_full_tablespace(
    postgres: Postgres, disk: Disk, stage: Stage, scope: Scope, seed: str
) -> None:
    """A PostgreSQL whose tables cannot grow: refused, the reason says the disk is full, queries
    go on; then room again."""
    folder, name = disk.path / "tables", "on_a_small_disk"
    folder.mkdir()
    postgres.own(folder)
    postgres.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
    postgres.execute(f"CREATE DATABASE {name} TABLESPACE {name}")
    place = PostgresPlace(postgres, postgres.url(name))
    service = Service(stage, place.url)
    try:
        with Pushers(service, scope, seed) as pushers:
            pushers.wait_for_more(20)
            disk.fill()
            pushers.wait_for_refusals(BY_DATABASE, 20)
            service.await_readiness(503, "its disk is full")
            check_still_read(service, pushers)
            disk.free()
            check_works_again(service, place, pushers)
        check_refusals(pushers, "its disk is full")
        service.close()
    finally:
        stage.close()
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
        postgres.execute(f"DROP TABLESPACE {name}")


FULL_LOG = "SELECT pg_logical_emit_message(false, 'full', 'log'), pg_switch_wal()"


def fill_log(server: Postgres) -> None:
    """Let the log of a full disk need one more file than there are: the server panics."""
    with pytest.raises(RuntimeError, match=r"connection|PANIC"):  # noqa: PT012
        for _ in range(16):  # how many depends on the files made ahead
            server.execute(FULL_LOG)


@pytest.mark.parametrize("log_needs_room", [False, True], ids=["tables", "log"])
def test_a_server_whose_disk_is_full(
    stage: Stage, scope: Scope, seed: str, log_needs_room: bool, tally: Counter[str]
) -> None:
    """No room for tables or for the write-ahead log, where the server panics and perhaps ends:
    refused with a reason; with room again pushes go on, without a restart of the receiver."""
    with mounted(256 * MIB) as disk, serving(disk.path) as server:
        place = PostgresPlace(server, server.create_database())
        service = Service(stage, place.url)
        try:
            with Pushers(service, scope, seed) as pushers:
                pushers.wait_for_more(20)
                disk.fill()
                if log_needs_room:
                    fill_log(server)
                pushers.wait_for_refusals(BY_DATABASE, pushers.refused("") + 40)
                assert service.client.health() in STATUSES
                disk.free()
                tally["servers started anew"] += server.start_if_ended()
                check_works_again(service, place, pushers)
            reasons = ["its disk is full"]
            if log_needs_room:
                reasons += ["it cannot be reached", "it is shutting down, or ends connections"]
                assert any(pushers.refused(text) for text in reasons[1:]), pushers.refusals
            check_refusals(pushers, *reasons)
            service.close()
        finally:
            stage.close()
