"""Certificates: read and checked before serving, and replaced while serving.

::

    tls = server_tls(given)  # of --tls-cert, --tls-key, --tls-client-ca; None: no TLS
    served = Served(tls)  # served.context for a listening server
    served.replace(fresh)  # for connections from now on

Python's ssl has no parser of certificates, but it can make a handshake in memory: that shows
whether key and certificate belong together, and a client that trusts this very certificate says
whether it is valid today.
"""

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from runmeter.service.errors import ConfigurationError
from runmeter.service.settings import Given

_ROLES = ("cert", "key", "client_ca")
_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# of a public key in DER: what gRPC's clients take of those that OpenSSL takes
_EC_KEY = bytes.fromhex("06072a8648ce3d0201")
_EC_CURVES = (bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06052b81040022"))
_EDWARDS_KEYS = (
    bytes.fromhex("302a300506032b6570032100"),
    bytes.fromhex("3043300506032b6571033a00"),
)


class ServerTls(NamedTuple):
    """The certificate chain of a server, PEM, leaf first, its key, and the CAs of its clients."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
    expires_at_unix: float

    def __repr__(self) -> str:
        """Show no key."""
        return f"ServerTls(expires_at_unix={self.expires_at_unix})"


class ClientTls(NamedTuple):
    """How to connect, PEM: CAs (None: the system's), and a chain and key to show, if any."""

    ca: bytes | None
    chain: bytes | None
    key: bytes | None

    def __repr__(self) -> str:
        """Show no key."""
        return f"ClientTls(shows_certificate={self.chain is not None})"


class UnusableFile(Exception):
    """A file cannot be used. ``role`` is cert, key, ca or client_ca; the text follows its name."""

    def __init__(self, role: str, reason: str) -> None:
        super().__init__(reason)
        self.role = role


def server_tls(given: Given, for_grpc: bool = False) -> ServerTls | None:
    """Read and check the files of ``--tls-cert``, ``--tls-key`` and ``--tls-client-ca``.

    ``for_grpc``: the key must be of a kind that gRPC's clients support.

    Raises:
        ConfigurationError: a flag is missing, or a file cannot be used.
    """
    cert, key, client_ca = (given.maybe(f"tls_{role}", str) for role in _ROLES)
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        missing = "--tls-cert" if cert is None else "--tls-key"
        raise ConfigurationError(
            f"{missing} is missing: TLS needs --tls-cert and --tls-key, and may have "
            "--tls-client-ca"
        )
    try:
        return load_server(cert, key, client_ca, for_grpc)
    except UnusableFile as error:
        given.refuse(f"tls_{error.role}", str(error), error)


def load_server(cert: str, key: str, client_ca: str | None, for_grpc: bool = False) -> ServerTls:
    """Read and check the files at these paths.

    Raises:
        UnusableFile: the first one that cannot be used.
    """
    chain, key_pem = _read("cert", cert), _read("key", key)
    ca = None if client_ca is None else _read("client_ca", client_ca)
    _check_certificates("cert", chain)
    if ca is not None:
        _check_certificates("client_ca", ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _use_pair(context, chain, key_pem)
    if for_grpc:
        _check_key(chain)
    return ServerTls(chain, key_pem, ca, _expiry(context, chain))


def load_client(ca: str | None, cert: str | None, key: str | None) -> ClientTls:
    """Read and check the files at these paths; ``cert`` and ``key`` are both there or neither.

    Raises:
        UnusableFile: the first one that cannot be used.
    """
    ca_pem = None if ca is None else _read("ca", ca)
    if ca_pem is not None:
        _check_certificates("ca", ca_pem)
    if cert is None or key is None:
        return ClientTls(ca_pem, None, None)
    chain, key_pem = _read("cert", cert), _read("key", key)
    _check_certificates("cert", chain)
    _use_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), chain, key_pem)
    return ClientTls(ca_pem, chain, key_pem)


class Served:
    """The certificate that an HTTPS server shows, which may be replaced while it listens."""

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
        reason = getattr(error, "strerror", None) or "it is not a valid path"
        raise UnusableFile(role, f"cannot be read: {reason}") from error


def _check_certificates(role: str, pem: bytes) -> None:
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
    """Load a chain and its key from the bytes that were checked, not from the files."""
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
        raise UnusableFile("key", "is not a private key in PEM form without passphrase") from error


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """Yield a path at which OpenSSL, which reads files only, finds these bytes; not on a disk."""
    with open(os.memfd_create("pem"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _expiry(server_context: ssl.SSLContext, chain: bytes) -> float:
    """Connect a client that trusts this certificate alone; return when it expires, unix time."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client_context.load_verify_locations(cadata=_leaf(chain))
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


def _leaf(chain: bytes) -> str:
    found: bytes = _PEM.findall(chain)[0]
    return found.decode("ascii")


def _check_key(chain: bytes) -> None:
    der = ssl.PEM_cert_to_DER_cert(_leaf(chain))
    _, is_ec, rest = der.partition(_EC_KEY)
    if any(key in der for key in _EDWARDS_KEYS) or (is_ec and not rest.startswith(_EC_CURVES)):
        raise UnusableFile(
            "cert",
            "has a kind of key that no gRPC client supports: use RSA, or EC with P-256 or P-384",
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
        return "is not valid yet; check the clock of this machine"
    return f"is refused by clients: {error.verify_message}"
