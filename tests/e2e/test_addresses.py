"""Where the programs listen."""

import socket

import pytest
from rig.programs import Stage


@pytest.mark.parametrize("host", ["", "[::]"])
def test_every_interface(stage: Stage, host: str) -> None:
    """Without a host, and with [::], IPv6 and IPv4 reach all four ports."""
    common = (f"--addr={host}:0", f"--ops-addr={host}:0")
    receiver = stage.start(
        "receiver", f"--read-token={stage.secret()}", f"--hmac-key={stage.secret()}", *common
    )
    gateway = stage.start("gateway", *common)
    callers = ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]
    for program in (receiver, gateway):
        started = program.event("server.started")
        for address in (started["address"], started["ops_address"]):
            port = int(address.rpartition(":")[2])
            for caller in callers:
                socket.create_connection((caller, port), timeout=20).close()
