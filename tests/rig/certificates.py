"""Certificates of tests, in files."""

from pathlib import Path
from typing import NamedTuple

import trustme


def chain(made: trustme.LeafCert) -> bytes:
    """Return a certificate and its chain."""
    return b"".join(pem.bytes() for pem in made.cert_chain_pems)


def ca_file(ca: trustme.CA, path: Path) -> Path:
    """Write the CA's certificate to a file."""
    ca.cert_pem.write_to_path(path)
    return path


class Files(NamedTuple):
    """Paths of a certificate and its key."""

    cert: Path
    key: Path

    @classmethod
    def of(cls, made: trustme.LeafCert, folder: Path) -> "Files":
        """Write a certificate into a folder."""
        found = cls(folder / "server.pem", folder / "server.key")
        found.hold(made)
        return found

    def flags(self, prefix: str = "") -> tuple[str, str]:
        """Return the flags that name them."""
        return f"--{prefix}tls-cert={self.cert}", f"--{prefix}tls-key={self.key}"

    @property
    def settings(self) -> dict[str, str]:
        """Their paths by name of the setting."""
        return {"tls_cert": str(self.cert), "tls_key": str(self.key)}

    def hold(self, made: trustme.LeafCert) -> None:
        """Write another certificate there."""
        made.private_key_pem.write_to_path(self.key)
        self.cert.write_bytes(chain(made))
