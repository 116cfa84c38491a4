"""Push over HTTP: one POST to the gateway, a new connection each time.

Redirects are not followed: the token is for the given host only.
"""

import http.client
import json
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from time import time
from types import FrameType
from typing import Any, NoReturn

from runmeter.collector.config.endpoint import Endpoint
from runmeter.collector.model import Acknowledgement
from runmeter.collector.push.delivery import Kind, PushError, Tls

_ANSWER_BYTES = 1024 * 1024
_KINDS = {
    400: Kind.INVALID,
    401: Kind.TOKEN,
    403: Kind.TOKEN,
    404: Kind.MISDIRECTED,
    405: Kind.MISDIRECTED,
    409: Kind.INVALID,
    413: Kind.INVALID,
    415: Kind.INVALID,
    429: Kind.BUSY,
    502: Kind.BUSY,
    503: Kind.BUSY,
    504: Kind.BUSY,
}


class HttpTransport:
    """The gateway's REST interface."""

    def __init__(self, endpoint: Endpoint, token: str, tls: Tls) -> None:
        self._endpoint = endpoint
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._tls = tls

    def send(self, run: dict[str, Any], timeout_seconds: float) -> Acknowledgement:
        """Push once."""
        connection = self._connection(timeout_seconds)
        body = json.dumps(run).encode("ascii")
        try:
            with _limit(timeout_seconds):
                answer = self._exchange(connection, body)
                content = answer.read(_ANSWER_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _connection_error(self._endpoint.authority, error) from error
        finally:
            connection.close()
        return _acknowledgement(answer, content)

    def _exchange(
        self, connection: http.client.HTTPConnection, body: bytes
    ) -> http.client.HTTPResponse:
        try:
            connection.request("POST", self._endpoint.path, body, self._headers)
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise
            # it may have answered before it read the whole body
        return connection.getresponse()

    def _connection(self, timeout_seconds: float) -> http.client.HTTPConnection:
        host, port = self._endpoint.host, self._endpoint.port
        if not self._endpoint.is_tls:
            return http.client.HTTPConnection(host, port, timeout=timeout_seconds)
        try:
            context = ssl.create_default_context(cafile=self._tls.ca or None)
            if self._tls.cert:
                context.load_cert_chain(self._tls.cert, self._tls.key or None)
        except (OSError, ssl.SSLError) as error:
            reason = f"the TLS files cannot be used: {error}"
            raise PushError(Kind.UNUSABLE, reason) from error
        name = self._tls.server_name or host
        return _TlsConnection(name, context, host, port, timeout_seconds)


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """End what runs inside with a TimeoutError once the time is up.

    The timeout of a socket is for one read only, and an answer may arrive byte by byte.
    """
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _time_is_up(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError("no complete answer in time")


class _TlsConnection(http.client.HTTPConnection):
    """A connection whose certificate may have another name than the host."""

    default_port = http.client.HTTPS_PORT

    def __init__(
        self, name: str, context: ssl.SSLContext, host: str, port: int, timeout_seconds: float
    ) -> None:
        super().__init__(host, port, timeout_seconds)
        self._name = name
        self._context = context

    def connect(self) -> None:
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)


def _connection_error(authority: str, error: Exception) -> PushError:
    if isinstance(error, ssl.SSLCertVerificationError):
        flag = "--tls-server-name" if "match" in error.verify_message else "--tls-ca"
        reason = f"{error.verify_message or error}: give {flag}"
        return PushError(
            Kind.UNUSABLE, f"TLS with {authority} failed: its certificate is not trusted, {reason}"
        )
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        reason = f"TLS with {authority} failed: it does not speak TLS: give an http:// endpoint"
        return PushError(Kind.UNUSABLE, reason)
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
        reason = f"{authority} does not answer in HTTP/1; for the receiver use grpc://"
        return PushError(Kind.UNUSABLE, reason)
    # UnicodeError: a host that is no name in DNS
    kind = Kind.UNUSABLE if isinstance(error, UnicodeError) else Kind.BUSY
    return PushError(kind, f"{authority}: {error}")


def _acknowledgement(answer: http.client.HTTPResponse, content: bytes) -> Acknowledgement:
    if answer.status not in (200, 201):
        kind = _KINDS.get(answer.status, Kind.FAILED)
        hint_seconds = _hint_seconds(answer.headers.get("Retry-After", ""))
        raise PushError(kind, f"HTTP {answer.status}: {_detail(content)}", hint_seconds)
    try:
        stored = json.loads(content)
        return Acknowledgement(int(stored["id"]), bool(stored["duplicate"]))
    except (ValueError, KeyError, TypeError) as error:
        reason = "the answer is not from a Runmeter gateway"
        raise PushError(Kind.UNUSABLE, reason) from error


def _hint_seconds(text: str) -> float | None:
    """Parse Retry-After: seconds, or a date (RFC 9110, 10.2.3); None if it is neither."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None


def _detail(content: bytes) -> str:
    """Return the text of a problem document, else the start of the body."""
    try:
        problem = json.loads(content)
        text = str(problem["detail"])
        bad = [f"{e['field']}: {e['reason']}" for e in problem.get("errors", [])]
        return "; ".join([text, *bad])[:2000]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ascii(content[:200].decode("utf-8", "replace"))
