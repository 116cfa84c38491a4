"""Addresses of clients."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.service.clients import ip, is_in, networks, site


def test_networks() -> None:
    """Commas separate addresses and networks; an entry that is neither is named."""
    assert networks("10.0.0.0/8, ::1,") == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert networks("") == ()
    for bad in ("host", "10.0.0.1/8", "10.0.0.0/40"):
        with pytest.raises(ValueError, match=rf"^must be addresses or networks.*'{bad}' is neith"):
            networks(f"::1,{bad}")
    with pytest.raises(ValueError, match=r"or ::1$"):  # the caller names the only item
        networks("zz")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:4711 ", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]:_hidden", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("192.0.2.1:port", None),
        ("[2001:db8::1]x", None),
        ("unix:/run/x", None),
        ("unknown", None),
        ("", None),
    ],
)
def test_ip(text: str, address: str | None) -> None:
    """An address is read with and without port and brackets."""
    assert ip(text) == (None if address is None else ip_address(address))


@given(st.text())
def test_any_text(text: str) -> None:
    """Any text is read as an address or as None."""
    ip(text)


def test_is_in() -> None:
    """An IPv4 address is not in an IPv6 network, and the other way round."""
    assert is_in(ip_address("10.1.2.3"), networks("::1,10.0.0.0/8"))
    assert not is_in(ip_address("::1"), networks("10.0.0.0/8"))


def test_site() -> None:
    """IPv6 clients are counted by their /64."""
    assert site(ip_address("192.0.2.1")) == "192.0.2.1"
    assert site(ip_address("2001:db8::1")) == site(ip_address("2001:db8::2")) == "2001:db8::/64"
