"""The health check of containers: a program that asks the gateway beside it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme
from rig.certificates import Files


def probe(**environ: str) -> tuple[int, str]:
    """Run the program; return its exit status and output."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", "runmeter.gateway.probe"],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_gateway_that_serves(gateway: Any) -> None:
    """Exit 0 and the answer if the gateway serves."""
    assert probe(GATEWAY_ADDR=gateway.address) == (0, '{"status":"ok"}\n')


def test_a_gateway_on_every_interface(start: Callable[..., Any]) -> None:
    """Without a host, as in the default, the probe asks loopback."""
    port = start("--addr=:0").address.rpartition(":")[2]
    assert probe(GATEWAY_ADDR=f":{port}") == (0, '{"status":"ok"}\n')


def test_a_gateway_that_speaks_tls(start: Callable[..., Any], tmp_path: Path) -> None:
    """The page for operators is asked, which needs no certificate; it must be there."""
    files = Files.of(trustme.CA().issue_cert("127.0.0.1"), tmp_path)
    program = start(*files.flags())
    environ = {"GATEWAY_TLS_CERT": str(files.cert), "GATEWAY_TLS_KEY": str(files.key)}
    assert probe(**environ, GATEWAY_OPS_ADDR=program.ops_url.removeprefix("http://"))[0] == 0
    status, text = probe(**environ, GATEWAY_OPS_ADDR="none")
    assert (status, text) == (1, "GATEWAY_OPS_ADDR is none: with TLS there is no page to ask\n")


def test_a_bad_variable() -> None:
    """Exit 1 and the sentence of the gateway itself."""
    status, text = probe(GATEWAY_ADDR="8080")
    assert status == 1
    assert text.startswith("GATEWAY_ADDR '8080' must be host:port")


def test_it_is_light() -> None:
    """It imports neither Sanic nor gRPC: it runs every few seconds."""
    code = "import runmeter.gateway.probe, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert "http.client" in done.stdout.split()
    assert not {"sanic", "grpc"} & set(done.stdout.split())
