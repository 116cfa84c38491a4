"""Listening sockets."""

import contextlib
import socket

import pytest

from runmeter.service.errors import AddressUnusable
from runmeter.service.sockets import address_of, check_free, listen
from runmeter.service.values import Address


def connects(host: str, port: int) -> bool:
    """Return whether something listens there."""
    try:
        socket.create_connection((host, port), timeout=20).close()
    except OSError:
        return False
    return True


def test_every_interface() -> None:
    """Without a host IPv4 reaches it, and IPv6 where there is IPv6."""
    with listen(Address(None, 0), "--addr") as sock:
        port = sock.getsockname()[1]
        assert connects("127.0.0.1", port)
        if socket.has_dualstack_ipv6():
            assert connects("::1", port)
            assert address_of(sock) == f"[::]:{port}"


def test_one_address() -> None:
    """With a host it listens on that address only, with TCP_NODELAY."""
    with listen(Address("127.0.0.1", 0), "--addr") as sock:
        assert address_of(sock) == f"127.0.0.1:{sock.getsockname()[1]}"
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_ipv6() -> None:
    """An IPv6 address is written in brackets."""
    if not socket.has_dualstack_ipv6():
        return
    with listen(Address("::1", 0), "--addr") as sock:
        assert address_of(sock) == f"[::1]:{sock.getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", None])
def test_taken(host: str | None) -> None:
    """The sentence about a port in use says what to do."""
    with listen(Address(host, 0), "--addr") as sock:
        address = Address(host, sock.getsockname()[1])
        for bind in (listen, check_free):
            with pytest.raises(AddressUnusable) as caught:
                bind(address, "--ops-addr")
            assert str(caught.value) == (
                f"cannot listen on {address}: address already in use; "
                "stop what listens there or choose another --ops-addr"
            )


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("192.0.2.1", "cannot assign requested address"),
        ("name.invalid", "(not known|failure in name|no address)"),
    ],
)
def test_not_of_this_machine(host: str, reason: str) -> None:
    """The address of another machine, or a name that does not resolve, is refused."""
    with pytest.raises(AddressUnusable, match=rf"{reason}.*; choose another --addr$"):
        listen(Address(host, 0), "--addr")


def test_free() -> None:
    """After ``check_free`` the address can be bound."""
    with listen(Address("127.0.0.1", 0), "--addr") as sock:
        address = Address("127.0.0.1", sock.getsockname()[1])
    check_free(address, "--addr")
    with contextlib.closing(listen(address, "--addr")):
        pass
