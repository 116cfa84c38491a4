"""The collector's pusher as a program of its own."""

import json
import os
import subprocess
import sys
from time import monotonic_ns
from typing import Any


def start_pusher(
    token: str,
    *,
    program: tuple[str, str] = ("-m", "runmeter.collector.push"),
    deadline_seconds: float = 20.0,
    pass_fds: tuple[int, ...] = (),
    **order: Any,
) -> subprocess.Popen[str]:
    """Start it with an order: to push one run, unless it says otherwise."""
    descriptor = os.memfd_create("token", 0)
    os.write(descriptor, token.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    deadline_ns = monotonic_ns() + round(deadline_seconds * 1e9)
    order = {"task": "run", "token_fd": descriptor, "deadline_ns": deadline_ns, **order}
    process = subprocess.Popen(
        [sys.executable, "-I", *program, json.dumps(order)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(descriptor, *pass_fds),
    )
    os.close(descriptor)
    return process
