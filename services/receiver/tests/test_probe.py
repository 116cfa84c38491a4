"""The health check of containers: a program that asks the page of the receiver beside it."""

import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def probe(**environ: str) -> tuple[int, str]:
    """Run the program; return its exit status and what it printed."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", "runmeter.receiver.probe"],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_receiver_that_is_ready(receiver: Any) -> None:
    """Exit 0 while the receiver takes calls."""
    address = receiver.ops_url.removeprefix("http://")
    assert probe(RECEIVER_OPS_ADDR=address) == (0, "ready\n")


def test_a_receiver_on_every_interface(start_receiver: Callable[..., Any]) -> None:
    """Without a host, as in the default, it is asked over loopback."""
    receiver = start_receiver("--ops-addr=:0")
    port = receiver.ops_url.rpartition(":")[2]
    assert probe(RECEIVER_OPS_ADDR=f":{port}") == (0, "ready\n")


def test_a_receiver_without_its_database(receiver: Any) -> None:
    """Exit 1, with the reason of the page, when pushes would be refused."""
    (receiver.folder / "metrics.db").unlink()
    status, text = probe(RECEIVER_OPS_ADDR=receiver.ops_url.removeprefix("http://"))
    assert status == 1
    assert text.startswith("not ready: the database: ")


def test_no_receiver() -> None:
    """Exit 1 and one line without an answer."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    status, text = probe(RECEIVER_OPS_ADDR=f"127.0.0.1:{port}")
    assert status == 1
    assert text == f"no answer from 127.0.0.1:{port}: [Errno 111] Connection refused\n"


@pytest.mark.parametrize(
    ("address", "reason"),
    [("none", "RECEIVER_OPS_ADDR is none"), ("9464", "RECEIVER_OPS_ADDR '9464' must be host:port")],
)
def test_nothing_to_ask(address: str, reason: str) -> None:
    """Exit 1 and a sentence where there is no page, or the variable is bad."""
    status, text = probe(RECEIVER_OPS_ADDR=address)
    assert status == 1
    assert text.startswith(reason)


def test_it_is_light() -> None:
    """It imports neither gRPC, nor Tortoise, nor structlog: it runs every few seconds."""
    code = "import runmeter.receiver.probe, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"grpc", "tortoise", "structlog", "uvloop"} & set(done.stdout.split())
    installed = {path.name for path in Path(sysconfig.get_path("platlib")).iterdir()}
    assert {"grpc", "tortoise", "structlog", "uvloop"} <= installed
