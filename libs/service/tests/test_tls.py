"""Certificates: what is refused, and replacing one while serving."""

import datetime
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from rig.certificates import Files

from runmeter.service.errors import ConfigurationError
from runmeter.service.settings import Given, Setting
from runmeter.service.tls import Served, ServerTls, UnusableFile, load_client, server_tls

SETTINGS = tuple(
    Setting(f"--tls-{role}", f"X_TLS_{role.upper()}", "FILE", None, "A file.")
    for role in ("cert", "key", "client-ca")
)
NOW, DAY = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """A certificate authority of the tests."""
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    """A certificate of localhost and its key."""
    return Files.of(ca.issue_cert("localhost", not_after=NOW + 30 * DAY), tmp_path)


def loaded(flags: dict[str, str], for_grpc: bool = False) -> ServerTls | None:
    """Return the TLS settings of these flags."""
    return server_tls(Given(SETTINGS, flags, {}), for_grpc)


def refusal(flags: dict[str, str], for_grpc: bool = False) -> str:
    """Return the sentence that refuses these flags."""
    with pytest.raises(ConfigurationError) as caught:
        loaded(flags, for_grpc)
    return str(caught.value)


def test_good_files(files: Files) -> None:
    """A certificate and its key are accepted, with the expiry; the key is not shown."""
    assert loaded({}) is None
    found = loaded({**files.settings, "tls_client_ca": str(files.cert)})
    assert found is not None
    assert abs(found.expires_at_unix - (NOW + 30 * DAY).timestamp()) < 2
    assert "PRIVATE" not in repr(found)
    shown = load_client(str(files.cert), str(files.cert), str(files.key))
    assert "PRIVATE" not in repr(shown)
    assert load_client(str(files.cert), None, None).chain is None


def test_refused_files(files: Files, tmp_path: Path) -> None:
    """One sentence names flag and file, and what is wrong with it."""
    nothing, text, damaged = tmp_path / "nothing", tmp_path / "text", tmp_path / "damaged"
    text.write_text("no certificate")
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    chain = tmp_path / "chain"
    chain.write_bytes(files.cert.read_bytes() + damaged.read_bytes())
    for role, path, says in (
        ("cert", nothing, "cannot be read: No such file or directory"),
        ("cert", text, "holds no certificate in PEM form"),
        ("cert", chain, "holds a damaged certificate"),
        ("key", nothing, "cannot be read: No such file or directory"),
        ("key", tmp_path, "cannot be read: Is a directory"),
        ("key", text, "is not a private key in PEM form without passphrase"),
        ("key", files.cert, "is not a private key in PEM form without passphrase"),
        ("client_ca", nothing, "cannot be read: No such file or directory"),
        ("client_ca", text, "holds no certificate in PEM form"),
        ("client_ca", damaged, "holds a damaged certificate"),
    ):
        flag = f"--tls-{role.replace('_', '-')}"
        assert (
            refusal({**files.settings, f"tls_{role}": str(path)}) == f"{flag} {str(path)!r} {says}"
        )
        paths = {"ca": None, "cert": str(files.cert), "key": str(files.key)}
        with pytest.raises(UnusableFile, match=says) as caught:
            load_client(**{**paths, role.removeprefix("client_"): str(path)})
        assert caught.value.role == role.removeprefix("client_")


def test_missing_flags(files: Files) -> None:
    """Certificate and key need each other; a CA of clients needs both."""
    for name, other in (("tls_cert", "--tls-key"), ("tls_key", "--tls-cert")):
        assert refusal({name: files.settings[name]}).startswith(f"{other} is missing: TLS needs")
    assert refusal({"tls_client_ca": "x"}).startswith("--tls-cert is missing")


def test_another_key(files: Files) -> None:
    """A key of another certificate is refused."""
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(files.key)
    assert refusal(files.settings).endswith("is not the key of the certificate")


def test_expired(files: Files, ca: trustme.CA) -> None:
    """A certificate that has expired or is not valid yet is refused."""
    files.hold(ca.issue_cert("localhost", not_before=NOW - 2 * DAY, not_after=NOW - DAY))
    assert refusal(files.settings) == f"--tls-cert {str(files.cert)!r} has expired"
    files.hold(ca.issue_cert("localhost", not_before=NOW + DAY, not_after=NOW + 2 * DAY))
    assert "is not valid yet" in refusal(files.settings)


def test_a_key_with_a_passphrase(files: Files) -> None:
    """A key with a passphrase is refused without asking for it."""
    key = forms.load_pem_private_key(files.key.read_bytes(), None)
    locked = forms.BestAvailableEncryption(b"passphrase")
    files.key.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, locked))
    assert refusal(files.settings).endswith("without passphrase")


@pytest.mark.parametrize(
    ("make_key", "digest", "for_grpc"),
    [
        (lambda: rsa.generate_private_key(65537, 2048), SHA256(), True),
        (lambda: ec.generate_private_key(ec.SECP256R1()), SHA256(), True),
        (lambda: ec.generate_private_key(ec.SECP384R1()), SHA256(), True),
        (lambda: ec.generate_private_key(ec.SECP521R1()), SHA256(), False),
        (ed25519.Ed25519PrivateKey.generate, None, False),
        (ed448.Ed448PrivateKey.generate, None, False),
    ],
    ids=["RSA", "P-256", "P-384", "P-521", "Ed25519", "Ed448"],
)
def test_kinds_of_keys(
    tmp_path: Path, make_key: Callable[[], Any], digest: SHA256 | None, for_grpc: bool
) -> None:
    """All kinds are accepted for HTTPS; for gRPC only those that its clients support."""
    files, key = Files(tmp_path / "cert.pem", tmp_path / "key.pem"), make_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, digest)
    )
    files.cert.write_bytes(made.public_bytes(forms.Encoding.PEM))
    plain = forms.NoEncryption()
    files.key.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, plain))
    assert loaded(files.settings) is not None
    if for_grpc:
        assert loaded(files.settings, for_grpc=True) is not None
    else:
        assert "kind of key that no gRPC client supports" in refusal(files.settings, for_grpc=True)


def test_replaced_while_serving(files: Files, ca: trustme.CA) -> None:
    """Later connections get the new certificate, with and without a server name."""
    first = loaded(files.settings)
    assert first is not None
    served = Served(first)
    trusting = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    trusting.check_hostname = False

    def shown(name: str | None) -> str:
        ours, theirs = socket.socketpair()

        def serve() -> None:
            with served.context.wrap_socket(theirs, server_side=True):
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        with trusting.wrap_socket(ours, server_hostname=name) as connection:
            found: Any = connection.getpeercert()
        thread.join()
        return str(found["serialNumber"])

    before = shown(None)
    assert shown("localhost") == before
    files.hold(ca.issue_cert("localhost"))
    second = loaded(files.settings)
    assert second is not None
    served.replace(second)
    assert shown(None) == shown("localhost") != before
