"""Push over gRPC: one call, without gRPC's own retries, a new connection after each failure."""

import json
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from runmeter.collector.config.endpoint import Endpoint
from runmeter.collector.errors import ForeignError
from runmeter.collector.model import Acknowledgement
from runmeter.collector.push.delivery import Kind, PushError, Tls
from runmeter.v1 import ingest_service_pb2, ingest_service_pb2_grpc
from runmeter.v1.json_reading import run_from_json

_MESSAGE_BYTES = 8 * 1024 * 1024
_DETAILS = "grpc-status-details-bin"
_OPTIONS = [
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),  # the token is for the receiver alone
    ("grpc.enable_retries", 0),  # our own retries know the deadline and are logged
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.service_config", json.dumps({})),
    # so that a dead connection is noticed while a call waits
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # so that a receiver that is back is reached at the next attempt
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_KINDS = {
    grpc.StatusCode.UNAVAILABLE: Kind.BUSY,
    grpc.StatusCode.DEADLINE_EXCEEDED: Kind.BUSY,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Kind.BUSY,
    grpc.StatusCode.UNAUTHENTICATED: Kind.TOKEN,
    grpc.StatusCode.PERMISSION_DENIED: Kind.TOKEN,
    grpc.StatusCode.INVALID_ARGUMENT: Kind.INVALID,
    grpc.StatusCode.ALREADY_EXISTS: Kind.INVALID,
    grpc.StatusCode.UNIMPLEMENTED: Kind.MISDIRECTED,
}
# TLS errors in gRPC's text of a failed connection, and what to do
_TLS_CAUSES = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by a trusted CA: give --tls-ca",
    "is not in peer certificate": "its certificate is for another name: give --tls-server-name",
    "Hostname Verification Check failed": (
        "its certificate is for another name: give --tls-server-name"
    ),
    "WRONG_VERSION_NUMBER": "it does not speak TLS: give a grpc:// endpoint",
}
# signs of another program in the same text
_OTHER_CAUSES = {
    "http1.x server": "answers HTTP/1",
    "Expected SETTINGS frame as the first frame": "does not speak HTTP/2",
    "missing selected ALPN property": "does not speak HTTP/2",
}


class GrpcTransport:
    """A channel to the receiver, opened when it is needed."""

    def __init__(self, endpoint: Endpoint, token: str, tls: Tls) -> None:
        self._endpoint = endpoint
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._tls = tls
        self._channel: grpc.Channel | None = None

    def send(self, run: dict[str, Any], timeout_seconds: float) -> Acknowledgement:
        """Push once; after a failure the connection is closed."""
        try:
            message = run_from_json(run, exact=True)
        except ValueError as error:
            raise ForeignError(f"is not a run as this version writes it: {error}") from error
        if self._channel is None:
            self._channel = self._open()
        stub = ingest_service_pb2_grpc.IngestServiceStub(self._channel)
        request = ingest_service_pb2.PushRunRequest(run=message)
        try:
            answer = stub.PushRun(request, timeout=timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            self._close()
            raise _push_error(self._endpoint, error) from error
        return Acknowledgement(answer.id, answer.duplicate)

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _open(self) -> grpc.Channel:
        options: list[tuple[str, Any]] = list(_OPTIONS)
        if not self._endpoint.is_tls:
            return grpc.insecure_channel(self._endpoint.authority, options)
        if self._tls.server_name:
            options.append(("grpc.ssl_target_name_override", self._tls.server_name))
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_content(self._tls.ca),
            private_key=_content(self._tls.key),
            certificate_chain=_content(self._tls.cert),
        )
        return grpc.secure_channel(self._endpoint.authority, credentials, options)


def _content(path: str) -> bytes | None:
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise PushError(Kind.UNUSABLE, f"{path!r} cannot be read: {error.strerror}") from error


def _push_error(endpoint: Endpoint, error: Any) -> PushError:
    # after a NUL gRPC shows random memory, if no socket can be opened
    code, text = error.code(), (error.details() or "").partition("\0")[0].rstrip()
    kind = _KINDS.get(code, Kind.FAILED)
    if code is grpc.StatusCode.UNAVAILABLE:
        for sign, cause in _TLS_CAUSES.items():
            if sign in text:
                return PushError(Kind.UNUSABLE, f"TLS with the receiver failed: {cause} ({text})")
        for sign, found in _OTHER_CAUSES.items():
            if sign in text:
                gateway = f"http{'s' * endpoint.is_tls}://{endpoint.authority}/api/v1/metrics"
                reason = f"{endpoint.authority} {found}: for the gateway use {gateway}"
                return PushError(Kind.UNUSABLE, f"{reason}; for the receiver use its gRPC port")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        kind = Kind.INVALID
    return PushError(kind, f"{code.name}: {text}", _hint_seconds(error))


def _hint_seconds(error: Any) -> float | None:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            return _retry_after_seconds(value)
        if key == "retry-after" and isinstance(value, str) and value.isdecimal():
            return float(value[:9])
    return None


def _retry_after_seconds(details: bytes) -> float | None:
    """Return when to ask again, from the google.rpc.Status of a refused call; None: not given."""
    found = error_details_pb2.RetryInfo()
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(found):
                delay = found.retry_delay
                return float(delay.seconds + delay.nanos / 1e9)
    except DecodeError:
        pass
    return None
