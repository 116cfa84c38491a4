"""HTTP/2 by hand, to say what no client would say: RFC 9113, RFC 7541, gRPC over HTTP/2."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_HEADERS = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + _number(stream) + payload


def _number(value: int) -> bytes:
    return struct.pack(">I", value)


def headers(stream: int, fields: dict[str, str]) -> bytes:
    """Return a HEADERS frame, its fields as literals without indexing, not compressed."""
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    return frame(HEADERS, END_HEADERS, stream, block)


def _text(text: str) -> bytes:
    raw = text.encode()
    assert len(raw) < 127 + 128  # two bytes of length at most
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


# what may come on a socket and is no HTTP/2, by what it is
GARBAGE = {
    "nothing": b"",
    "zeros": bytes(100_000),
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: receiver\r\n\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(500),
    "half a preface": PREFACE[:10],
    "a frame beyond all": PREFACE + b"\xff\xff\xff\0\0\0\0\0\1" + bytes(1000),
    "data of no stream": PREFACE + frame(DATA, 0, 1, bytes(100)),
    "headers that are none": PREFACE + frame(HEADERS, 4, 1, b"\xff" * 500),
    "settings of stream 1": PREFACE + frame(SETTINGS, 0, 1),
    "settings again and again": PREFACE + frame(SETTINGS, 0, 0) * 5000,
    "unknown frames": PREFACE + frame(99, 255, 3, bytes(50)) * 1000,
}
