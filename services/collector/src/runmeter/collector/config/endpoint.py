"""The endpoint that runs are pushed to: a URL, checked at the start."""

from typing import NamedTuple

from runmeter.collector import program
from runmeter.collector.errors import UsageError

_METRICS_PATH = "/api/v1/metrics"
SCHEMES = ("grpc", "grpcs", "http", "https")
_EXPECTED = (
    "grpc://host:port, grpcs://host:port, http://host:port/api/v1/metrics or "
    "https://host:port/api/v1/metrics"
)


class Endpoint(NamedTuple):
    """A checked endpoint. ``port`` is always set; ``path`` is empty for gRPC."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Return ``host:port``, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return the endpoint as a URL."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("grpcs", "https")


def parse_endpoint(text: str) -> Endpoint:
    """Check an endpoint.

    Raises:
        UsageError: an unknown scheme, no host, no port where there is no default, a path with
            gRPC, or credentials, a query or a fragment (possibly secret, so they are not shown).
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise UsageError(f"{text!r} has no scheme; give {_EXPECTED}")
    if scheme not in SCHEMES:
        raise UsageError(f"{scheme!r} is not a known scheme; give {_EXPECTED}")
    if scheme in ("grpc", "grpcs") and program.archive():
        raise UsageError(
            f"{text!r}: collector.pyz has no gRPC; give http(s)://host:port/api/v1/metrics of the "
            "gateway, or install runmeter-collector"
        )
    if any(mark in rest for mark in "@?# ") or not (rest.isascii() and rest.isprintable()):
        raise UsageError(
            f"it must not have credentials, a query, spaces or non-ASCII letters; give {_EXPECTED}"
        )
    authority, slash, path = rest.partition("/")
    path = slash + path
    host, port = _host_and_port(authority, {"http": "80", "https": "443"}.get(scheme, ""), text)
    if scheme in ("grpc", "grpcs"):
        if path not in ("", "/"):
            raise UsageError(f"{text!r}: {scheme} takes no path; give {scheme}://host:port")
        path = ""
    elif path in ("", "/"):
        path = _METRICS_PATH
    return Endpoint(scheme, host, port, path)


def _host_and_port(authority: str, default: str, text: str) -> tuple[str, int]:
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        host = host if bracket else ""
        colon, port = tail[:1], tail[1:]
    else:
        host, colon, port = authority.partition(":")
    if not colon:
        port = default
    if not host or colon not in ("", ":") or not _is_port(port):
        raise UsageError(f"{text!r} must name host and port; give {_EXPECTED}")
    return host, int(port)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536
