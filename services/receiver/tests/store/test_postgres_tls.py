"""TLS between receiver and PostgreSQL, as the URL and libpq's variables ask for it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from rig.postgres import Postgres, serving
from tortoise.connection import get_connection

from runmeter.receiver.errors import DatabaseUnusable
from runmeter.receiver.store import connections
from runmeter.receiver.store.database import parse_database

CA = trustme.CA()
USED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL with a certificate for `localhost` alone."""
    made = CA.issue_cert("localhost")
    pair = (made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes())
    with serving(certificate=pair) as running:
        yield running


def _is_encrypted(url: str) -> bool:
    database = parse_database(url)

    async def ask() -> bool:
        await connections.migrate_database(database)
        async with connections.open_store(database):
            rows = await get_connection(connections.WRITING).execute_query_dict(USED)
            return bool(rows[0]["ssl"])

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("query", "encrypted"),
    [("", True), ("?sslmode=disable", False), ("?sslmode=require", True)],
)
def test_modes(server: Postgres, query: str, encrypted: bool) -> None:
    """By default it is encrypted where the server can; sslmode decides."""
    assert _is_encrypted(server.create_database() + query) is encrypted


def test_verification(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify-full` trusts PGSSLROOTCERT alone, and the name in the URL has to be the server's."""
    url = f"{server.create_database().replace('127.0.0.1', 'localhost')}?sslmode=verify-full"
    theirs, others = tmp_path / "ca.pem", tmp_path / "others.pem"
    CA.cert_pem.write_to_path(theirs)
    trustme.CA().cert_pem.write_to_path(others)
    monkeypatch.setenv("PGSSLROOTCERT", str(theirs))
    assert _is_encrypted(url)
    with pytest.raises(DatabaseUnusable, match=r"not trusted: .*PGSSLROOTCERT"):
        _is_encrypted(url.replace("localhost", "127.0.0.1"))
    monkeypatch.setenv("PGSSLROOTCERT", str(others))
    with pytest.raises(DatabaseUnusable, match=r"not trusted: .*PGSSLROOTCERT"):
        _is_encrypted(url)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """If the server does not speak TLS, the sentence says so and names the mode."""
    ca = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(ca)
    monkeypatch.setenv("PGSSLROOTCERT", str(ca))
    with pytest.raises(DatabaseUnusable) as caught:
        _is_encrypted(f"{postgres.create_database()}?sslmode={mode}")
    assert caught.value.reason == (f"the server does not speak TLS, which sslmode={mode} asks for")


def test_a_ca_that_is_not_there(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no file of CAs is named, and none lies in its usual place, the variable is."""
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DatabaseUnusable, match=r"root\.crt.* does not exist.*PGSSLROOTCERT"):
        _is_encrypted(f"{postgres.create_database()}?sslmode=verify-full")
