"""Reverse proxies in front of a gateway: nginx and haproxy of Debian."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rig.documents import fences
from rig.repository import ROOT

WAIT_SECONDS = 20.0
PROGRAMS = {name: shutil.which(name) for name in ("nginx", "haproxy")}
DOCUMENTED = {
    fence.language: fence.text
    for fence in fences((ROOT / "docs" / "gateway.md").read_text(encoding="utf-8"))
}
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {lines}
}}
"""
HAPROXY = """
defaults
    timeout connect 20s
    timeout client 20s
    timeout server 20s
{lines}
"""


@contextmanager
def proxying(name: str, lines: str, gateway: str, folder: Path) -> Iterator[str]:
    """Run a proxy with these lines of configuration, which say port 8000 and the gateway 8080.

    Yields its address.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    for old, new in (("127.0.0.1:8080", gateway), ("listen 8000", f"listen {address}")):
        lines = lines.replace(old, new)
    lines = lines.replace("bind :8000", f"bind {address}")
    path = folder / f"{name}.conf"
    path.write_text((NGINX if name == "nginx" else HAPROXY).format(folder=folder, lines=lines))
    program = PROGRAMS[name]
    assert program is not None
    flags = ("-c", path) if name == "nginx" else ("-db", "-f", path)
    with subprocess.Popen([program, *flags], cwd=folder) as process:
        try:
            _wait(process, address)
            yield address
        finally:
            process.terminate()


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        assert process.poll() is None, process.returncode
        try:
            socket.create_connection((host, int(port)), WAIT_SECONDS).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return
