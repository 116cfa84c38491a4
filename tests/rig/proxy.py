"""A TCP proxy between collectors and a receiver that goes wrong on purpose.

Each connection takes the next fault of the plan; when the plan is used up all goes through.
"""

import enum
import selectors
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from typing import Self

_CHUNK_BYTES = 65536
_FRAME_HEADER_BYTES = 9  # HTTP/2, RFC 9113 section 4.1: length (3), type, flags, stream (4)
_HEADERS = 1
_POLL_SECONDS = 0.05
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER that makes close() send RST


class Fault(enum.Enum):
    """What happens to one connection."""

    NONE = "all goes through"
    DELAY = "all goes through, late"
    REFUSE = "reset as soon as it is accepted"
    CUT = "reset after some bytes of the request"
    STALL = "accepted and read, never answered"
    SWALLOW = "after some bytes of the request nothing comes through, in either direction"
    HOLD_ANSWER = "the request is forwarded, the answer is kept back, the connection stays"
    LOSE_ANSWER = "the request is forwarded, then reset when the receiver answers"


_CUTTING = (Fault.CUT, Fault.SWALLOW)
_ANSWERS = (Fault.HOLD_ANSWER, Fault.LOSE_ANSWER)


class Proxy:
    """Listens on ``address`` and forwards to ``target``, both host:port.

    Not listening, the port is taken all the same: nobody else can get it, connections are refused.
    """

    def __init__(
        self,
        target: str,
        plan: Iterable[Fault] = (),
        *,
        is_up: bool = True,
        cut_bytes: int = 200,
        delay_seconds: float = 0.1,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.target = target
        self.seen: list[Fault] = []  # of the connections so far
        self._plan = iter(plan)
        self._cut_bytes = cut_bytes
        self._delay_seconds = delay_seconds
        self._tls = tls
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        if is_up:
            self.up()

    def up(self) -> None:
        """Listen."""
        self._listener.listen(128)
        self._listener.settimeout(_POLL_SECONDS)
        self._run(self._accept)

    def wait_for(self, count: int, timeout_seconds: float = 20.0) -> None:
        """Wait until so many connections have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, timeout_seconds)

    def close(self) -> None:
        """Drop everything."""
        self._ended.set()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            with self._changed:
                fault = next(self._plan, Fault.NONE)
                self.seen.append(fault)
                self._changed.notify_all()
            self._run(self._serve, client, fault)

    def _serve(self, client: socket.socket, fault: Fault) -> None:
        client.settimeout(10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with client:
            if fault is Fault.REFUSE:
                return
            if fault is Fault.STALL:
                self._stall(client)
                return
            try:
                if self._tls is not None:
                    client = self._tls.wrap_socket(client, server_side=True)
                host, _, port = self.target.rpartition(":")
                with client, socket.create_connection((host, int(port)), 10) as server:
                    self._forward(client, server, fault)
            except OSError:
                return  # either side has gone: so has the other now

    def _stall(self, *ends: socket.socket) -> None:
        """Read what comes from each end, and do nothing with it, until one has gone."""
        with selectors.DefaultSelector() as selector:
            for end in ends:
                selector.register(end, selectors.EVENT_READ)
            while not self._ended.is_set():
                for key, _ in selector.select(_POLL_SECONDS):
                    assert isinstance(key.fileobj, socket.socket)
                    try:
                        if not _received(key.fileobj):
                            return
                    except OSError:
                        return

    def _forward(self, client: socket.socket, server: socket.socket, fault: Fault) -> None:
        answer = Answer()
        sent_bytes = 0
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while not self._ended.is_set():
                for key, _ in selector.select(_POLL_SECONDS):
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    chunk = _received(source)
                    if not chunk:
                        return
                    if fault is Fault.DELAY:
                        self._ended.wait(self._delay_seconds)
                    if fault in _ANSWERS and source is server and answer.begins(chunk):
                        if fault is Fault.HOLD_ANSWER:
                            self._stall(client)
                        return
                    if fault in _CUTTING and source is client:
                        chunk = chunk[: self._cut_bytes - sent_bytes]
                        sent_bytes += len(chunk)
                    target.sendall(chunk)
                    if fault in _CUTTING and sent_bytes >= self._cut_bytes:
                        if fault is Fault.SWALLOW:
                            self._stall(client, server)
                        return


def _received(source: socket.socket) -> bytes:
    chunk = source.recv(_CHUNK_BYTES)
    while isinstance(source, ssl.SSLSocket) and source.pending():
        chunk += source.recv(source.pending())
    return chunk


class Answer:
    """Follows what a receiver sends until an answer to a request begins: gRPC or HTTP/1.1."""

    def __init__(self) -> None:
        self._buffer = b""

    def begins(self, chunk: bytes) -> bool:
        """Take the next bytes; tell whether one has begun."""
        self._buffer += chunk
        while len(self._buffer) >= _FRAME_HEADER_BYTES:
            if self._buffer.startswith(b"HTTP/1.1"):
                return True
            if self._buffer[3] == _HEADERS:
                return True
            length = int.from_bytes(self._buffer[:3], "big") + _FRAME_HEADER_BYTES
            if len(self._buffer) < length:
                return False
            self._buffer = self._buffer[length:]
        return False
