"""The address of a client, with trusted proxies and without."""

from ipaddress import ip_address, ip_network
from time import process_time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.gateway import HEADERS, RUNS

from runmeter.gateway.web.clients import Proxies, client_key
from runmeter.service.clients import networks as parse_networks

PROXIES = Proxies(parse_networks("10.0.0.0/8,fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "x_forwarded_for", "forwarded", "client"),
    [
        ("192.0.2.1", [], [], "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], ["for=203.0.113.9"], "192.0.2.1"),
        ("10.0.0.1", [], [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], [], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], [], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9"], [], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6", "203.0.113.9, 10.2.2.2"], [], "203.0.113.9"),
        ("10.0.0.1", ["10.3.3.3,10.2.2.2"], [], "10.3.3.3"),
        ("10.0.0.1", ["6.6.6.6, nonsense, 10.2.2.2"], [], "10.2.2.2"),
        ("10.0.0.1", ["6.6.6.6,"], [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9:4711"], [], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], [], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], [], "2001:db8::1"),
        ("10.0.0.1", ["203.0.113.9:port"], [], "10.0.0.1"),
        ("fd00::1%eth0", [], ['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        ("10.0.0.1", [], ["For=6.6.6.6, for=203.0.113.9;proto=https;by=10.1.1.1"], "203.0.113.9"),
        ("10.0.0.1", [], ["proto=https; for=203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [], ["for=6.6.6.6, for=unknown"], "10.0.0.1"),
        ("10.0.0.1", [], ["for=6.6.6.6, for=_hidden"], "10.0.0.1"),
        ("10.0.0.1", [], ["for=6.6.6.6, proto=http"], "10.0.0.1"),
        ("10.0.0.1", [], ['for="6.6.6.6, for=203.0.113.9'], "10.0.0.1"),
        ("10.0.0.1", [], ['for="6.6.6.6, for=7.7.7.7", for=203.0.113.9'], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9"], ["for=203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9"], ["for=6.6.6.6"], "10.0.0.1"),
        (None, ["203.0.113.9"], [], None),
        ("/run/socket", ["203.0.113.9"], [], "/run/socket"),
    ],
)
def test_client(
    peer: str | None, x_forwarded_for: list[str], forwarded: list[str], client: str | None
) -> None:
    """The client is the rightmost address that is not a trusted proxy."""
    assert PROXIES.client(peer, x_forwarded_for, forwarded) == client


@given(st.text(), st.text(), st.sampled_from(["192.0.2.1", "2001:db8::1", "10.0.0.1"]))
def test_what_an_untrusted_peer_says(one: str, other: str, appended: str) -> None:
    """Headers of a client change nothing: without trusted proxies it is its own address, behind
    one the address that the proxy added.
    """
    assert Proxies().client("192.0.2.7", [one], [other]) == "192.0.2.7"
    if not appended.startswith("10."):
        assert PROXIES.client("10.0.0.1", [one, appended], []) == appended


@given(st.lists(st.text('";\\, for=1.2_[]:')), st.lists(st.text('";\\, for=1.2_[]:')))
def test_any_headers(x_forwarded_for: list[str], forwarded: list[str]) -> None:
    """Any text in the headers yields an address."""
    assert ip_address(PROXIES.client("10.0.0.1", x_forwarded_for, forwarded) or "")


@pytest.mark.parametrize("part", ['"\\', '"\\"', '"', ";for=", '";for="', ",", " ;", "for= "])
def test_headers_cost_little(part: str) -> None:
    """No header of the allowed size takes noticeable time."""
    value = part * (16_384 // len(part))
    before = process_time()
    assert PROXIES.client("10.0.0.1", [value], []) == "10.0.0.1"
    assert PROXIES.client("10.0.0.1", [], [value]) == "10.0.0.1"
    assert process_time() - before < 2


def test_client_key() -> None:
    """Clients are distinguished by address, IPv6 ones by their /64."""
    assert client_key("192.0.2.1") != client_key("192.0.2.2")
    assert client_key("2001:db8::1") == client_key("2001:db8::ffff:1") == "2001:db8::/64"
    assert client_key("2001:db8:0:1::1") != client_key("2001:db8::1")
    assert ip_network(client_key("::ffff:192.0.2.1")) == ip_network("192.0.2.1")
    assert client_key(None) == "None"


def test_forwarded_reaches_log_and_receiver(start: Any, own_double: Any) -> None:
    """The address from a trusted proxy is the client in the log and in the call."""
    program = start(
        f"--receiver=grpc://127.0.0.1:{own_double.port}",
        "--trusted-proxies=127.0.0.0/8",
        "--trusted-proxies=10.0.0.0/8",
    )
    headers = HEADERS | {"X-Forwarded-For": "6.6.6.6, 192.0.2.7, 10.1.1.1"}
    assert httpx.get(program.url + RUNS, headers=headers, trust_env=False).status_code == 200
    assert own_double.call().metadata["x-forwarded-for"] == "192.0.2.7"
    line = program.event("request.finished")
    assert line["client"] == "192.0.2.7"
    assert line["peer"].startswith("127.0.0.1:")


def test_forwarded_is_not_believed(client: httpx.Client, gateway: Any, double: Any) -> None:
    """Without trusted proxies the client is the peer, whatever its headers say."""
    headers = {"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7", "X-Request-ID": "lies"}
    assert client.get(RUNS, headers=headers).status_code == 200
    assert double.call().metadata["x-forwarded-for"] == "127.0.0.1"
    assert gateway.event("request.finished", request_id="lies")["client"] == "127.0.0.1"
