"""HTTP/2 by hand, to say what no client would say: RFC 9113, RFC 7541, gRPC over HTTP/2."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + _number(stream) + payload


def _number(value: int) -> bytes:
    return struct.pack(">I", value)


def headers(stream: int, fields: dict[str, str], flags: int = END_HEADERS) -> bytes:
    """Return a HEADERS frame, its fields as literals without indexing, not compressed."""
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    return frame(HEADERS, flags, stream, block)


def _text(text: str) -> bytes:
    raw = text.encode()
    assert len(raw) < 127 + 128
    return (bytes((len(raw),)) if len(raw) < 127 else bytes((127, len(raw) - 127))) + raw


def call(stream: int, method: str, token: str) -> bytes:
    """Return the HEADERS that begin a gRPC call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "receiver",
        "te": "trailers",
        "content-type": "application/grpc",
        "authorization": f"Bearer {token}",
    }
    return headers(stream, fields)


def message(raw: bytes) -> bytes:
    """Return a gRPC message: a flag, its length, its bytes."""
    return b"\0" + _number(len(raw)) + raw


def connected(address: str, *parts: bytes) -> socket.socket:
    """Connect, say this, and leave the connection open."""
    host, _, port = address.rpartition(":")
    opened = socket.create_connection((host, int(port)), 20)
    try:
        for part in parts:
            opened.sendall(part)
    except OSError:
        pass  # refused in the middle: that is an answer, too
    return opened


def idle(address: str) -> socket.socket:
    """Connect as a client does that has nothing to say yet."""
    return connected(address, PREFACE, frame(SETTINGS, 0, 0))
