"""Certificates: read them, and find out before serving whether they will do.

Python's ssl has no parser of certificates but it can shake hands with itself: that shows whether
key and certificate belong together, and a client that trusts this very certificate says whether
it is valid today.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class ServerTls(NamedTuple):
    """What clients are shown, PEM: the chain, leaf first, and its key; what is asked of them."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
    expires_at_unix: float

    def __repr__(self) -> str:
        """Show no key."""
        return f"ServerTls(expires_at_unix={self.expires_at_unix})"


class ClientTls(NamedTuple):
    """How the receiver is met, PEM: CAs (None: the system's), and our own chain and key if any."""

    ca: bytes | None
    chain: bytes | None
    key: bytes | None

    def __repr__(self) -> str:
        """Show no key."""
        return f"ClientTls(shows_certificate={self.chain is not None})"


class UnusableFile(Exception):
    """A file will not do. ``role`` is cert, key, ca or client_ca; the text goes behind its name."""

    def __init__(self, role: str, reason: str) -> None:
        super().__init__(reason)
        self.role = role


def load_server(cert: str, key: str, client_ca: str | None) -> ServerTls:
    """Read and check the files at these paths.

    Raises:
        UnusableFile: the first one that will not do.
    """
    chain, key_pem = _read("cert", cert), _read("key", key)
    ca = None if client_ca is None else _read("client_ca", client_ca)
    if ca is not None:
        _check_ca("client_ca", ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _use_pair(context, chain, key_pem)
    return ServerTls(chain, key_pem, ca, _shake_hands(context, chain))


def load_client(ca: str | None, cert: str | None, key: str | None) -> ClientTls:
    """Read and check the files at these paths; ``cert`` and ``key`` are both there or neither.

    Raises:
        UnusableFile: the first one that will not do.
    """
    ca_pem = None if ca is None else _read("ca", ca)
    if ca_pem is not None:
        _check_ca("ca", ca_pem)
    if cert is None or key is None:
        return ClientTls(ca_pem, None, None)
    chain, key_pem = _read("cert", cert), _read("key", key)
    _use_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), chain, key_pem)
    return ClientTls(ca_pem, chain, key_pem)


class Served:
    """The certificate that a listening server shows, which may be replaced while it listens."""

    def __init__(self, tls: ServerTls) -> None:
        self._current = _server_context(tls)
        self.context = _server_context(tls)
        """For the listening server; each connection takes the current one in its place."""
        self.context.sni_callback = self._choose

    def replace(self, tls: ServerTls) -> None:
        """Show this one, and ask clients for one of its CAs, from the next connection on."""
        self._current = _server_context(tls)

    def _choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        # OpenSSL asks this of every connection, with or without a name
        connection.context = self._current


def _server_context(tls: ServerTls) -> ssl.SSLContext:
    """TLS 1.2 and newer, HTTP/1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=_certificates(tls.client_ca))
        # a session that is taken up again shows no certificate: a CA could not be withdrawn
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    _use_pair(context, tls.chain, tls.key)
    return context


def _read(role: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        raise UnusableFile(role, f"cannot be read: {reason}") from error


def _check_ca(role: str, pem: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=_certificates(pem))
    except (ssl.SSLError, ValueError) as error:
        found = _PEM.search(pem)
        reason = "holds a damaged certificate" if found else "holds no certificate in PEM form"
        raise UnusableFile(role, reason) from error


def _certificates(pem: bytes) -> str:
    return b"\n".join(_PEM.findall(pem)).decode("ascii")


def _use_pair(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Load a chain and its key; what was checked, not what the files hold by now."""
    if not _PEM.search(chain):
        raise UnusableFile("cert", "holds no certificate in PEM form")
    try:
        with _file_of(chain) as chain_path, _file_of(key) as key_path:
            # without a passphrase at hand OpenSSL would ask for one at the terminal
            context.load_cert_chain(chain_path, key_path, password=lambda: "")
    except ssl.SSLError as error:
        reason = error.reason or ""
        if "MISMATCH" in reason:
            raise UnusableFile("key", "is not the key of the certificate") from error
        if "TOO_SMALL" in reason or "TOO_WEAK" in reason:
            raise UnusableFile("cert", "is too weak: its key or digest is too small") from error
        raise UnusableFile("key", "is no private key in PEM form without passphrase") from error


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """A path at which OpenSSL, which reads files only, finds these bytes; never on a disk."""
    with open(os.memfd_create("pem"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _shake_hands(server_context: ssl.SSLContext, chain: bytes) -> float:
    """Connect a client that trusts this certificate alone; return when it expires, unix time."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        leaf = _PEM.findall(chain)[0].decode("ascii")
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
