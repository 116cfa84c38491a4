"""Bind listening sockets; an error is one sentence.

::

    sock = listen(Address(None, 8080), "--addr")  # the flag to name if it cannot be used
    address_of(sock)  # "[::]:8080"
"""

import errno
import os
import socket

from runmeter.service.errors import AddressUnusable
from runmeter.service.values import Address

BACKLOG = 1024
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # then the next place is tried


def listen(address: Address, flag: str, backlog: int = BACKLOG) -> socket.socket:
    """Return a listening socket; without a host on IPv6 and IPv4 where there is IPv6.

    Raises:
        AddressUnusable: the address is taken, not of this machine, or not allowed.
    """
    sock = _bind(address, flag)
    # connections inherit it; asyncio sets it only where the protocol was named. Without it the
    # second part of every streamed answer waits 40 ms for an acknowledgement
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.listen(backlog)
    except OSError as error:  # two programs may have bound it; the first to listen has it
        sock.close()
        raise _unusable(address, flag, error) from error
    return sock


def check_free(address: Address, flag: str) -> None:
    """Bind and close, for a server that binds by itself and reports less if it cannot.

    Raises:
        AddressUnusable: as `listen` does.
    """
    _bind(address, flag).close()


def address_of(sock: socket.socket) -> str:
    """Return where a socket listens."""
    return str(Address(*sock.getsockname()[:2]))


def _bind(address: Address, flag: str) -> socket.socket:
    try:
        *others, (family, at) = _places(address)
        for one in others:
            try:
                return _bound(*one)
            except OSError as error:
                if error.errno not in _NO_IPV6:
                    raise
        return _bound(family, at)
    except OSError as error:
        raise _unusable(address, flag, error) from error


def _places(address: Address) -> list[tuple[int, tuple[object, ...]]]:
    if address.host is None:
        return [
            (socket.AF_INET6, ("::", address.port)),
            (socket.AF_INET, ("0.0.0.0", address.port)),
        ]
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return [(family, at) for family, _, _, _, at in found]


def _bound(family: int, at: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(at[0] != "::"))
        sock.bind(at)
    except OSError:
        sock.close()
        raise
    return sock


def _unusable(address: Address, flag: str, error: OSError) -> AddressUnusable:
    stop = "stop what listens there or " if error.errno == errno.EADDRINUSE else ""
    return AddressUnusable(str(address), f"{_reason(error)}; {stop}choose another {flag}")


def _reason(error: OSError) -> str:
    # errors of names that do not resolve have numbers of their own
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error.strerror or error).lower()
    return os.strerror(error.errno).lower()
