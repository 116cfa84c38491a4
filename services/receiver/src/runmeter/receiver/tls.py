"""Certificates: read them, and find out before serving whether they will do.

Python's ssl has no parser of certificates but it can shake hands with itself: that shows whether
key and certificate belong together, and a client that trusts this very certificate says whether
it is valid today.
"""

import re
import ssl
from pathlib import Path
from typing import Any, NamedTuple

_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# of a public key in DER: what gRPC's clients take of those that OpenSSL takes
_EC_KEY = bytes.fromhex("06072a8648ce3d0201")
_EC_CURVES = (bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06052b81040022"))
_EDWARDS_KEYS = (
    bytes.fromhex("302a300506032b6570032100"),
    bytes.fromhex("3043300506032b6571033a00"),
)


class Tls(NamedTuple):
    """What the server shows, PEM: its chain, leaf first, and key; what it asks of clients."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
    expires_at_unix: float

    def __repr__(self) -> str:
        """Show no key."""
        return f"Tls(expires_at_unix={self.expires_at_unix})"


class UnusableFile(Exception):
    """A file will not do. `role` is cert, key or client_ca; the text goes behind its name."""

    def __init__(self, role: str, reason: str) -> None:
        super().__init__(reason)
        self.role = role


def load_tls(cert: str, key: str, client_ca: str | None) -> Tls:
    """Read and check the files at these paths.

    Raises:
        UnusableFile: the first one that will not do.
    """
    contents = _contents(cert, key, client_ca)
    _check_certificates("cert", contents[0])
    if contents[2] is not None:
        _check_certificates("client_ca", contents[2])
    expires_at_unix = _shake_hands(_server_context(cert, key), contents[0])
    if _contents(cert, key, client_ca) != contents:
        raise UnusableFile("cert", "or one that belongs to it was changed while it was read")
    return Tls(*contents, expires_at_unix)


def _contents(cert: str, key: str, client_ca: str | None) -> tuple[bytes, bytes, bytes | None]:
    return (
        _read("cert", cert),
        _read("key", key),
        None if client_ca is None else _read("client_ca", client_ca),
    )


def _read(role: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        raise UnusableFile(role, f"cannot be read: {reason}") from error


def _check_certificates(role: str, pem: bytes) -> None:
    found = _PEM.findall(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=b"\n".join(found).decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        reason = "holds a damaged certificate" if found else "holds no certificate in PEM form"
        raise UnusableFile(role, reason) from error


def _server_context(cert: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # without a passphrase at hand OpenSSL would ask for one at the terminal
        context.load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError as error:
        reason = error.reason or ""
        if "MISMATCH" in reason:
            raise UnusableFile("key", "is not the key of the certificate") from error
        if "TOO_SMALL" in reason or "TOO_WEAK" in reason:
            raise UnusableFile("cert", "is too weak: its key or digest is too small") from error
        raise UnusableFile("key", "is no private key in PEM form without passphrase") from error
    return context


def _shake_hands(server_context: ssl.SSLContext, chain: bytes) -> float:
    """Connect a client that trusts this certificate alone; return when it expires, unix time.

    That its key is of a kind that gRPC takes is looked up: OpenSSL takes more.
    """
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        leaf = _PEM.findall(chain)[0].decode("ascii")
        _check_key(ssl.PEM_cert_to_DER_cert(leaf))
        client_context.load_verify_locations(cadata=leaf)
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context.wrap_bio(to_client, to_server)
        server = server_context.wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server, client, server):
            _step(side)
        found: Any = client.getpeercert()
        return float(ssl.cert_time_to_seconds(found["notAfter"]))
    except ssl.SSLCertVerificationError as error:
        raise UnusableFile("cert", _invalid(error)) from error
    except (ssl.SSLError, ValueError) as error:
        raise UnusableFile("cert", "cannot be used by a TLS server") from error


def _check_key(der: bytes) -> None:
    _, is_ec, rest = der.partition(_EC_KEY)
    if any(key in der for key in _EDWARDS_KEYS) or (is_ec and not rest.startswith(_EC_CURVES)):
        raise UnusableFile(
            "cert",
            "has a kind of key that no gRPC client takes: use RSA, or EC with P-256 or P-384",
        )


def _step(side: ssl.SSLObject) -> None:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return


def _invalid(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return "has expired"
    if error.verify_code == _NOT_YET:
        return "is not valid yet; is the clock of this machine right?"
    return f"is refused by clients: {error.verify_message}"
