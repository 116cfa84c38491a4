"""URLs of PostgreSQL mean here what they mean to psql."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from rig.postgres import Postgres, server_programs, serving
from rig.receiver import Command
from tortoise.connection import get_connection

from runmeter.receiver.store import connections
from runmeter.receiver.store.database import parse_database

ROLE, DATABASE, PASSWORD = "runs@srv", "my db/1", "p@ss/w:o#r?d%25 &=+é"
LOGIN = f"{quote(ROLE, safe='')}:{quote(PASSWORD, safe='')}"
NAME = quote(DATABASE, safe="")
ASKED = (
    "SELECT current_user, current_database(), current_setting('application_name') AS program, "
    "current_setting('search_path') AS path"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server with a role and a database whose names need escapes in a URL."""
    with serving() as server:
        server.create_user(f'"{ROLE}"', PASSWORD)
        server.execute(f'CREATE DATABASE "{DATABASE}" OWNER "{ROLE}"')
        yield server


@pytest.fixture
def place(server: Postgres) -> str:
    """Host and port of it."""
    return f"127.0.0.1:{server.port}"


def by_psql(url: str) -> list[str]:
    """Return who and where psql is with a URL, and its settings."""
    line = [server_programs() / "psql", url, "--no-psqlrc", "-At", f"--command={ASKED}"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n").split("|")


def by_receiver(url: str) -> list[str]:
    """Return the same of a receiver."""
    database = parse_database(url)

    async def ask() -> list[str]:
        await connections.migrate_database(database)
        async with connections.open_store(database):
            (row,) = await get_connection(connections.READING).execute_query_dict(ASKED)
            return [str(value) for value in row.values()]

    return asyncio.run(ask())


def closed_port() -> int:
    """Return a port that no program listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "url",
    [
        "postgres://LOGIN@PLACE/NAME",
        "postgresql://LOGIN@PLACE/NAME?connect_timeout=9&sslmode=prefer",
        "postgres://PLACE/NAME?user=ROLE&password=PASSWORD",
        "postgres://LOGIN@PLACE/?dbname=NAME",
        "postgres://LOGIN@/NAME?host=127.0.0.1&port=PORT",
        "postgres://LOGIN@/NAME?host=FOLDER&port=PORT",
        "postgres://LOGIN@QUOTED:PORT/NAME",
        "postgres://LOGIN@127.0.0.1:DEAD,PLACE/NAME?target_session_attrs=read-write",
    ],
)
def test_who_and_where(server: Postgres, place: str, url: str) -> None:
    """User, password, name, host and port are the same as psql's, wherever they stand."""
    folder = str(server.folder)
    for word, text in {
        "LOGIN": LOGIN,
        "PLACE": place,
        "PASSWORD": quote(PASSWORD, safe=""),
        "ROLE": quote(ROLE, safe=""),
        "NAME": NAME,
        "PORT": str(server.port),
        "DEAD": str(closed_port()),
        "FOLDER": quote(folder),
        "QUOTED": quote(folder, safe=""),
    }.items():
        url = url.replace(word, text)
    found = by_receiver(url)
    assert found[:2] == by_psql(url)[:2] == [ROLE, DATABASE]
    assert found[2] == "runmeter-receiver"


@pytest.mark.parametrize(
    "query",
    [
        "application_name=a+b%20c",
        "options=-c%20search_path%3Dpg_catalog,public%20-capplication_name%3Dx",
        "ssl=true&sslmode=disable&application_name=one&application_name=two",
    ],
)
def test_settings(place: str, query: str) -> None:
    """Settings reach the server as those of psql do."""
    url = f"postgres://{LOGIN}@{place}/{NAME}?{query}"
    if "application_name=" not in query:
        url += "&application_name=given"
    assert by_receiver(url) == by_psql(url)


def test_the_program(place: str, command: Command) -> None:
    """`receiver` takes such a URL, and does not show its secrets when it is refused."""
    url = f"postgres://{LOGIN}@{place}/{NAME}"
    assert command("migrate", f"--db={url}").returncode == 0
    refused = command("migrate", f"--db={url.replace(LOGIN, f'{LOGIN}x')}")
    assert refused.returncode == 1
    assert b"it refuses the receiver's login" in refused.stderr
    shown = refused.stderr + refused.stdout
    assert not any(
        secret.encode() in shown for secret in (PASSWORD, quote(PASSWORD, safe=""), "p@ss")
    )


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert"])
def test_a_file_that_is_not_there(place: str, command: Command, name: str, tmp_path: Path) -> None:
    """The sentence names the parameter; what is no certificate is said to be TLS's fault."""
    url = f"postgres://{LOGIN}@{place}/{NAME}?sslmode=require&{name}={tmp_path / 'file'}"
    done = command("migrate", f"--db={url}")
    assert done.returncode == 1
    assert f"the file that {name} names cannot be read".encode() in done.stderr
    (tmp_path / "file").write_text("no certificate\n")
    assert b"TLS fails: " in command("migrate", f"--db={url}").stderr
