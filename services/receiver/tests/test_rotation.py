"""Certificates, and secrets and certificates that change while the receiver serves."""

import datetime
import re
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rig.certificates import Files, ca_file, chain
from rig.receiver import HMAC_KEY, code

from runmeter.receiver import events
from runmeter.receiver.tokens import Keyring
from runmeter.receiver.wire import reading
from runmeter.v1 import run_pb2

Code = grpc.StatusCode
SECRETS = {"RECEIVER_READ_TOKEN": "rt", "RECEIVER_HMAC_KEY": "k" * 16}


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """A certificate authority of the tests."""
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    """A certificate of localhost and its key."""
    return Files.of(ca.issue_cert("localhost", "127.0.0.1"), tmp_path)


def channel(receiver: Any, ca: trustme.CA, client: trustme.LeafCert | None = None) -> grpc.Channel:
    """Return a new connection that trusts this CA, with a certificate of its own or without."""
    credentials = grpc.ssl_channel_credentials(
        ca.cert_pem.bytes(),
        client and client.private_key_pem.bytes(),
        client and chain(client),
    )
    # a pool of its own: an open connection would not show a new certificate
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.secure_channel(receiver.address, credentials, options)


def shown(receiver: Any, ca: trustme.CA) -> int:
    """Return the serial number of the certificate that a new connection is shown."""
    host, _, port = receiver.address.rpartition(":")
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        found: Any = encrypted.getpeercert()
        return int(found["serialNumber"], 16)


def expiry(receiver: Any) -> float:
    """Return the expiry that /metrics shows."""
    text = httpx.get(f"{receiver.ops_url}/metrics", trust_env=False).text
    name = "runmeter_receiver_tls_certificate_expiry_timestamp_seconds"
    (found,) = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found)


def hang_up(receiver: Any, event: str) -> dict[str, Any]:
    """Send SIGHUP; return what is logged."""
    receiver.process.send_signal(signal.SIGHUP)
    return receiver.wait_for(event)


# -- TLS ----------------------------------------------------------------------------------


def test_tls(
    start_receiver: Callable[..., Any], files: Files, ca: trustme.CA, message: run_pb2.Run
) -> None:
    """A client that trusts the CA can call; another one, or one without TLS, cannot."""
    receiver = start_receiver(*files.flags())
    in_the_clear = receiver.channel
    assert code(lambda: receiver.push(message)) is Code.UNAVAILABLE
    in_the_clear.close()
    with channel(receiver, trustme.CA()) as distrustful:
        receiver.use(distrustful)
        assert code(lambda: receiver.push(message)) is Code.UNAVAILABLE
    receiver.use(channel(receiver, ca))
    assert receiver.push(message).id == 1
    assert httpx.get(f"{receiver.ops_url}/readyz", trust_env=False).status_code == 200
    assert receiver.end() == 0
    assert [line for line in receiver.output if not line.startswith("{")] == []


def test_mutual_tls(
    start_receiver: Callable[..., Any],
    files: Files,
    ca: trustme.CA,
    tmp_path: Path,
    message: run_pb2.Run,
) -> None:
    """With --tls-client-ca only clients with a certificate of that CA can call."""
    clients = trustme.CA()
    flag = f"--tls-client-ca={ca_file(clients, tmp_path / 'clients.pem')}"
    receiver = start_receiver(*files.flags(), flag)
    receiver.channel.close()
    for certificate in (None, ca.issue_cert("a-client")):
        with channel(receiver, ca, certificate) as stranger:
            receiver.use(stranger)
            assert code(lambda: receiver.push(message)) is Code.UNAVAILABLE
    receiver.use(channel(receiver, ca, clients.issue_cert("a-client")))
    assert receiver.push(message).id == 1


def test_new_certificates_at_a_hangup(
    start_receiver: Callable[..., Any], files: Files, ca: trustme.CA, message: run_pb2.Run
) -> None:
    """SIGHUP: new connections see the new one, an open one goes on, a bad one changes nothing."""
    receiver = start_receiver(*files.flags())
    receiver.channel.close()
    receiver.use(channel(receiver, ca))
    assert receiver.push(message).id == 1
    first = shown(receiver, ca)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
    files.hold(ca.issue_cert("localhost", not_after=later))
    assert shown(receiver, ca) == first
    assert hang_up(receiver, events.SECRETS_REREAD)["changed"] == ["certificates"]
    second = shown(receiver, ca)
    assert second != first
    assert abs(expiry(receiver) - later.timestamp()) < 2
    assert receiver.push(message).duplicate is True
    ca.issue_cert("localhost").private_key_pem.write_to_path(files.key)
    kept = hang_up(receiver, events.SECRETS_KEPT)
    assert kept["level"] == "error"
    assert kept["reason"] == f"--tls-key '{files.key}' is not the key of the certificate"
    assert shown(receiver, ca) == second
    assert receiver.push(message).duplicate is True


@pytest.mark.parametrize(
    "make_key",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["RSA", "P-256", "P-384"],
)
def test_kinds_of_keys(
    start_receiver: Callable[..., Any], tmp_path: Path, make_key: Callable[[], Any]
) -> None:
    """A certificate that passes is one that clients of gRPC take."""
    files, key = Files(tmp_path / "cert.pem", tmp_path / "key.pem"), make_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    files.cert.write_bytes(made.public_bytes(forms.Encoding.PEM))
    plain = forms.NoEncryption()
    files.key.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, plain))
    receiver = start_receiver(*files.flags(), "--addr=localhost:0")
    credentials = grpc.ssl_channel_credentials(files.cert.read_bytes())
    with grpc.secure_channel(receiver.address, credentials) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=30
        )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


# -- secrets ------------------------------------------------------------------------------


@pytest.fixture
def secret_files(tmp_path: Path) -> dict[str, Path]:
    """Files with a read token and an HMAC key."""
    found = {"read-token": tmp_path / "read-token", "hmac-key": tmp_path / "hmac-keys"}
    found["read-token"].write_text("the-first-read-token\n")
    found["hmac-key"].write_text(f"{HMAC_KEY}\n")
    return found


def test_rotation(
    start_receiver: Callable[..., Any], secret_files: dict[str, Path], message: run_pb2.Run
) -> None:
    """The first key makes tokens; a token is valid until its key is removed.

    The read token changes with it, and a file that cannot be used changes nothing.
    """
    flags = [f"--{name}-file={path}" for name, path in secret_files.items()]
    receiver = start_receiver(*flags, RECEIVER_READ_TOKEN="", RECEIVER_HMAC_KEY="")
    scope = reading.scope_from_wire(message.scope, "scope")
    old, new = Keyring([HMAC_KEY]).mint(scope), Keyring(["another-hmac-key-of-16"]).mint(scope)
    assert receiver.push(message, old).id == 1
    assert code(lambda: receiver.push(message, new)) is Code.PERMISSION_DENIED

    secret_files["hmac-key"].write_text(f"another-hmac-key-of-16\n{HMAC_KEY}\n")
    assert hang_up(receiver, events.SECRETS_REREAD)["changed"] == ["hmac_keys"]
    for token in (old, new):
        assert receiver.push(message, token).id == 1
    assert receiver.push_token(message.scope, "the-first-read-token") == new

    secret_files["hmac-key"].write_text("another-hmac-key-of-16\n\n")
    secret_files["read-token"].write_text("the-second-read-token\n")
    kept = hang_up(receiver, events.SECRETS_KEPT)
    assert "key 2 is empty" in kept["reason"]
    assert receiver.push(message, old).id == 1
    assert receiver.push_token(message.scope, "the-first-read-token") == new

    secret_files["hmac-key"].write_text("another-hmac-key-of-16\n")
    reread = hang_up(receiver, events.SECRETS_REREAD)
    assert reread["changed"] == ["read_token", "hmac_keys"]
    assert code(lambda: receiver.push(message, old)) is Code.PERMISSION_DENIED
    assert receiver.push(message, new).id == 1
    assert receiver.push_token(message.scope, "the-second-read-token") == new
    gone = code(lambda: receiver.push_token(message.scope, "the-first-read-token"))
    assert gone is Code.UNAUTHENTICATED

    assert hang_up(receiver, events.SECRETS_REREAD)["changed"] == []
    assert receiver.end() == 0
    text = "".join(receiver.output)
    for secret in ("first-read", "second-read", "another-hmac", old, new):
        assert secret not in text


def test_a_short_key_is_warned_about_when_it_comes(
    start_receiver: Callable[..., Any], secret_files: dict[str, Path]
) -> None:
    """A key under 16 bytes is also logged when SIGHUP reads it."""
    flag = f"--hmac-key-file={secret_files['hmac-key']}"
    receiver = start_receiver(flag, RECEIVER_HMAC_KEY="")
    secret_files["hmac-key"].write_text("short\n")
    assert hang_up(receiver, events.KEY_FOUND_SHORT)["position"] == 1
    assert receiver.wait_for(events.SECRETS_REREAD)["changed"] == ["hmac_keys"]
