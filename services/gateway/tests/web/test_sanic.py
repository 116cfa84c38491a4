"""What the gateway uses of Sanic beside its documented interface: an upgrade fails here."""

import subprocess
import sys
from typing import Any

import pytest
from sanic import Blueprint, Request, Sanic
from sanic.application.state import ApplicationServerInfo, ApplicationState
from sanic.http import Http, Stage
from sanic.models.server_types import ConnInfo
from sanic.server.async_server import AsyncioServer
from sanic.server.protocols.http_protocol import HttpProtocol

from runmeter.gateway.web.unused import REPLACED

NAMES: list[tuple[Any, str]] = [
    (
        Http,
        "__slots__ _receive_more _safe_int "
        "head_response_ignored http1 http1_request_header http1_response_header init_for_request "
        "keep_alive protocol read recv_buffer request request_body request_bytes_left response "
        "stage",
    ),
    (Stage, "IDLE REQUEST"),
    (
        HttpProtocol,
        "HTTP_CLASS __slots__ _can_write _setup _time abort close_if_idle conn_info connections "
        "connection_lost connection_made data_received http loop recv_buffer request_handler send "
        "transport",
    ),
    (Request, "_parsed_url conn_info ctx respond route stream transport version"),
    (ConnInfo, "__init__"),
    (Blueprint, "_determine_error_format"),
    (Sanic, "create_server handle_request router state"),
    (ApplicationState, "server_info"),
    (ApplicationServerInfo, "__init__"),
    (
        AsyncioServer,
        "after_start after_stop before_start before_stop close connections start_serving startup",
    ),
]


def known(kind: type) -> set[str]:
    """The names of a class, those of its instances included."""
    found = set(dir(kind))
    for one in kind.__mro__:
        slots = vars(one).get("__slots__", ())
        found |= {slots} if isinstance(slots, str) else set(slots)
        found |= set(vars(one).get("__annotations__", ()))
    return found


@pytest.mark.parametrize(("kind", "names"), NAMES, ids=lambda value: getattr(value, "__name__", ""))
def test_names(kind: type, names: str) -> None:
    """Every name that ``web/`` uses is still there."""
    gone = set(names.split()) - known(kind)
    assert not gone, f"this Sanic has no {kind.__name__}.{gone}: change runmeter.gateway.web"


def test_unused_modules() -> None:
    """A start imports no WebSockets and no HTML error pages, and Sanic works without."""
    code = """if True:
        import sys
        from runmeter.gateway.web.unused import leave_out
        leave_out()
        import runmeter.gateway.app
        print(*sys.modules)
    """
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"Sanic needs what web/unused.py leaves out: {done.stderr}"
    loaded = set(done.stdout.split())
    assert "sanic.app" in loaded
    assert not {"rich.traceback", "trustme.type_checking", "tracerite", "websockets"} & loaded
    for module, names in REPLACED.items():
        assert set(names) <= set(dir(__import__(module, fromlist=names)))
