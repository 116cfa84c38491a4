"""The pusher: takes one run out of the spool to the receiver, then ends.

The sampling process replaces itself by this program (``python -I -m runmeter.collector.push``).
SIGINT and SIGTERM arrive blocked; they are let through once their handlers stand.
"""

import argparse
import http.client
import json
import os
import signal
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from time import monotonic_ns, time_ns
from types import FrameType
from typing import Any, NamedTuple, NoReturn, TextIO, cast

import structlog

from runmeter.collector import spool
from runmeter.collector.endpoint import Endpoint, parse_endpoint
from runmeter.collector.errors import CollectorError, SpoolError
from runmeter.collector.output import render, rfc3339, write_line

_ENDING = (signal.SIGINT, signal.SIGTERM)
PUSHED, KEPT, REJECTED = 0, 3, 4
_NS = 1_000_000_000
_MESSAGE_BYTES = 8 * 1024 * 1024
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "runmeter.v1.IngestService"}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.5s",
                    "maxBackoff": "4s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
                },
            }
        ]
    }
)


class PushError(CollectorError):
    """The receiver did not take the run; ``code`` is the exit code that says how."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Acknowledgement(NamedTuple):
    """What the receiver answered."""

    id: int
    duplicate: bool


class Tls(NamedTuple):
    """Files of a TLS connection; empty: the system's CAs, no client certificate."""

    ca: str
    cert: str
    key: str


class _Stderr:
    """Standard error that loses a line rather than the run when nobody reads it."""

    def write(self, text: str) -> None:
        """Write the lines of a text."""
        write_line(2, text.removesuffix("\n"))

    def flush(self) -> None:
        """Do nothing: every line is written at once."""


class _Ended(Exception):
    """A second signal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Push one run; return the exit code of the collector."""
    args = _arguments(argv)
    log = _logger(args.log_format, args.log_level)
    try:
        code = _push_file(args, log)
    except _Ended:
        _log_undelivered(log, args.file, KEPT, reason="ended by a signal")
        code = KEPT
    finally:
        # the interpreter gives up our handlers before it ends
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    return code if args.exit_code is None else int(args.exit_code)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runmeter.collector.push")
    parser.add_argument("--file", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--token-fd", type=int, required=True)
    parser.add_argument("--deadline-ns", type=int, required=True)
    parser.add_argument("--signals", type=int, default=0)
    parser.add_argument("--exit-code", type=int)
    parser.add_argument("--log-format", default="json")
    parser.add_argument("--log-level", default="info")
    for name in ("--tls-ca", "--tls-cert", "--tls-key"):
        parser.add_argument(name, default="")
    return parser.parse_args(argv)


def _logger(log_format: str, level: str) -> Any:
    def stamp(_: Any, __: str, fields: Any) -> Any:
        return {"timestamp": rfc3339(time_ns() // 1_000_000), **fields}

    def line(_: Any, __: str, fields: Any) -> str:
        return render(log_format, fields)

    structlog.configure(
        processors=[structlog.processors.add_log_level, stamp, line],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Stderr())),
    )
    return structlog.get_logger()


def _push_file(args: argparse.Namespace, log: Any) -> int:
    _handle_signals(args.signals)
    with open(args.token_fd, encoding="ascii") as file:
        token = file.read()
    endpoint = parse_endpoint(args.endpoint)
    if not endpoint.is_tls and not _is_loopback(endpoint.host):
        log.warning("push.unencrypted", push_endpoint=endpoint.url, reason="the token is readable")
    try:
        run = _read(args.file)
        timeout_seconds = max(0.001, (args.deadline_ns - monotonic_ns()) / _NS)
        tls = Tls(args.tls_ca, args.tls_cert, args.tls_key)
        send = _send_grpc if endpoint.scheme.startswith("grpc") else _send_http
        stored = send(endpoint, token, run, timeout_seconds, tls)
    except SpoolError as error:
        log.error("run.unreadable", path=args.file, reason=str(error))
        return KEPT
    except PushError as error:
        facts = {"reason": str(error), "push_endpoint": endpoint.url}
        _log_undelivered(log, args.file, error.code, **facts)
        return error.code
    log.info("run.pushed", id=stored.id, duplicate=stored.duplicate, push_id=run.get("push_id"))
    if not args.file.startswith(spool.MEMORY):
        try:
            spool.remove(args.file)
        except OSError as error:
            log.warning("spool.failed", path=args.file, reason=error.strerror)
    return PUSHED


def _log_undelivered(log: Any, path: str, code: int, **facts: str) -> None:
    event = "run.rejected" if code == REJECTED else "run.kept"
    if path.startswith(spool.MEMORY):  # no folder could take it
        event = "run.lost"
    else:
        facts["path"] = path
    log.error(event, **facts)


def _handle_signals(received: int) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received > 1:
            raise _Ended

    for number in _ENDING:
        signal.signal(number, handle)
    # what else was taken for the command, which has ended, stays blocked
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return spool.decode(file.read())
    except OSError as error:
        raise SpoolError(f"cannot be read: {error.strerror}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# -- gRPC ---------------------------------------------------------------------------------


def _send_grpc(
    endpoint: Endpoint, token: str, run: dict[str, Any], timeout_seconds: float, tls: Tls
) -> Acknowledgement:
    import grpc

    from runmeter.collector.wire import to_wire
    from runmeter.v1 import ingest_service_pb2, ingest_service_pb2_grpc

    rejections = (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.UNIMPLEMENTED,
    )
    options = [
        ("grpc.max_send_message_length", _MESSAGE_BYTES),
        ("grpc.max_receive_message_length", _MESSAGE_BYTES),
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.enable_http_proxy", 0),  # the token is for the receiver alone
    ]
    try:
        message = to_wire(run)
    except (KeyError, TypeError, ValueError) as error:
        raise SpoolError(f"is not a run as this version writes it: {error!r}") from error
    if endpoint.is_tls:
        channel = grpc.secure_channel(endpoint.authority, _grpc_credentials(tls), options)
    else:
        channel = grpc.insecure_channel(endpoint.authority, options)
    with channel:
        stub = ingest_service_pb2_grpc.IngestServiceStub(channel)
        try:
            answer = stub.PushRun(
                ingest_service_pb2.PushRunRequest(run=message),
                timeout=timeout_seconds,
                metadata=(("authorization", f"Bearer {token}"),),
            )
        except grpc.RpcError as error:
            code = error.code()
            kind = REJECTED if code in rejections else KEPT
            raise PushError(kind, f"{code.name}: {error.details()}") from error
    return Acknowledgement(answer.id, answer.duplicate)


def _grpc_credentials(tls: Tls) -> Any:
    import grpc

    return grpc.ssl_channel_credentials(
        root_certificates=_content(tls.ca),
        private_key=_content(tls.key),
        certificate_chain=_content(tls.cert),
    )


def _content(path: str) -> bytes | None:
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise PushError(KEPT, f"{path!r} cannot be read: {error.strerror}") from error


# -- HTTP ---------------------------------------------------------------------------------

_REJECTING = (400, 401, 403, 404, 405, 409, 413, 415)


def _send_http(
    endpoint: Endpoint, token: str, run: dict[str, Any], timeout_seconds: float, tls: Tls
) -> Acknowledgement:
    """Push as JSON. Redirects are not followed: the token is for this host alone."""
    signal.signal(signal.SIGALRM, _time_is_up)  # a socket's timeout is for one read only
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    signal.setitimer(signal.ITIMER_REAL, timeout_seconds)
    connection = _connection(endpoint, timeout_seconds, tls)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        connection.request("POST", endpoint.path, json.dumps(run).encode("ascii"), headers)
        answer = connection.getresponse()
        body = answer.read(1024 * 1024)
    except http.client.BadStatusLine as error:
        reason = f"{endpoint.authority} does not answer in HTTP/1; the receiver takes grpc://"
        raise PushError(KEPT, reason) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        # ValueError: a host that cannot be written as a name in DNS
        raise PushError(KEPT, f"{endpoint.authority}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.close()
    if answer.status not in (200, 201):
        kind = REJECTED if answer.status in _REJECTING else KEPT
        raise PushError(kind, f"HTTP {answer.status}: {_detail(body)}")
    try:
        stored = json.loads(body)
        return Acknowledgement(int(stored["id"]), bool(stored["duplicate"]))
    except (ValueError, KeyError, TypeError) as error:
        raise PushError(KEPT, "the answer is not that of a Runmeter gateway") from error


def _time_is_up(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError("no whole answer in time")


def _connection(endpoint: Endpoint, timeout_seconds: float, tls: Tls) -> http.client.HTTPConnection:
    if not endpoint.is_tls:
        return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_seconds)
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key or None)
    except (OSError, ssl.SSLError) as error:
        raise PushError(KEPT, f"the TLS files cannot be used: {error}") from error
    return http.client.HTTPSConnection(
        endpoint.host, endpoint.port, timeout=timeout_seconds, context=context
    )


def _detail(body: bytes) -> str:
    """Return what a problem document says, else the start of the body."""
    try:
        problem = json.loads(body)
        text = str(problem["detail"])
        bad = [f"{e['field']}: {e['reason']}" for e in problem.get("errors", [])]
        return "; ".join([text, *bad])[:2000]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ascii(body[:200].decode("utf-8", "replace"))


if __name__ == "__main__":
    os._exit(main())
