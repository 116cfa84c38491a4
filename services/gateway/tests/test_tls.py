"""Certificates for clients and for the receiver, and new ones while serving."""

import datetime
import re
import signal
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
from rig.certificates import Files, ca_file, chain
from rig.gateway import HEADERS, RUNS, TOKEN

from runmeter.gateway.config import load
from runmeter.service.errors import ConfigurationError


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """A certificate authority of the tests."""
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    """A certificate of this machine and its key."""
    return Files.of(ca.issue_cert("localhost", "127.0.0.1"), tmp_path)


def trusting(ca: trustme.CA, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """Return the TLS settings of a client that trusts this CA, with a certificate or without."""
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    if client is not None:
        client.configure_cert(context)
    return context


def health(program: Any, context: ssl.SSLContext) -> httpx.Response:
    """Ask over a new connection."""
    return httpx.get(f"{program.url}/health", verify=context, timeout=20, trust_env=False)


def shown(program: Any, ca: trustme.CA, host: str = "127.0.0.1") -> int:
    """Return the serial number of the certificate that a new connection gets."""
    url = program.url.replace("127.0.0.1", host)
    with (
        httpx.Client(verify=trusting(ca), trust_env=False) as client,
        client.stream("GET", f"{url}/health") as response,
    ):
        encrypted = response.extensions["network_stream"].get_extra_info("ssl_object")
        return int(encrypted.getpeercert()["serialNumber"], 16)


def hang_up(program: Any, event: str) -> dict[str, Any]:
    """Send SIGHUP; return the log line."""
    program.signal(signal.SIGHUP)
    found: dict[str, Any] = program.event(event)
    return found


# -- towards clients ----------------------------------------------------------------------


def test_https(start: Any, own_double: Any, files: Files, ca: trustme.CA, golden_run: Any) -> None:
    """Clients that trust the CA are served, with pushes and listings; HTTP without TLS is not."""
    program = start(*files.flags(), f"--receiver=grpc://127.0.0.1:{own_double.port}")
    assert program.url.startswith("https://")
    with httpx.Client(base_url=program.url, verify=trusting(ca), trust_env=False) as client:
        answer = client.post("/api/v1/metrics", json=golden_run, headers=HEADERS)
        assert answer.status_code == 201
        listed = client.get(RUNS, headers=HEADERS)
        assert (listed.status_code, listed.text) == (200, "[]")
        assert listed.headers["strict-transport-security"] == "max-age=31536000"
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        health(program, trusting(trustme.CA()))
    with pytest.raises(httpx.TransportError):
        httpx.get(program.url.replace("https", "http"), trust_env=False)
    assert httpx.get(f"{program.ops_url}/healthz", trust_env=False).status_code == 200
    program.signal()
    assert program.wait() == 0


def test_client_certificates(start: Any, files: Files, ca: trustme.CA, tmp_path: Path) -> None:
    """With --tls-client-ca only clients with a certificate of that CA are served; another CA in
    its file counts from SIGHUP on."""
    clients, later = trustme.CA(), trustme.CA()
    path = ca_file(clients, tmp_path / "clients.pem")
    program = start(*files.flags(), f"--tls-client-ca={path}")
    for stranger in (trusting(ca), trusting(ca, ca.issue_cert("a-client"))):
        with pytest.raises(httpx.TransportError):
            health(program, stranger)
    known = clients.issue_cert("a-client")
    assert health(program, trusting(ca, known)).status_code == 200
    later.cert_pem.write_to_path(path)
    assert health(program, trusting(ca, known)).status_code == 200
    assert hang_up(program, "certificates.reread")["changed"] == ["tls"]
    with pytest.raises(httpx.TransportError):
        health(program, trusting(ca, known))
    assert health(program, trusting(ca, later.issue_cert("a-client"))).status_code == 200


def test_new_certificate_at_a_hangup(start: Any, files: Files, ca: trustme.CA) -> None:
    """SIGHUP: new connections get the new certificate; a bad one changes nothing."""
    program = start(*files.flags())
    with httpx.Client(base_url=program.url, verify=trusting(ca), trust_env=False) as client:
        assert client.get("/health").status_code == 200
        first = shown(program, ca)
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
        files.hold(ca.issue_cert("localhost", "127.0.0.1", not_after=later))
        assert shown(program, ca) == first
        assert hang_up(program, "certificates.reread")["changed"] == ["tls"]
        second = shown(program, ca)
        assert second == shown(program, ca, "localhost")  # asked for by name, too
        assert second != first
        text = httpx.get(f"{program.ops_url}/metrics", trust_env=False).text
        name = "runmeter_gateway_tls_certificate_expiry_timestamp_seconds"
        (expiry,) = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert abs(float(expiry) - later.timestamp()) < 2
        ca.issue_cert("localhost").private_key_pem.write_to_path(files.key)
        kept = hang_up(program, "certificates.kept")
        assert kept["level"] == "error"
        assert kept["reason"] == f"--tls-key '{files.key}' is not the key of the certificate"
        assert shown(program, ca) == second
        assert client.get("/health").status_code == 200


def test_hangup_without_certificates(start: Any) -> None:
    """SIGHUP ends nothing."""
    program = start()
    assert hang_up(program, "certificates.reread")["changed"] == []
    assert httpx.get(f"{program.url}/health", trust_env=False).status_code == 200


# -- towards the receiver -----------------------------------------------------------------


def listing(program: Any) -> int:
    """Ask for runs; return the status."""
    url = program.url + RUNS
    return httpx.get(url, headers=HEADERS, timeout=20, trust_env=False).status_code


def test_receiver_over_tls(
    start: Any, secure_double: Callable[..., Any], ca: trustme.CA, tmp_path: Path
) -> None:
    """A receiver with a certificate of the CA is used; another is unavailable, and no secret
    reaches it.
    """
    server = ca.issue_cert("127.0.0.1")
    double = secure_double(
        grpc.ssl_server_credentials([(server.private_key_pem.bytes(), chain(server))])
    )
    receiver = f"--receiver=grpcs://127.0.0.1:{double.port}"
    good = start(receiver, f"--receiver-tls-ca={ca_file(ca, tmp_path / 'ca.pem')}")
    assert listing(good) == 200
    assert double.call().metadata["authorization"] == f"Bearer {TOKEN}"
    assert httpx.get(f"{good.ops_url}/readyz", trust_env=False).status_code == 200
    other = ca_file(trustme.CA(), tmp_path / "other.pem")
    clear = f"--receiver=grpc://127.0.0.1:{double.port}"
    for flags in ([receiver, f"--receiver-tls-ca={other}"], [receiver], [clear]):
        program = start(*flags)
        assert listing(program) == 503
        assert httpx.get(f"{program.ops_url}/readyz", trust_env=False).status_code == 503
        assert program.event("receiver.lost")["code"] == "UNAVAILABLE"
        assert [line for line in program.lines if not line.startswith("{")] == []
    assert double.calls.empty()


def test_certificate_for_the_receiver(
    start: Any, secure_double: Callable[..., Any], ca: trustme.CA, files: Files, tmp_path: Path
) -> None:
    """A receiver that asks for certificates gets ours; one of another CA is refused; SIGHUP
    changes it while a call runs.
    """
    server, clients = ca.issue_cert("127.0.0.1"), trustme.CA()
    double = secure_double(
        grpc.ssl_server_credentials(
            [(server.private_key_pem.bytes(), chain(server))],
            clients.cert_pem.bytes(),
            require_client_auth=True,
        )
    )
    program = start(
        f"--receiver=grpcs://127.0.0.1:{double.port}",
        f"--receiver-tls-ca={ca_file(ca, tmp_path / 'ca.pem')}",
        *files.flags("receiver-"),
    )
    assert listing(program) == 503
    files.hold(clients.issue_cert("gateway"))
    assert hang_up(program, "certificates.reread")["changed"] == ["receiver_tls"]
    assert listing(program) == 200
    open_gate, gate = double.gate()
    double.listing = double.streams([], then=gate)
    double.call()
    with httpx.Client(base_url=program.url, timeout=20, trust_env=False) as client:
        statuses: list[int] = []
        asking = threading.Thread(
            target=lambda: statuses.append(client.get(RUNS, headers=HEADERS).status_code)
        )
        asking.start()
        double.call()
        files.hold(clients.issue_cert("gateway"))
        assert hang_up(program, "certificates.reread")["changed"] == ["receiver_tls"]
        open_gate()
        asking.join(20)
        assert statuses == [200]
    program.signal()
    assert program.wait() == 0


# -- files --------------------------------------------------------------------------------


def refusal(flags: dict[str, Any]) -> str:
    """Return the sentence that refuses the settings."""
    with pytest.raises(ConfigurationError) as caught:
        load(flags, {})
    return str(caught.value)


@pytest.mark.parametrize("name", ["receiver_tls_ca", "receiver_tls_cert", "receiver_tls_key"])
def test_files_that_cannot_be_used(files: Files, tmp_path: Path, name: str) -> None:
    """One sentence names flag and file, and what is wrong with it; a key needs its certificate."""
    good = {
        "receiver": "grpcs://127.0.0.1:1",
        "receiver_tls_cert": str(files.cert),
        "receiver_tls_key": str(files.key),
    }
    load(good, {})
    path = str(tmp_path / "nothing")
    said = f"--{name.replace('_', '-')} {path!r} cannot be read: No such file or directory"
    assert refusal({**good, name: path}) == said
    if name != "receiver_tls_ca":
        del good[name]
        assert f"--{name.replace('_', '-')} is missing" in refusal(good)


def test_certificates_that_nothing_uses(files: Files) -> None:
    """Certificates for a receiver without TLS are refused."""
    assert refusal({"receiver_tls_ca": str(files.cert)}) == (
        "--receiver-tls-ca needs TLS, but --receiver is not grpcs://host:port"
    )
